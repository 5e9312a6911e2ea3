package kernel

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// anycastTaps are taps whose guests have the same two addresses.
func anycastTaps(names ...string) (taps []vrf.Tap) {
	v4, v6 := netip.MustParsePrefix("203.0.113.99/32"), netip.MustParsePrefix("2001:db8:a::99/128")
	for i, name := range names {
		mac := [6]byte{2, 0, 0, 0, 1, byte(0x33 + i)}
		taps = append(taps, vrf.Tap{
			Name: name, VRF: "public", MAC: mac, Gateways: []netip.Addr{netip.MustParseAddr("169.254.0.1")},
			Routes:     []vrf.Route{{Prefix: v4}, {Prefix: v6}},
			Sources:    []netip.Prefix{v4, v6},
			Neighbours: []vrf.Neighbour{{Address: v4.Addr(), MAC: mac}, {Address: v6.Addr(), MAC: mac}},
		})
	}
	return taps
}

// sharedTarget is a kernel whose restricted plans are from memory: what it
// arrives at is checked by another one.
type sharedTarget struct {
	*target
	t     *testing.T
	host  vrf.Host
	other *Kernel
}

func newSharedTarget(t *testing.T, taps ...string) *sharedTarget {
	testenv.RequireRoot(t)
	k := &sharedTarget{target: newTarget(t, Options{}), t: t}
	k.other = New(Options{NetNS: k.Kernel.ns})
	t.Cleanup(func() { must(t, k.other.Close()) })
	for _, name := range append([]string{"tap0"}, taps...) {
		k.AddLink(name)
	}
	k.host = oneTap()
	k.host.Taps = append(k.host.Taps, anycastTaps(taps...)...)
	k.apply("the first is unrestricted")
	return k
}

// apply has a plan for these links, and then nothing left to do.
func (k *sharedTarget) apply(what string, links ...string) {
	k.t.Helper()
	if _, err := k.Apply(k.t.Context(), k.host, vrf.Options{Sweep: true, Links: append([]string{}, links...)}); err != nil {
		k.t.Fatalf("%s: %v", what, err)
	}
	k.wantNothingLeft(what)
}

func (k *sharedTarget) wantNothingLeft(what string) {
	k.t.Helper()
	actual, err := k.other.Read(k.t.Context(), k.host)
	must(k.t, err)
	if r := vrf.Plan(k.host, actual, vrf.Options{Sweep: true}); len(r.Ops) > 0 || len(r.Problems) > 0 {
		k.t.Fatalf("%s: an unrestricted plan has %v, problems %v", what, r.Ops, r.Problems)
	}
}

// TestApplyToSomeOfTheSharing: a plan for one tap does for the routes that it
// shares what is to be done, without a table being read.
func TestApplyToSomeOfTheSharing(t *testing.T) {
	k := newSharedTarget(t, "tap1", "tap2", "tap3")
	k.SetUp("tap1", false)
	k.SetUp("tap1", true)
	k.apply("a bounced tap", "tap1")
	for _, name := range []string{"tap1", "tap2", "tap3"} {
		k.SetUp(name, false)
	}
	k.apply("all are down, and one is told", "tap2")
	k.DeleteLink("tap1")
	k.apply("a tap vanishes", "tap1")
	k.AddLink("tap1")
	k.apply("a tap appears", "tap1")
	k.DeleteLink("tap1")
	k.DeleteLink("tap2")
	k.AddLink("tap2")
	k.apply("several things, and one is told", "tap1")
	k.host.Taps = slices.Delete(k.host.Taps, 3, 4)
	k.apply("a tap is released", "tap3")
	k.host.Taps = append(k.host.Taps, anycastTaps("tap1", "tap2", "tap3")[2])
	k.apply("and comes back", "tap3")
	k.host.Taps[2].Gateways = nil
	k.apply("the last IPv4 address goes", "tap2")
	k.host.Taps[2].Routes = nil
	k.apply("the prefix leaves one", "tap2")
	k.SetCarrier("tap3", false)
	k.AddLink("tap1")
	k.apply("one has no carrier, and one is there again", "tap1", "tap3")
	want := "203.0.113.99 dev tap1 proto 201 scope link metric 100"
	if got := strings.TrimSpace(k.ip("route", "show", "table", "90", "203.0.113.99")); got != want {
		t.Errorf("the route is %q, want %q", got, want)
	}
}

// TestSharedForeign: when a tap vanishes the kernel drops the whole IPv4 route
// over several. What somebody puts there before we do is not ours.
func TestSharedForeign(t *testing.T) {
	k := newSharedTarget(t, "tap1", "tap2", "tap3")
	k.DeleteLink("tap1")
	place := netip.MustParsePrefix("203.0.113.99/32")
	k.AddForeignRoute(90, place, vrf.MetricGuest)
	foreign := func() string { return k.ip("route", "show", "table", "all", "proto", "99") } // k.Foreign reads, and so refreshes the memory
	had := foreign()
	for range 2 {
		if _, err := k.Apply(t.Context(), k.host, vrf.Options{Sweep: true, Links: []string{"tap1"}}); !errors.Is(err, vrf.ErrExists) {
			t.Errorf("got %v, want %v", err, vrf.ErrExists)
		}
		if got := foreign(); got != had {
			t.Fatalf("what is somebody else's changed: have %q, had %q", got, had)
		}
	}
	k.DeleteForeignRoute(90, place, vrf.MetricGuest)
	k.apply("the place is free", "tap1")
}

// TestBlackholesFromMemory: they come and go in plans restricted to no link, and
// without a sweep go those that this process wrote.
func TestBlackholesFromMemory(t *testing.T) {
	k := newSharedTarget(t)
	holes := []vrf.Blackhole{
		{VRF: "public", Prefix: netip.MustParsePrefix("203.0.113.7/32")}, {VRF: "public", Prefix: netip.MustParsePrefix("2001:db8:1::/64")},
	}
	k.host.Blackholes = holes
	k.apply("they come")
	k.host.Blackholes = holes[:1]
	k.apply("one goes")
	k.Forget([]Route{{Table: 90, Prefix: holes[0].Prefix, Metric: vrf.MetricBlackhole}}) // said to be gone, and is there
	k.apply("a false alarm")
	k.host.Blackholes = nil
	_, err := k.Apply(t.Context(), k.host, vrf.Options{Links: []string{}})
	must(t, err)
	k.wantNothingLeft("without a sweep")

	k.AddFormerBlackhole(90, holes[1].Prefix)
	_, err = k.Kernel.Read(t.Context(), k.host)
	must(t, err)
	for _, sweep := range []bool{false, true} {
		r, err := k.Apply(t.Context(), k.host, vrf.Options{Links: []string{}, Sweep: sweep})
		must(t, err)
		if gone := len(r.Ops) > 0; gone != sweep {
			t.Errorf("with a sweep: %v, the plan has %v", sweep, r.Ops)
		}
	}
}

// TestDamagedSharing: the watch tells of blackholes and of routes over several
// taps that somebody deletes, replaces or takes a tap out of, and they are back.
func TestDamagedSharing(t *testing.T) {
	testenv.RequireRoot(t)
	k := newWatchedTarget(t)
	for _, name := range []string{"tap1", "tap2"} {
		k.AddLink(name)
	}
	k.host.Taps = append(k.host.Taps, anycastTaps("tap1", "tap2")...)
	k.host.Blackholes = []vrf.Blackhole{
		{VRF: "public", Prefix: netip.MustParsePrefix("203.0.113.8/32")}, {VRF: "private", Prefix: netip.MustParsePrefix("2001:db8::8/128")},
	}
	_, err := k.Apply(t.Context(), k.host, vrf.Options{Sweep: true})
	must(t, err)
	for _, command := range []string{
		"-4 route del blackhole 203.0.113.8/32 table 90 metric 300",
		"-6 route del blackhole 2001:db8::8/128 table 1000 metric 300",
		"-4 route del 203.0.113.99/32 table 90 metric 100",
		"-6 route del 2001:db8:a::99/128 table 90 metric 100",
		"-4 route replace 203.0.113.99/32 table 90 metric 100 proto 201 nexthop dev tap1 weight 9 nexthop dev tap2",
		"-6 route replace 2001:db8:a::99/128 table 90 metric 100 proto 201 dev tap1",
		"-6 route del 2001:db8:a::99/128 table 90 metric 100 via fe80::ff:fe00:133 dev tap1",
	} {
		k.log.clear()
		k.ip(strings.Fields(command)...)
		var damaged []Route
		k.log.wait(t, command, func(n Notice) bool {
			damaged = n.Routes
			return len(damaged) > 0
		})
		k.Forget(damaged)
		var links []string
		if slices.ContainsFunc(damaged, func(r Route) bool { return r.Metric == vrf.MetricGuest }) {
			links = append(links, "tap1")
		}
		_, err := k.Apply(t.Context(), k.host, vrf.Options{Links: append([]string{}, links...)})
		must(t, err)
		wantNothingLeft(t, k.target, k.host)
	}
	taken := netip.MustParsePrefix("203.0.113.8/32")
	k.AddForeignRoute(90, taken, vrf.MetricBlackhole)
	k.log.wait(t, "a foreign route", func(n Notice) bool {
		return slices.Contains(n.Routes, Route{Table: 90, Prefix: taken, Metric: vrf.MetricBlackhole})
	})
	k.Forget([]Route{{Table: 90, Prefix: taken, Metric: vrf.MetricBlackhole}})
	had := k.Foreign()
	if _, err := k.Apply(t.Context(), k.host, vrf.Options{Links: []string{}}); !errors.Is(err, vrf.ErrExists) {
		t.Errorf("got %v, want %v", err, vrf.ErrExists)
	}
	if got := k.Foreign(); !slices.Equal(got, had) {
		t.Errorf("what is somebody else's changed: have %q, had %q", got, had)
	}
}
