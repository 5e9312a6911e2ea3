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
		actual.Routes = stale.Routes
		if err := k.Execute(r.Context(), vrf.Plan(h, actual, vrf.Options{Sweep: true, Links: changed}).Ops); err != nil {
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
