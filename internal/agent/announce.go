package agent

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/vrf"
)

// target is a prefix in a VRF.
type target struct {
	vrf    string
	prefix netip.Prefix
}

// reachable keeps the announcements whose route stands in the kernel: the tap
// exists, and the route was not refused (nil: none was).
func reachable(set []bgp.Announcement, taps []vrf.Tap, present map[string]bool, refused func(target) bool) []bgp.Announcement {
	installed := map[target]bool{}
	for _, t := range taps {
		for _, r := range t.Routes {
			key := target{t.VRF, r.Prefix}
			installed[key] = installed[key] || present[t.Name] && (refused == nil || !refused(key))
		}
	}
	return slices.DeleteFunc(slices.Clone(set), func(n bgp.Announcement) bool {
		return !installed[target{n.VRF, n.Prefix}]
	})
}

// routed keeps the announcements that are for a route of a tap, be it there or not.
func routed(set []bgp.Announcement, taps []vrf.Tap) []bgp.Announcement {
	routes := map[target]bool{}
	for _, t := range taps {
		for _, r := range t.Routes {
			routes[target{t.VRF, r.Prefix}] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(set), func(n bgp.Announcement) bool { return !routes[target{n.VRF, n.Prefix}] })
}

// intersect keeps of the announced what is desired still, with the attributes
// that it is announced with.
func intersect(announced, desired []bgp.Announcement) []bgp.Announcement {
	wanted := make(map[target]bool, len(desired))
	for _, n := range desired {
		wanted[target{n.VRF, n.Prefix}] = true
	}
	return slices.DeleteFunc(slices.Clone(announced), func(n bgp.Announcement) bool {
		return !wanted[target{n.VRF, n.Prefix}]
	})
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
	same := a.said && slices.EqualFunc(a.announced, set, sameAnnouncement)
	if same || a.stale {
		return
	}
	a.announced, a.said = set, true
	a.announcer.Announce(set)
}

// union adds to a set what is not in it, in the order of VRFs and prefixes, so that
// what is announced for another reason than before is the same.
func union(set, more []bgp.Announcement) []bgp.Announcement {
	all := slices.Concat(set, more)
	order := func(a, b bgp.Announcement) int {
		return cmp.Or(strings.Compare(a.VRF, b.VRF), a.Prefix.Compare(b.Prefix))
	}
	slices.SortStableFunc(all, order) // so that those of the set come first
	return slices.CompactFunc(all, func(a, b bgp.Announcement) bool { return order(a, b) == 0 })
}

func sameAnnouncement(a, b bgp.Announcement) bool {
	return a.VRF == b.VRF && a.Prefix == b.Prefix && a.Preference == b.Preference && slices.Equal(a.Communities, b.Communities)
}
