package handover

import (
	"github.com/hostroute/hostroute/internal/bgp"
)

// departure is a prefix that is served here no more.
type departure struct {
	vm, to string // to is empty where it is not known
	epoch  uint64
	// generation is that of the path to wait for.
	generation uint32
	since      Instant
	kept       *bgp.Announcement // nil: it is not announced
	blackholed bool
	ended      bool   // the log doesn't tell of it any more
	heard      bool   // of where it is now
	over       bool   // nothing is done about it any more
	newer      uint32 // the least generation of paths that are newer than what this host had
	outdated   bool   // the kernel may have one that isn't
	// path is what is known of it elsewhere, when it was looked at last.
	path   Path
	known  bool
	looked uint64 // by Input.Paths
}

// moved tells a guest that moved from a prefix that is merely gone.
func (d *departure) moved() bool { return d.to != "" }

// part takes up what has left since the last step, and forgets what is over.
func (m *Machine) part(now Instant, in Input, announced *announcements) {
	told := make(map[Key]bool, len(in.Departures))
	for _, d := range in.Departures {
		if m.has(d.Key) || told[d.Key] {
			continue
		}
		told[d.Key] = true
		have := m.left[d.Key]
		if have != nil && have.vm == d.VM && have.epoch == d.Epoch {
			continue
		}
		m.left[d.Key] = &departure{
			vm: d.VM, to: d.To, epoch: d.Epoch, generation: bgp.Generation(d.Preference), since: now,
			kept: keep(m.own[d.Key], d.Key, announced), newer: newerThanHere(d, m.own[d.Key], have),
			outdated: m.own[d.Key].misled() || have != nil && have.outdated,
		}
	}
	for key, h := range m.own {
		if h.step == m.step {
			continue
		}
		delete(m.own, key)
		m.watching.loose = true
		if in.Known && !told[key] && m.left[key] == nil {
			m.left[key] = &departure{vm: h.VM, since: now, kept: keep(h, key, announced), newer: h.newer(), outdated: h.misled()}
		}
	}
	for key, d := range m.left {
		switch {
		case told[key] || m.has(key):
		case d.over:
			delete(m.left, key)
			m.watching.loose = true
		default: // it may have moved on from there, or be deleted
			d.ended = true
		}
	}
}

// keep is what a prefix is announced with, to go on with that. What was announced
// too early ends at once.
func keep(was *own, key Key, announced *announcements) *bgp.Announcement {
	a, ok := announced.find(key)
	if !ok || was != nil && was.Early {
		return nil
	}
	return &a
}

// leave decides about one prefix that has left. What it was announced with stays
// until the kernel has a path to where it is now, unless it isn't any more.
func (m *Machine) leave(now Instant, key Key, d *departure, in Input, announced *announcements, out *Output) {
	announce, drop := Parting, Quiet
	if d.moved() {
		announce, drop = Forwarding, Forwarding
	}
	if d.over {
		return
	}
	if m.anew(d.looked, in) {
		d.path, d.known = in.Path(key)
		d.looked = in.Paths
	}
	path, ok := d.path, d.known
	there := ok && bgp.Generation(path.Preference) >= d.generation
	d.heard = there
	if d.moved() || d.outdated { // else any path may be where it is now, such as that of an anycast address
		d.outdated = outdated(d.outdated, path, ok, d.newer)
	}
	if d.kept != nil {
		if _, still := announced.find(key); !still {
			d.kept = nil
		}
	}
	if d.kept != nil && (in.Fenced || there && path.Written || !m.due(now, d.since.Add(announce))) {
		d.kept = nil
	}
	if d.kept != nil {
		out.Keep = append(out.Keep, *d.kept)
	}
	d.blackholed = m.due(now, d.since.Add(drop))
	if !d.blackholed && d.moved() && !d.ended && !there {
		d.blackholed = m.due(now, d.since.Add(Longest))
	}
	if d.over = !d.blackholed; d.over {
		m.watching.loose = true
	} else {
		over := d.outdated && m.due(now, d.since.Add(Forwarding))
		out.Blackholes = append(out.Blackholes, Blackhole{key, over})
	}
}

// newerThanHere is the least generation of paths to homes after this one: also of
// those from which the guest has moved on, since they know to where. Who doesn't
// remember its own takes the last one only.
func newerThanHere(d Departure, before *own, have *departure) uint32 {
	newer := bgp.Generation(d.Preference)
	if before != nil {
		newer = min(newer, before.newer())
	}
	if have != nil {
		newer = min(newer, have.newer)
	}
	return newer
}

// outdated tells whether the kernel may have a learned route to where a prefix was
// before it was here, so that what follows it comes back until they hear of the
// move there, too. One that is newer takes its place when it is written, and what
// is no longer known may be in the kernel yet.
func outdated(was bool, path Path, ok bool, newer uint32) bool {
	switch {
	case ok && bgp.Generation(path.Preference) < newer:
		return true
	case ok && path.Written:
		return false
	}
	return was
}
