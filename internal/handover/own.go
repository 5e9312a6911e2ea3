package handover

import (
	"net/netip"
	"slices"

	"github.com/hostroute/hostroute/internal/bgp"
)

// own is a prefix whose home is here, and who else says so.
type own struct {
	Own
	since   Instant // of this guest and home
	old     bool    // it was here before this run
	back    bool    // it is announced since it was here before, and its tap isn't there yet
	lost    Instant // when its tap was found gone; Never: it is there
	claim   claim
	claimed Instant // since when
	rival   uint32  // generation of the other one
	from    netip.Addr
	heard   bool   // there was a path
	looked  uint64 // when that was looked at last, by Input.Paths
	// outdated: see the function of this name.
	outdated bool
	step     uint64 // the last in which it was here
	was      *own   // before that one
	at       int    // its place in that step's list
}

// rests tells whether nothing is to be done about a prefix, again, as long as nothing
// is heard of it elsewhere: it is as it was in a step that found nothing to do.
func (h *own) rests(o *Own) bool {
	return h != nil && h.Own == *o && o.Served && !o.Came && !o.Leaving && !o.Early &&
		h.claim == unclaimed && !h.outdated && !h.back && h.lost == Never
}

// newer is the least generation of paths to a home after this one.
func (h *own) newer() uint32 { return bgp.Generation(h.Preference) + 1 }

// misled tells whether the kernel may have a route to a home before this one. Of
// anycast prefixes none is, and what was announced too early may have its home there.
func (h *own) misled() bool { return h != nil && h.outdated && !h.Anycast && !h.Early }

// claim is how a prefix of ours stands with a path from elsewhere that is newer.
type claim uint8

const (
	unclaimed claim = iota
	yielded         // to the path
	overruled       // the path, by the log
)

// holdAll decides about all own prefixes. Nearly all are as they were, in the order in
// which they were, so each is looked for behind the one before it.
func (m *Machine) holdAll(now Instant, in Input, announced *announcements, out *Output) {
	last, next := m.listed, 0
	m.listed = slices.Grow(m.spare[:0], len(in.Own))
	for i := range in.Own {
		o := &in.Own[i]
		was := m.before(last, next, o.Key)
		if was != nil && was.step == m.step { // several guests here hold it
			m.listed[was.at] = nil
			m.listed = append(m.listed, nil)
			h := m.holdOne(now, was.was, o, in, announced, out)
			h.at, m.own[o.Key] = i, h
			continue
		}
		if was != nil {
			next = was.at + 1
		}
		h := m.holdOne(now, was, o, in, announced, out)
		h.at = i
		m.listed = append(m.listed, h)
	}
	clear(last)
	m.spare = last
}

// before gives what a prefix was in the last step, or already is in this one.
func (m *Machine) before(last []*own, next int, key Key) *own {
	if next < len(last) {
		if h := last[next]; h != nil && h.Key == key && h.step != m.step {
			return h
		}
	}
	return m.own[key]
}

// holdOne decides about one of them, unless it rests.
func (m *Machine) holdOne(now Instant, was *own, o *Own, in Input, announced *announcements, out *Output) *own {
	if !m.thorough && was.rests(o) && (len(m.left) == 0 || m.left[o.Key] == nil) {
		if m.anew(was.looked, in) {
			_, was.heard = in.Path(o.Key)
			was.looked = in.Paths
		}
		if !was.heard {
			was.step, was.was = m.step, was
			return was // which has its place in m.own
		}
	}
	h := m.hold(now, was, *o, in, announced, out)
	h.step, h.was, m.own[o.Key] = m.step, was, h
	if was != nil {
		was.was, was.step = nil, m.step // whoever finds it in the last step's list looks further
	}
	if !o.Early { // else it may turn out to have left all the same
		delete(m.left, o.Key)
	}
	return h
}

// hold decides about one own prefix: ours, unless somebody newer has it. Then it
// is theirs, for a log that is out of reach or late, and ours again when the path
// goes, or when the log, being in sync, still says so after Patience. That ruling
// is about the home that was heard of; a newer one still is another matter. While
// the guest is about to move away there is nothing to rule: it was seen at its
// destination, and the event is late.
func (m *Machine) hold(now Instant, was *own, o Own, in Input, announced *announcements, out *Output) *own {
	h := &own{Own: o, since: now, lost: Never}
	if was != nil {
		h.lost, h.back = was.lost, was.back
		h.claim, h.claimed, h.rival, h.from = was.claim, was.claimed, was.rival, was.from
		h.outdated = was.outdated
	}
	switch {
	case was == nil || was.VM != o.VM || was.Epoch != o.Epoch:
		h.old = !m.asked
	default:
		h.since, h.old = was.since, was.old
	}
	if o.Anycast {
		h.claim = unclaimed
	} else {
		h.contest(now, in)
	}
	if h.claim == yielded {
		out.Withheld[o.Key] = true
		if in.Current && !h.Leaving {
			m.due(now, h.claimed.Add(Patience))
		}
	}
	path, ok := in.Path(o.Key)
	h.heard, h.looked = ok, in.Paths
	h.outdated = ok && outdated(h.outdated, path, ok, h.newer())
	kept, is := announced.find(o.Key)
	if d := m.left[o.Key]; d != nil && d.kept != nil {
		h.back = true
	}
	if ok && path.Written && bgp.Generation(path.Preference) > bgp.Generation(kept.Preference) {
		h.back = false // or who sends here would get it back from there
	}
	h.back = h.back && !h.Served
	coming := m.expected(now, h)
	staying := h.claim == unclaimed && (m.leaving(now, h) || h.back && coming)
	keeps := is && staying
	if keeps {
		out.Keep = append(out.Keep, kept)
	}
	if h.claim == yielded || staying || coming {
		// Who follows what is kept must not be sent back to where it comes from.
		over := h.misled() && (keeps || h.claim == yielded && m.due(now, h.claimed.Add(Patience)))
		out.Blackholes = append(out.Blackholes, Blackhole{o.Key, over})
	}
	return h
}

// leaving tells whether the guest is about to move away, as the log says, so that
// its tap may go before its new home is heard of: what was announced then stays for
// a while, and what comes for it gets no error.
func (m *Machine) leaving(now Instant, h *own) bool {
	switch {
	case !h.Leaving || h.Served:
		h.lost = Never
	case h.lost == Never:
		h.lost = now
	}
	return h.Leaving && (h.lost == Never || m.due(now, h.lost.Add(Patience)))
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
	case h.claim == yielded && in.Current && !h.Leaving && now >= h.claimed.Add(Patience):
		h.claim = overruled
	}
	if ok {
		h.rival, h.from = rival, path.Originator
	}
}

// expected tells whether the guest has moved here so lately that its tap may still
// be to come, or to be made anew: what comes for it gets no error meanwhile. Of what
// was here before this run it is not known when it came; that is let off when its
// tap is there, which isn't known before the first round is over.
func (m *Machine) expected(now Instant, h *own) bool {
	switch {
	case !h.Came || h.old && h.Served:
		return false
	case !m.asked:
		m.next = now
		return false
	}
	return m.due(now, h.since.Add(Forwarding))
}
