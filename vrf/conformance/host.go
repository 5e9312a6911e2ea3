package conformance

import (
	"slices"
	"testing"

	"github.com/hostroute/hostroute/vrf"
)

func sweeping() vrf.Options { return vrf.Options{Sweep: true} }

func converges(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.wantRoutes(t, append(tap1Routes(), tap2Routes()...)...)
	a := b.actual(t)
	for _, want := range []vrf.Address{
		{Link: "tap1", Prefix: prefix("169.254.0.1/32")}, {Link: "tap1", Prefix: prefix("203.0.113.1/32")},
		{Link: "tap1", Prefix: prefix("fe80::1/64")}, {Link: "tap2", Prefix: prefix("2001:db8:1::1/128")},
		{Link: "u0", Prefix: prefix("100.64.1.1/24")}, {Link: "u1", Prefix: prefix("fd64:2::1/64")},
	} {
		if !hasAddress(a, want.Link, want.Prefix.String()) {
			t.Errorf("%s has no address %s", want.Link, want.Prefix)
		}
	}
	for _, want := range []vrf.InstalledNeighbour{
		{Link: "tap1", Address: addr("203.0.113.7"), MAC: mac(7)}, {Link: "tap1", Address: addr("fe80::7"), MAC: mac(7)},
	} {
		if !slices.Contains(a.Neighbours, want) {
			t.Errorf("no neighbour %v in %v", want, a.Neighbours)
		}
	}
	unreachable := 0
	for _, r := range a.Routes {
		if r.Unreachable && r.Metric == vrf.MetricUnreachable {
			unreachable++
		}
	}
	if unreachable != 4 {
		t.Errorf("%d last resorts, want one per table and family", unreachable)
	}
	for _, l := range a.Links {
		if l.Name == "tap1" && (l.MAC != vrf.TapMAC || l.Group != vrf.TapGroup || !l.Up || b.VRF && l.Master != "public") {
			t.Errorf("tap1 is %+v", l)
		}
	}
	if got := a.Sysctls["ipv4/conf/tap1/rp_filter"]; got != "1" {
		t.Errorf("tap1's rp_filter is %q, want strict", got)
	}
}

func hasAddress(a vrf.Actual, link, p string) bool {
	return slices.ContainsFunc(a.Addresses, func(x vrf.Address) bool { return x.Link == link && x.Prefix == prefix(p) })
}

func bouncedTap(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.SetUp("tap1", false)
	b.wantRoutes(t, tap2Routes()...)
	b.SetUp("tap1", true)
	b.converge(t, vrf.Options{})
	b.wantRoutes(t, append(tap1Routes(), tap2Routes()...)...)
}

func tapAppears(t *testing.T, b *bench) {
	b.DeleteLink("tap1")
	if r := b.converge(t, sweeping()); !slices.Equal(r.Waiting, []string{"tap1"}) {
		t.Fatalf("waiting for %v, want tap1", r.Waiting)
	}
	b.AddLink("tap1")
	b.converge(t, vrf.Options{})
	b.wantRoutes(t, append(tap1Routes(), tap2Routes()...)...)
}

func tapVanishes(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.DeleteLink("tap1")
	b.converge(t, sweeping())
	b.wantRoutes(t, tap2Routes()...)
}

func tapReleased(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.host.Taps = b.host.Taps[1:]
	b.converge(t, sweeping())
	b.wantRoutes(t, tap2Routes()...)
	a := b.actual(t)
	for _, l := range a.Links {
		if l.Name == "tap1" && (l.Up || l.Master != "" || l.Group != vrf.TapGroup) {
			t.Errorf("the released tap is %+v, want it down, without master, in the taps' group", l)
		}
	}
	for _, x := range a.Addresses {
		if x.Link == "tap1" {
			t.Errorf("the released tap has %s", x.Prefix)
		}
	}
	for _, n := range a.Neighbours {
		if n.Link == "tap1" {
			t.Errorf("the released tap has neighbour %s", n.Address)
		}
	}
}

func noSweep(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.host.Taps = b.host.Taps[1:]
	if r := b.plan(t, vrf.Options{}); len(r.Ops) > 0 {
		t.Fatalf("without a sweep the plan has %v", r.Ops)
	}
}

func gatewayChanges(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.host.Taps[0].Gateways = addrs("203.0.113.2")
	b.converge(t, sweeping())
	b.wantRoutes(t, append(tap1Routes(), tap2Routes()...)...)
	if a := b.actual(t); !hasAddress(a, "tap1", "203.0.113.2/32") || hasAddress(a, "tap1", "169.254.0.1/32") {
		t.Errorf("tap1's addresses are in %v", a.Addresses)
	}
	b.host.Taps[0].Gateways = nil // the kernel drops the IPv4 routes with the last address
	b.converge(t, sweeping())
	b.wantRoutes(t, append(tap1Routes(), tap2Routes()...)...)
}

func uplinkRenumbered(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.host.Uplinks[0].Addresses = prefixes("100.64.1.9/24", "100.64.1.10/24")
	b.converge(t, sweeping())
	a := b.actual(t)
	if !hasAddress(a, "u0", "100.64.1.9/24") || !hasAddress(a, "u0", "100.64.1.10/24") || hasAddress(a, "u0", "100.64.1.1/24") {
		t.Errorf("u0's addresses are in %v", a.Addresses)
	}
}

func routeMoves(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	moved := vrf.Route{Prefix: prefix("203.0.113.7/32")}
	b.host.Taps[0].Routes = []vrf.Route{{Prefix: prefix("203.0.113.9/32")}}
	b.AddLink("tap3")
	b.host.Taps = append(b.host.Taps, vrf.Tap{Name: "tap3", VRF: "public", Gateways: addrs("169.254.0.1"), Routes: []vrf.Route{moved}})
	b.converge(t, sweeping())
	b.wantRoutes(t, append(tap2Routes(), "203.0.113.9/32 dev tap1 table 90", "203.0.113.7/32 dev tap3 table 90")...)
}

func foreignSurvives(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.AddForeignRoute(90, prefix("198.51.100.0/24"), vrf.MetricGuest)
	b.AddForeignRoute(90, prefix("2001:db8:9::/48"), vrf.MetricLearned)
	b.AddForeignRoute(254, prefix("198.51.100.0/24"), vrf.MetricGuest)
	b.AddForeignAddress("tap2", prefix("198.51.100.9/24"))
	b.AddForeignAddress("u0", prefix("2001:db8:9::9/64"))
	had := b.Foreign()
	if len(had) != 5 {
		t.Fatalf("there are %q", had)
	}
	b.host.Taps[1].Gateways = nil
	b.converge(t, sweeping())
	b.wantForeign(t, had)
	b.host.Taps = b.host.Taps[1:]
	b.converge(t, sweeping())
	b.wantForeign(t, had)
}

func rules(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	for _, v6 := range []bool{false, true} {
		var local, l3mdev []uint32
		for _, r := range b.actual(t).Rules {
			switch {
			case r.IPv6 != v6:
			case r.L3MDev:
				l3mdev = append(l3mdev, r.Priority)
			case r.Table == 255:
				local = append(local, r.Priority)
			}
		}
		if !slices.Equal(local, []uint32{32765}) || !slices.Equal(l3mdev, []uint32{1000}) {
			t.Errorf("IPv6 %v: local is looked up at %v, the VRFs at %v", v6, local, l3mdev)
		}
	}
}

// vrfDeleted: somebody deletes a VRF device, and with it everything that was in
// it. Guests, uplinks and learned routes come back.
func vrfDeleted(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.apply(t, sample())
	b.wantLearned(t, b.expected(sample(), "u0", "u1"))
	b.DeleteLink("public")
	b.repair(t) // the notice may come between
	b.converge(t, sweeping())
	b.repair(t)
	b.wantRoutes(t, append(tap1Routes(), tap2Routes()...)...)
	b.wantLearned(t, b.expected(sample(), "u0", "u1"))
}

func tapChangesVRF(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.host.Taps[1].VRF = "public"
	b.converge(t, sweeping())
	b.wantRoutes(t, append(tap1Routes(), "10.0.0.8/32 dev tap2 table 90", "2001:db8:1::8/128 dev tap2 table 90")...)
}
