package kernel

import (
	"net/netip"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// TestApplyToSomeLinks: after each change a plan for the changed links alone
// leaves nothing for an unrestricted one, though its routes are from memory.
func TestApplyToSomeLinks(t *testing.T) {
	testenv.RequireRoot(t)
	applyToSomeLinks(t, true)
}

func TestApplyToSomeLinksVRF(t *testing.T) {
	testenv.RequireVRF(t)
	applyToSomeLinks(t, false)
}

func applyToSomeLinks(t *testing.T, noDevice bool) {
	k := newTarget(t, Options{})
	k.AddLink("tap0")
	k.AddLink("tap1")
	tap := func(name, route string) vrf.Tap {
		return vrf.Tap{
			Name: name, VRF: "public", Gateways: []netip.Addr{netip.MustParseAddr("169.254.0.1")},
			Routes:     []vrf.Route{{Prefix: netip.MustParsePrefix(route)}},
			Neighbours: []vrf.Neighbour{{Address: netip.MustParsePrefix(route).Addr(), MAC: [6]byte{2, 5: 1}}},
		}
	}
	host := vrf.Host{
		VRFs: []vrf.VRF{{Name: "public", Table: 90, NoDevice: noDevice}},
		Taps: []vrf.Tap{tap("tap0", "203.0.113.1/32"), tap("tap1", "203.0.113.2/32")},
	}
	apply := func(what string, links ...string) {
		t.Helper()
		if _, err := k.Apply(t.Context(), host, vrf.Options{Sweep: true, Links: links}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		actual, err := k.Read(t.Context(), host)
		must(t, err)
		if r := vrf.Plan(host, actual, vrf.Options{Sweep: true}); len(r.Ops) > 0 || len(r.Problems) > 0 {
			t.Fatalf("%s: an unrestricted plan has %v, problems %v", what, r.Ops, r.Problems)
		}
	}
	apply("the first is unrestricted", "tap0")
	host.Taps[0].Routes = append(host.Taps[0].Routes, vrf.Route{Prefix: netip.MustParsePrefix("203.0.113.9/32")})
	apply("a route more", "tap0")
	k.SetUp("tap0", false)
	k.SetUp("tap0", true)
	apply("a bounced tap", "tap0")
	host.Taps[0], host.Taps[1] = tap("tap0", "203.0.113.2/32"), tap("tap1", "203.0.113.1/32")
	apply("routes change places", "tap0", "tap1")
	k.DeleteLink("tap1")
	apply("a tap vanishes", "tap1")
	k.AddLink("tap1")
	apply("a tap appears", "tap1")
	gone := host.Taps[1]
	host.Taps = host.Taps[:1]
	apply("a tap is released", "tap1")
	if out := k.ip("route", "show", "table", "90", "dev", "tap1"); out != "" {
		t.Errorf("the released tap has routes: %s", out)
	}
	host.Taps = append(host.Taps, gone)
	apply("and comes back", "tap1")
	k.batch("link set tap0 down", "link set tap1 down", "link set tap0 name other", "link set tap1 name tap0", "link set other name tap1")
	apply("taps change names", "tap0", "other", "tap1")
	if out := k.ip("route", "show", "table", "90", "dev", "tap1"); out == "" {
		t.Error("the tap has no route")
	}
}

// TestAddFindsOwnRoute: a route of ours that the plan did not know is in the
// way of its exclusive add, and no obstacle. Somebody else's is.
func TestAddFindsOwnRoute(t *testing.T) {
	testenv.RequireRoot(t)
	k := newTarget(t, Options{})
	k.AddLink("tap0")
	k.SetUp("tap0", true)
	add := vrf.AddRoute{VRF: "public", Route: vrf.InstalledRoute{
		Table: 90, Prefix: netip.MustParsePrefix("203.0.113.1/32"), Metric: vrf.MetricGuest, Link: "tap0",
	}}
	for range 2 {
		must(t, k.Execute(t.Context(), []vrf.Op{add}))
	}
	add.Route.Prefix = netip.MustParsePrefix("203.0.113.2/32")
	k.AddForeignRoute(90, add.Route.Prefix, vrf.MetricGuest)
	if err := k.Execute(t.Context(), []vrf.Op{add}); err == nil {
		t.Error("somebody else's route was replaced")
	}
	if out := k.ip("route", "show", "table", "90", "proto", "99"); out == "" {
		t.Error("somebody else's route is gone")
	}
}
