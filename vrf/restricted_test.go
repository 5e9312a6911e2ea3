package vrf_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/fake"
)

// TestRestrictedPlan: when only some links changed, a plan for them does all
// that an unrestricted one would, also for routes that somebody deleted, and touches
// no other link.
func TestRestrictedPlan(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		k := fake.New()
		links := []string{"u0", "u1", "tap0", "tap1", "tap2"}
		for _, name := range links {
			k.AddLink(name)
		}
		before, after := drawHost(r), drawHost(r)
		if err := k.Execute(r.Context(), plan(r, k, before).Ops); err != nil {
			r.Fatal(err)
		}
		stale, err := k.Read(r.Context(), after)
		if err != nil {
			r.Fatal(err)
		}
		for _, name := range links {
			if rapid.IntRange(0, 3).Draw(r, "bounce "+name) == 0 {
				k.SetUp(name, false)
				k.SetUp(name, true)
			}
		}
		actual, err := k.Read(r.Context(), after)
		if err != nil {
			r.Fatal(err)
		}
		actual.Routes = slices.DeleteFunc(stale.Routes, func(route vrf.InstalledRoute) bool { // as from memory, of which damage was told
			damaged := rapid.IntRange(0, 3).Draw(r, "damage") == 0
			if damaged {
				k.DeleteForeignRoute(route.Table, route.Prefix, route.Metric)
			}
			return damaged
		})
		ops := vrf.Plan(after, actual, vrf.Options{Sweep: true, Links: links}).Ops
		if err := k.Execute(r.Context(), ops); err != nil {
			r.Fatal(err)
		}
		if again := plan(r, k, after); len(again.Ops) > 0 {
			r.Fatalf("an unrestricted plan has %v", again.Ops)
		}
		one := rapid.SampledFrom(links).Draw(r, "one")
		k.SetUp(one, false)
		actual, _ = k.Read(r.Context(), after)
		with := vrf.Sharing(after, actual.Routes, []string{one})
		for _, op := range vrf.Plan(after, actual, vrf.Options{Sweep: true, Links: []string{one}}).Ops {
			if !slices.ContainsFunc(with, func(link string) bool { return strings.Contains(op.String(), link) }) {
				r.Fatalf("a plan for %s has %s", with, op)
			}
		}
	})
}

// TestRestrictedToTheChanged: a plan for the taps that changed leaves nothing for
// an unrestricted one, whatever routes others share with them; and blackholes
// need no link at all.
func TestRestrictedToTheChanged(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		k := fake.New()
		names := []string{"tap0", "tap1", "tap2"}
		for _, name := range append([]string{"u0", "u1"}, names...) {
			k.AddLink(name)
		}
		h := drawHost(r)
		if err := k.Execute(r.Context(), plan(r, k, h).Ops); err != nil {
			r.Fatal(err)
		}
		stale, err := k.Read(r.Context(), h)
		if err != nil {
			r.Fatal(err)
		}
		h.Blackholes = drawBlackholes(r)
		changed := []string{}
		for _, name := range names {
			if rapid.Bool().Draw(r, "change "+name) {
				changed = append(changed, name)
				change(r, k, &h, name)
			}
		}
		actual, err := k.Read(r.Context(), h)
		if err != nil {
			r.Fatal(err)
		}
		o := vrf.Options{Sweep: rapid.Bool().Draw(r, "sweep first"), Links: changed}
		byKey := func(a, b vrf.InstalledRoute) int { return a.Key().Compare(b.Key()) }
		actual.Routes = slices.SortedFunc(slices.Values(stale.Routes), byKey)
		all := vrf.Plan(h, actual, o)
		var part vrf.Host
		part, actual.Routes, _ = vrf.NewInstalledRoutes(stale.Routes...).Concerning(h, changed)
		slices.SortFunc(actual.Routes, byKey)
		if few := vrf.Plan(part, actual, o); !reflect.DeepEqual(few, all) {
			r.Fatalf("with the routes that concern %s the plan is %v, with all it is %v", changed, few, all)
		}
		o.Sweep = true
		if err := k.Execute(r.Context(), vrf.Plan(part, actual, o).Ops); err != nil {
			r.Fatal(err)
		}
		if again := plan(r, k, h); len(again.Ops) > 0 {
			r.Fatalf("after a plan for %s an unrestricted one has %v", changed, again.Ops)
		}
	})
}

// change does something to a tap, in the kernel or in what is desired.
func change(r *rapid.T, k *fake.Kernel, h *vrf.Host, name string) {
	switch rapid.IntRange(0, 2).Draw(r, "what") {
	case 0:
		k.SetUp(name, false)
	case 1:
		k.DeleteLink(name)
		if rapid.Bool().Draw(r, "and makes it anew") {
			k.AddLink(name)
		}
	}
	i := slices.IndexFunc(h.Taps, func(t vrf.Tap) bool { return t.Name == name })
	switch {
	case rapid.Bool().Draw(r, "stays desired"):
	case i < 0:
		h.Taps = append(h.Taps, drawTap(r, name))
	case rapid.Bool().Draw(r, "is released"):
		h.Taps = slices.Delete(slices.Clone(h.Taps), i, i+1)
	default:
		h.Taps = slices.Clone(h.Taps)
		h.Taps[i] = drawTap(r, name)
	}
}

// TestAPlanForOneTapDependsOnThatAlone: neither the routes that it looks at nor what it
// allocates grow with the guests of the host.
func TestAPlanForOneTapDependsOnThatAlone(t *testing.T) {
	const tap = "tap5"
	cost := func(guests int) (routes int, allocations float64) {
		h := vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 90, NoDevice: true}}}
		installed := []vrf.InstalledRoute{}
		for i := range guests {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 32)
			name := fmt.Sprintf("tap%d", i)
			h.Taps = append(h.Taps, vrf.Tap{Name: name, VRF: "public", Routes: []vrf.Route{{Prefix: p}}})
			installed = append(installed, vrf.InstalledRoute{Table: 90, Prefix: p, Metric: vrf.MetricGuest, Link: name})
		}
		h.Taps[5].Routes = append(h.Taps[5].Routes, vrf.Route{Prefix: netip.MustParsePrefix("198.51.100.7/32")})
		actual := vrf.Actual{Links: []vrf.Link{{Name: tap, Index: 7, Up: true, Running: true, Group: vrf.TapGroup, MAC: vrf.TapMAC}}}
		actual.Filter.Whole = true
		memory, part := vrf.NewInstalledRoutes(installed...), vrf.Host{}
		allocations = testing.AllocsPerRun(20, func() {
			part, actual.Routes, _ = memory.Concerning(h, []string{tap})
			if ops := vrf.Plan(part, actual, vrf.Options{Sweep: true, Links: []string{tap}}).Ops; len(ops) == 0 {
				t.Fatal("nothing is planned")
			}
		})
		return len(part.Taps) + len(actual.Routes), allocations
	}
	fewRoutes, few := cost(10)
	manyRoutes, many := cost(2000)
	if fewRoutes != manyRoutes || many > few {
		t.Errorf("of 10 guests it takes %d taps and routes and %v allocations, of 2,000 %d and %v", fewRoutes, few, manyRoutes, many)
	}
}
