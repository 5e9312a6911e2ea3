package agent

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/arrival"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
)

// presence marks which taps are there. The map is never written again, and another one
// only if something in it is.
type presence struct {
	taps    []vrf.Tap
	missing []string // names, of taps and others
	marks   map[string]bool
	version uint64
}

// mark marks the taps that are not among the missing.
func (p *presence) mark(taps []vrf.Tap, missing []string) map[string]bool {
	if p.marks != nil && slices.Equal(p.missing, missing) && (same(p.taps, taps) || sameNames(p.taps, taps)) {
		p.taps = taps
		return p.marks
	}
	absent := make(map[string]bool, len(missing))
	for _, name := range missing {
		absent[name] = true
	}
	marks := make(map[string]bool, len(taps))
	for _, t := range taps {
		marks[t.Name] = !absent[t.Name]
	}
	p.taps, p.missing, p.marks = taps, missing, marks
	p.version++
	return marks
}

func sameNames(a, b []vrf.Tap) bool {
	for i := range min(len(a), len(b)) {
		if a[i].Name != b[i].Name {
			return false
		}
	}
	return len(a) == len(b)
}

// telling is what guests were told last, and whether it is to be told in any case.
type telling struct {
	host     projector.Host
	version  uint64 // of presence
	expected map[string]arrival.Guest
	indexes  map[string]uint32 // of links of which something was told
	due      bool
}

// anew tells whether one of these links is another device than it was when it was
// looked at last, which needs other sockets. Most of what is told of a link, such as
// neighbours that the agent wrote itself, leaves it the same.
func (t *telling) anew(links map[string]bool) (anew bool) {
	if len(links) == 0 {
		return false
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	for name := range links {
		var index uint32 // none
		if request, err := unix.NewIfreq(name); err == nil && unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request) == nil {
			index = request.Uint32()
		}
		if was, known := t.indexes[name]; !known || was != index {
			anew = true
		}
		if t.indexes[name] = index; index == 0 {
			delete(t.indexes, name) // of names that come and go nothing is kept
		}
	}
	return anew
}

// tell has guests told what is theirs, unless nothing of that has changed.
func (a *applier) tell(host projector.Host, present map[string]bool, expected map[string]arrival.Guest) {
	t := &a.told
	if !t.due && t.version == a.taken.version && same(t.host.DHCP, host.DHCP) && same(t.host.IPv6, host.IPv6) && maps.Equal(t.expected, expected) {
		return
	}
	t.host, t.version, t.expected, t.due = host, a.taken.version, expected, false
	a.guests.Set(host, present, expected)
}
