package handover

import (
	"net/netip"

	"github.com/hostroute/hostroute/internal/bgp"
)

// own is a prefix whose home is here, and who else says so.
type own struct {
	Own
	since   Instant // of this guest and home
	claim   claim
	claimed Instant // since when
	rival   uint32  // generation of the other one
	from    netip.Addr
}

// claim is how a prefix of ours stands with a path from elsewhere that is newer.
type claim uint8

const (
	unclaimed claim = iota
	yielded         // to the path
	overruled       // the path, by the log
)

// hold decides about one own prefix: ours, unless somebody newer has it. Then it
// is theirs, for a log that is out of reach or late, and ours again when the path
// goes, or when the log, being in sync, still says so after Patience. That ruling
// is about the home that was heard of; a newer one still is another matter.
func (m *Machine) hold(now Instant, was *own, o Own, in Input, out *Output) *own {
	h := &own{Own: o, since: now}
	if was != nil {
		h.claim, h.claimed, h.rival, h.from = was.claim, was.claimed, was.rival, was.from
		if was.VM == o.VM && was.Epoch == o.Epoch {
			h.since = was.since
		}
	}
	if o.Anycast {
		h.claim = unclaimed
	} else {
		h.contest(now, in)
	}
	if h.claim == yielded {
		out.Withheld[o.Key] = true
		if in.Current {
			m.due(now, h.claimed.Add(Patience))
		}
	}
	if h.claim == yielded || m.expected(now, h) {
		out.Blackholes = append(out.Blackholes, o.Key)
	}
	return h
}

// contest looks whether somebody newer has the prefix.
func (h *own) contest(now Instant, in Input) {
	path, ok := in.Path(h.Key)
	rival := bgp.Generation(path.Highest)
	switch {
	case !ok || rival <= bgp.Generation(h.Preference):
		h.claim = unclaimed
	case h.claim == unclaimed || rival > h.rival:
		h.claim, h.claimed = yielded, now
	case h.claim == yielded && in.Current && now >= h.claimed.Add(Patience):
		h.claim = overruled
	}
	if ok {
		h.rival, h.from = rival, path.Originator
	}
}

// expected tells whether the guest has moved here and its tap is still to come:
// what comes for it gets no error meanwhile. After a start the taps aren't known
// before the first round.
func (m *Machine) expected(now Instant, h *own) bool {
	switch {
	case !h.Came || h.Served:
		return false
	case !m.asked:
		m.next = now
		return false
	}
	return m.due(now, h.since.Add(Forwarding))
}
