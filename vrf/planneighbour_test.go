package vrf_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/fake"
)

// TestNeighbourOutlivesRoute: an address that goes to another tap is not asked for
// on its old one, where nobody may answer any more.
func TestNeighbourOutlivesRoute(t *testing.T) {
	k := fake.New()
	address := netip.MustParsePrefix("203.0.113.60/32")
	host := func(owner int) vrf.Host {
		h := vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 90}}}
		for i, name := range []string{"tap0", "tap1"} {
			tap := vrf.Tap{Name: name, VRF: "public", MAC: [6]byte{2, 0, 0, 0, byte(i), 1}}
			if i == owner {
				tap.Routes = []vrf.Route{{Prefix: address}}
				tap.Neighbours = []vrf.Neighbour{{Address: address.Addr(), MAC: tap.MAC}}
				tap.Sources = []netip.Prefix{address}
			}
			h.Taps = append(h.Taps, tap)
		}
		return h
	}
	planned := func(h vrf.Host) []vrf.Op {
		actual, err := k.Read(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		return vrf.Plan(h, actual, vrf.Options{Sweep: true}).Ops
	}
	k.AddLink("tap0")
	k.AddLink("tap1")
	if err := k.Execute(t.Context(), planned(host(0))); err != nil {
		t.Fatal(err)
	}
	ops := planned(host(1))
	route := slices.IndexFunc(ops, func(o vrf.Op) bool {
		add, ok := o.(vrf.AddRoute)
		return ok && add.Route.Prefix == address
	})
	forgotten := slices.IndexFunc(ops, func(o vrf.Op) bool { _, ok := o.(vrf.DeleteNeighbour); return ok })
	if route < 0 || forgotten < route {
		t.Errorf("the route is operation %d, the end of the old neighbour %d, of %v", route, forgotten, ops)
	}
}
