package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/internal/bgp"
)

// TestUnionIsInOrder: everything is in it once, in order, and what both have is the first's.
func TestUnionIsInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string, preference uint32) []bgp.Announcement {
			list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) bgp.Announcement {
				p := netip.MustParsePrefix(fmt.Sprintf("203.0.113.%d/32", rapid.IntRange(1, 9).Draw(t, "prefix")))
				return bgp.Announcement{VRF: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "vrf"), Prefix: p, Preference: preference}
			}), 0, 8).Draw(t, name)
			slices.SortFunc(list, order)
			return list
		}
		set, more := draw("set", 1), draw("more", 2)
		set = slices.CompactFunc(set, func(a, b bgp.Announcement) bool { return order(a, b) == 0 })
		want := map[target]uint32{}
		for _, n := range slices.Concat(more, set) {
			want[target{n.VRF, n.Prefix}] = n.Preference
		}
		got := union(set, more)
		if len(got) != len(want) || !slices.IsSortedFunc(got, order) {
			t.Fatalf("%v and %v are %v", set, more, got)
		}
		for _, n := range got {
			if want[target{n.VRF, n.Prefix}] != n.Preference {
				t.Fatalf("%v and %v are %v", set, more, got)
			}
		}
	})
}
