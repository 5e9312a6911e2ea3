package vrf_test

import (
	"net/netip"
	"testing"

	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/fake"
)

// TestARouteAfterAnotherOverTheSameTaps: the kernel keeps one list of devices for all IPv4
// routes over the same ones. One that it has marked in a route that goes, since that tap has
// lost its address, is not passed on to the route that comes.
func TestARouteAfterAnotherOverTheSameTaps(t *testing.T) {
	k := fake.New()
	gateway := netip.MustParseAddr("203.0.113.1")
	tap := func(name string, gateways []netip.Addr, prefix string) vrf.Tap {
		p := netip.MustParsePrefix(prefix)
		mac := [6]byte{2, 5: name[3]}
		return vrf.Tap{Name: name, VRF: "public", MAC: mac, Gateways: gateways, Routes: []vrf.Route{{Prefix: p}},
			Sources: []netip.Prefix{p}, Neighbours: []vrf.Neighbour{{Address: p.Addr(), MAC: mac}}}
	}
	bring := func(taps ...vrf.Tap) vrf.Host {
		h := vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 90}}, Taps: taps}
		if err := k.Execute(t.Context(), planOf(t, k, h)); err != nil {
			t.Fatal(err)
		}
		return h
	}
	k.AddLink("tap0")
	k.AddLink("tap2")
	given := []netip.Addr{gateway}
	bring(tap("tap0", given, "203.0.113.7/32"), tap("tap2", given, "203.0.113.7/32"))
	h := bring(tap("tap0", given, "203.0.113.8/32"), tap("tap2", nil, "203.0.113.8/32"))
	if ops := planOf(t, k, h); len(ops) > 0 {
		t.Errorf("a second plan has %v", ops)
	}
}

func planOf(t *testing.T, k *fake.Kernel, h vrf.Host) []vrf.Op {
	t.Helper()
	actual, err := k.Read(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return vrf.Plan(h, actual, vrf.Options{Sweep: true}).Ops
}
