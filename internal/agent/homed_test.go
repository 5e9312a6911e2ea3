package agent

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// TestOwnIsWhatItWouldBeAnew: what is taken over from the last round, guest by guest, is
// what somebody finds who knows nothing of it.
func TestOwnIsWhatItWouldBeAnew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, s := newMoving("hv1"), projector.New()
		present, version := map[string]bool{}, uint64(0)
		seen := map[string]bool{}
		for range rapid.IntRange(1, 20).Draw(t, "rounds") {
			for range rapid.IntRange(0, 2).Draw(t, "changes") {
				vm := fmt.Sprintf("vm%d", rapid.IntRange(1, 6).Draw(t, "vm"))
				if rapid.IntRange(0, 3).Draw(t, "is deleted") == 0 {
					s.Forget(events.SubjectVM(vm))
					continue
				}
				s.Put(events.SubjectVM(vm), drawGuest(t, vm))
			}
			if rapid.IntRange(0, 4).Draw(t, "a tap comes or goes") == 0 {
				present, version = maps.Clone(present), version+1
				tap := "tap" + rapid.SampledFrom([]string{"vm1", "vm2"}).Draw(t, "tap")
				present[tap] = !present[tap]
			}
			if rapid.IntRange(0, 4).Draw(t, "one is seen") == 0 {
				seen["vm3"] = !seen["vm3"]
			}
			arrived := func(vm string) bool { return seen[vm] }
			got := m.own(s, arrived, present, version)
			anew := newMoving("hv1")
			if want := anew.own(s, arrived, present, version); !slices.Equal(got, want) || m.awaited != anew.awaited {
				t.Fatalf("got %+v\nwant %+v", got, want)
			}
		}
	})
}

func drawGuest(t *rapid.T, vm string) *projector.Guest {
	g := &projector.Guest{
		VM: vm, Hypervisor: rapid.SampledFrom([]string{"hv1", "hv1", "hv2"}).Draw(t, "home"),
		Epoch:      rapid.Uint64Range(1, 3).Draw(t, "epoch"),
		Interfaces: []projector.Interface{{Interface: events.Interface{Tap: "tap" + vm}, VRF: "public"}},
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "addresses") {
		g.Addresses = append(g.Addresses, projector.Address{Prefix: netip.MustParsePrefix(fmt.Sprintf("203.0.113.%d/32", i+1))})
	}
	if rapid.IntRange(0, 2).Draw(t, "moves") == 0 {
		g.Next = &projector.Place{Hypervisor: rapid.SampledFrom([]string{"hv1", "hv3"}).Draw(t, "to"), Taps: []string{"tap" + vm}}
	}
	return g
}
