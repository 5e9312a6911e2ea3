package conformance

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/hostroute/hostroute/vrf"
)

// newSharedBench has three guests with the same anycast addresses, and one with
// routed prefixes beside.
func newSharedBench(t *testing.T, s Setup) *bench {
	b := newBench(t, s)
	b.host.Taps = []vrf.Tap{tap1()}
	for i, name := range []string{"tap3", "tap4", "tap5"} {
		b.AddLink(name)
		b.host.Taps = append(b.host.Taps, anycast(name, byte(0x33+i)))
	}
	return b
}

func anycast(name string, n byte) vrf.Tap {
	return vrf.Tap{
		Name: name, VRF: "public", Gateways: addrs("169.254.0.1"), MAC: mac(n),
		Routes: []vrf.Route{
			{Prefix: prefix("203.0.113.99/32")}, {Prefix: prefix("2001:db8:a::99/128")},
			{Prefix: prefix("203.0.113.96/31"), Via: linkLocal(n)}, {Prefix: prefix("2001:db8:b::/64"), Via: linkLocal(n)},
		},
		Neighbours: []vrf.Neighbour{{Address: addr("203.0.113.99"), MAC: mac(n)}, {Address: addr("2001:db8:a::99"), MAC: mac(n)}},
	}
}

var (
	linkLocals = map[byte]string{0x33: "fe80::ff:fe00:133", 0x34: "fe80::ff:fe00:134", 0x35: "fe80::ff:fe00:135"}
	members    = map[string]byte{"tap3": 0x33, "tap4": 0x34, "tap5": 0x35}
)

func linkLocal(n byte) netip.Addr { return addr(linkLocals[n]) }

// wantShared asks that the anycast addresses lead to these taps.
func (b *bench) wantShared(t *testing.T, taps ...string) {
	t.Helper()
	want := tap1Routes()
	for _, p := range []struct {
		prefix string
		via    bool
	}{{"203.0.113.99/32", false}, {"2001:db8:a::99/128", true}, {"203.0.113.96/31", true}, {"2001:db8:b::/64", true}} {
		hop := func(tap string) string {
			if p.via {
				return " via " + linkLocals[members[tap]] + " dev " + tap
			}
			return " dev " + tap
		}
		switch {
		case len(taps) == 1:
			want = append(want, p.prefix+hop(taps[0])+" table 90")
		case len(taps) > 1:
			s := p.prefix + " table 90"
			for _, tap := range taps {
				s += " nexthop" + hop(tap)
			}
			want = append(want, s)
		}
	}
	b.wantRoutes(t, want...)
}

// shared: one prefix on several taps is one route over these, in whatever order
// they are named.
func shared(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.wantShared(t, "tap3", "tap4", "tap5")
	slices.Reverse(b.host.Taps)
	if r := b.plan(t, sweeping()); len(r.Ops) > 0 {
		t.Fatalf("in another order the plan has %v", r.Ops)
	}
	slices.Reverse(b.host.Taps)
	if !slices.Contains(b.actual(t).Neighbours, vrf.InstalledNeighbour{Link: "tap3", Address: linkLocal(0x33), MAC: mac(0x33)}) {
		t.Error("the gateway of an IPv6 route over several taps is no neighbour")
	}
	b.host.Taps = b.host.Taps[:3] // tap5 is released
	b.converge(t, sweeping())
	b.wantShared(t, "tap3", "tap4")
	alone := b.host.Taps[1].Routes
	b.host.Taps[1].Routes = nil // and tap3 keeps nothing of it
	b.converge(t, sweeping())
	b.wantRoutes(t, append(tap1Routes(), "203.0.113.99/32 dev tap4 table 90", "2001:db8:a::99/128 dev tap4 table 90",
		"203.0.113.96/31 via fe80::ff:fe00:134 dev tap4 table 90", "2001:db8:b::/64 via fe80::ff:fe00:134 dev tap4 table 90")...)
	b.host.Taps[1].Routes = alone
	b.converge(t, sweeping())
	b.wantShared(t, "tap3", "tap4")
	b.host.Taps = b.host.Taps[:1]
	b.converge(t, sweeping())
	b.wantShared(t)
}

// sharedTapsFail: what befalls one tap leaves the route to the others, and it
// is in it again when it is well.
func sharedTapsFail(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.SetUp("tap3", false)
	b.wantShared(t, "tap4", "tap5") // by the kernel's own doing
	b.SetUp("tap3", true)
	b.converge(t, vrf.Options{})
	b.wantShared(t, "tap3", "tap4", "tap5")

	b.DeleteLink("tap4")
	b.converge(t, vrf.Options{})
	b.wantShared(t, "tap3", "tap5")
	b.AddLink("tap4")
	b.converge(t, vrf.Options{})
	b.wantShared(t, "tap3", "tap4", "tap5")

	b.SetCarrier("tap5", false)
	b.converge(t, vrf.Options{})
	b.wantShared(t, "tap3", "tap4")
	b.SetCarrier("tap3", false)
	b.converge(t, vrf.Options{})
	b.DeleteLink("tap4")
	b.converge(t, vrf.Options{})
	b.wantShared(t, "tap3", "tap5") // without carrier, and no other is there
	b.SetCarrier("tap3", true)
	b.converge(t, vrf.Options{})
	b.SetCarrier("tap5", true)
	b.AddLink("tap4")
	b.converge(t, vrf.Options{})
	b.wantShared(t, "tap3", "tap4", "tap5")

	for _, name := range []string{"tap3", "tap4", "tap5"} {
		b.SetUp(name, false)
	}
	b.wantShared(t)
	b.converge(t, vrf.Options{})
	b.wantShared(t, "tap3", "tap4", "tap5")
}

// sharedGateways: the kernel takes a tap out of its IPv4 routes with the last
// IPv4 address, and what it has taken out is put in again.
func sharedGateways(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.host.Taps[1].Gateways = nil
	b.converge(t, sweeping())
	b.wantShared(t, "tap3", "tap4", "tap5")
	b.host.Taps[1].Gateways = addrs("203.0.113.1")
	b.converge(t, sweeping())
	b.wantShared(t, "tap3", "tap4", "tap5")
}

// sharedForeign: nobody else's route gives way to one over several taps, and
// where the kernel dropped ours with a tap none is replaced.
func sharedForeign(t *testing.T, b *bench) {
	places := prefixes("203.0.113.99/32", "2001:db8:a::99/128")
	for _, p := range places {
		b.AddForeignRoute(90, p, vrf.MetricGuest)
	}
	had := b.Foreign()
	for range 2 {
		if err := b.Execute(t.Context(), b.plan(t, sweeping()).Ops); err == nil {
			t.Error("somebody else's routes are in the way, and it succeeds")
		}
		b.wantForeign(t, had)
	}
	for _, p := range places {
		b.DeleteForeignRoute(90, p, vrf.MetricGuest)
	}
	b.converge(t, sweeping())
	b.wantShared(t, "tap3", "tap4", "tap5")
}
