package vrf_test

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/fake"
)

// place is a prefix in a table.
type place struct {
	table  uint32
	prefix netip.Prefix
}

// held are the places with a route of one of the metrics.
func held(t *rapid.T, k *fake.Kernel, h vrf.Host, metrics ...uint32) map[place]bool {
	a, err := k.Read(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	places := map[place]bool{}
	for _, r := range a.Routes {
		if slices.Contains(metrics, r.Metric) {
			places[place{r.Table, r.Prefix}] = true
		}
	}
	return places
}

// TestPlanLeavesNoGap: where a blackhole takes the place of a tap's route, or a
// tap's route that of a blackhole, one of them stands after each operation.
func TestPlanLeavesNoGap(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		k := fake.New()
		for _, name := range []string{"u0", "u1", "tap0", "tap1", "tap2"} {
			k.AddLink(name)
		}
		before, after := drawHost(r), drawHost(r)
		if err := k.Execute(r.Context(), plan(r, k, before).Ops); err != nil {
			r.Fatal(err)
		}
		guests, holes := held(r, k, before, vrf.MetricGuest), held(r, k, before, vrf.MetricBlackhole, vrf.MetricBlackholeOver)
		done := fake.New() // a kernel that has arrived, to know what will be
		for _, name := range []string{"u0", "u1", "tap0", "tap1", "tap2"} {
			done.AddLink(name)
		}
		if err := done.Execute(r.Context(), plan(r, done, after).Ops); err != nil {
			r.Fatal(err)
		}
		willGuest, willHole := held(r, done, after, vrf.MetricGuest), held(r, done, after, vrf.MetricBlackhole, vrf.MetricBlackholeOver)
		var last vrf.Op
		check := func(op vrf.Op) error {
			guest, hole := held(r, k, after, vrf.MetricGuest), held(r, k, after, vrf.MetricBlackhole, vrf.MetricBlackholeOver)
			for p := range guests {
				if willHole[p] && !guest[p] && !hole[p] {
					r.Fatalf("after %v nothing stands at %v on its way from a tap", last, p)
				}
			}
			for p := range holes {
				if willGuest[p] && !guest[p] && !hole[p] {
					r.Fatalf("after %v nothing stands at %v on its way to a tap", last, p)
				}
			}
			last = op
			return nil
		}
		k.Fault = check
		if err := k.Execute(r.Context(), plan(r, k, after).Ops); err != nil {
			r.Fatal(err)
		}
		_ = check(nil)
	})
}

// TestOneTapsTrouble: what fails for one tap takes its share from it, and the
// route from no other.
func TestOneTapsTrouble(t *testing.T) {
	h := oneTap()
	h.Taps = append(h.Taps, h.Taps[0], h.Taps[0])
	for i, name := range []string{"tap0", "tap1", "tap2"} {
		h.Taps[i].Name, h.Taps[i].MAC = name, [6]byte{2, 5: byte(i)}
		h.Taps[i].Routes = []vrf.Route{{Prefix: netip.MustParsePrefix("203.0.113.7/32")}, {Prefix: netip.MustParsePrefix("2001:db8::7/128")}}
	}
	tests := map[string]struct {
		fails []string
		want  []string
	}{
		"one": {[]string{"tap1"}, []string{
			"2001:db8::7/128 table 90 nexthop via fe80::ff:fe00:0 dev tap0 nexthop via fe80::ff:fe00:2 dev tap2",
			"203.0.113.7/32 table 90 nexthop dev tap0 nexthop dev tap2",
		}},
		"two": {[]string{"tap0", "tap1"}, []string{"2001:db8::7/128 via fe80::ff:fe00:2 dev tap2 table 90", "203.0.113.7/32 dev tap2 table 90"}},
		"all": {[]string{"tap0", "tap1", "tap2"}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			k := fake.New()
			for _, tap := range h.Taps {
				k.AddLink(tap.Name)
			}
			k.Fault = func(op vrf.Op) error {
				if o, ok := op.(vrf.SetMaster); ok && slices.Contains(test.fails, o.Link) {
					return errFault
				}
				return nil
			}
			a, _ := k.Read(t.Context(), h)
			if err := k.Execute(t.Context(), vrf.Plan(h, a, vrf.Options{}).Ops); err == nil {
				t.Error("nothing failed")
			}
			a, _ = k.Read(t.Context(), h)
			var got []string
			for _, r := range a.Routes {
				if r.Metric == vrf.MetricGuest {
					got = append(got, r.String())
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, test.want) {
				t.Errorf("routes are %q, want %q", got, test.want)
			}
			k.Fault = nil
			execute(t, k, h)
			if r := execute(t, k, h); len(r.Ops) > 0 {
				t.Errorf("a third plan has %v", r.Ops)
			}
		})
	}
}

// TestSharing finds the taps that a plan for some links must look at.
func TestSharing(t *testing.T) {
	tap := func(name, in string, routes ...string) vrf.Tap {
		t := vrf.Tap{Name: name, VRF: in}
		for _, p := range routes {
			t.Routes = append(t.Routes, vrf.Route{Prefix: netip.MustParsePrefix(p)})
		}
		return t
	}
	h := vrf.Host{
		VRFs: []vrf.VRF{{Name: "public", Table: 90}, {Name: "private", Table: 20}},
		Taps: []vrf.Tap{
			tap("a", "public", "192.0.2.1/32"), tap("b", "public", "192.0.2.1/32", "192.0.2.2/32"), tap("c", "public", "192.0.2.2/32"),
			tap("d", "private", "192.0.2.1/32"), tap("e", "public", "192.0.2.5/32"), tap("f", "public"),
		},
	}
	was := vrf.InstalledRoute{Table: 90, Prefix: netip.MustParsePrefix("192.0.2.5/32"), Metric: vrf.MetricGuest}
	was.SetHops([]vrf.RouteHop{{Link: "f"}, {Link: "gone"}})
	for _, test := range []struct{ links, want []string }{
		{[]string{}, nil},
		{[]string{"d"}, []string{"d"}},
		{[]string{"u0", "a"}, []string{"a", "b", "c", "u0"}},
		{[]string{"f"}, []string{"e", "f", "gone"}}, // had it together with one, and another has it now
		{[]string{"e"}, []string{"e", "f", "gone"}},
	} {
		if got := vrf.Sharing(h, []vrf.InstalledRoute{was}, test.links); got == nil || !slices.Equal(got, test.want) {
			t.Errorf("%q share with %q, want %q", test.links, got, test.want)
		}
	}
}
