package agent

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
)

// target is a prefix in a VRF.
type target struct {
	vrf    string
	prefix netip.Prefix
}

// same tells whether two lists are the very same one. Those of a host are, if nothing
// in them has changed; see [projector.Desirer].
func same[E any](a, b []E) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// reachable keeps the announcements of a host whose route stands in the kernel: it is
// among these taps', the tap exists, and the route was not refused (nil: none was).
func reachable(host projector.Host, taps []vrf.Tap, present map[string]bool, refused func(target) bool) []bgp.Announcement {
	stands := func(t vrf.Tap, key target) bool { return present[t.Name] && (refused == nil || !refused(key)) }
	lacking := map[target]bool{}
	for _, t := range taps {
		if refused == nil && present[t.Name] {
			continue
		}
		for _, r := range t.Routes {
			if key := (target{t.VRF, r.Prefix}); !stands(t, key) {
				lacking[key] = true
			}
		}
	}
	set := routed(host, taps)
	if len(lacking) == 0 {
		return set
	}
	for _, t := range taps { // by a tap that isn't there, and perhaps by another one that is
		for _, r := range t.Routes {
			if key := (target{t.VRF, r.Prefix}); lacking[key] && stands(t, key) {
				delete(lacking, key)
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(set), func(n bgp.Announcement) bool { return lacking[target{n.VRF, n.Prefix}] })
}

// routed keeps the announcements of a host that are for a route of these taps, be it
// there or not. All of them are for one of the host's own taps.
func routed(host projector.Host, taps []vrf.Tap) []bgp.Announcement {
	if same(host.Taps, taps) {
		return host.Announcements
	}
	routes := map[target]bool{}
	for _, t := range taps {
		for _, r := range t.Routes {
			routes[target{t.VRF, r.Prefix}] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(host.Announcements), func(n bgp.Announcement) bool { return !routes[target{n.VRF, n.Prefix}] })
}

// order is that of VRFs and prefixes, in which all sets of announcements are.
func order(a, b bgp.Announcement) int {
	return cmp.Or(strings.Compare(a.VRF, b.VRF), a.Prefix.Compare(b.Prefix))
}

// intersect keeps of the announced what is desired still, with the attributes
// that it is announced with.
func intersect(announced, desired []bgp.Announcement) []bgp.Announcement {
	if same(announced, desired) {
		return announced
	}
	var gone []int // there are few
	for i, n := range announced {
		for len(desired) > 0 && order(desired[0], n) < 0 {
			desired = desired[1:]
		}
		if len(desired) == 0 || order(desired[0], n) != 0 {
			gone = append(gone, i)
		}
	}
	if len(gone) == 0 {
		return announced
	}
	kept := make([]bgp.Announcement, 0, len(announced)-len(gone))
	from := 0
	for _, i := range gone {
		kept, from = append(kept, announced[from:i]...), i+1
	}
	return append(kept, announced[from:]...)
}

// current is what was handed over last, and whether anything was.
func (a *applier) current() (set []bgp.Announcement, said bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.announced, a.said
}

// begin is current for a round, before it looks at anything else.
func (a *applier) begin() (set []bgp.Announcement, said bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stale = false
	return a.announced, a.said
}

// Hush has everything announced anew by the next round that may, and nothing of
// what was announced kept: it may be withdrawn by now. A round that is under way
// announces nothing.
func (a *applier) Hush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.announced, a.said, a.stale = nil, false, true
	a.announcer.Hush()
}

// announce hands a set over unless it is what was handed over last. An empty
// first one is handed over too: it is the word that nothing is announced, without
// which reflectors keep for ever what a former run announced.
func (a *applier) announce(set []bgp.Announcement) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.said && (same(a.announced, set) || slices.EqualFunc(a.announced, set, sameAnnouncement))
	if known || a.stale {
		return
	}
	a.announced, a.said = set, true
	a.announcer.Announce(set)
}

// union adds to a set what is not in it, so that what is announced for another reason
// than before is the same. Both are in order.
func union(set, more []bgp.Announcement) []bgp.Announcement {
	if len(more) == 0 {
		return set
	}
	all := make([]bgp.Announcement, 0, len(set)+len(more))
	for _, n := range more {
		i, found := slices.BinarySearchFunc(set, n, order)
		if found || len(all) > 0 && i == 0 && order(all[len(all)-1], n) == 0 {
			continue
		}
		all = append(append(all, set[:i]...), n)
		set = set[i:]
	}
	return append(all, set...)
}

func sameAnnouncement(a, b bgp.Announcement) bool {
	return a.VRF == b.VRF && a.Prefix == b.Prefix && a.Preference == b.Preference && slices.Equal(a.Communities, b.Communities)
}
