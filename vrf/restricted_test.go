package vrf_test

import (
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
		for _, op := range vrf.Plan(after, actual, vrf.Options{Sweep: true, Links: []string{one}}).Ops {
			if !strings.Contains(op.String(), one) {
				r.Fatalf("a plan for %s has %s", one, op)
			}
		}
	})
}
