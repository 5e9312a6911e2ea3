package agent

import (
	"slices"
	"sync"

	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/kernel"
)

// scope collects what the next round of the apply loop must look at: all, or
// the links that changed. Reading the whole kernel takes time that grows with
// the hypervisor; a guest that comes or goes must not wait for it.
type scope struct {
	mu    sync.Mutex
	full  bool
	links map[string]bool
	// routes may be gone, or somebody else's.
	routes []kernel.Route
}

// all makes the next round look at everything.
func (s *scope) all() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = true
}

// notice adds what changed in the kernel.
func (s *scope) notice(n kernel.Notice, vrfs []vrf.VRF) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = s.full || n.Resync || n.Rules || n.Filter || n.Settings || n.AllRoutes
	s.routes = append(s.routes, n.Routes...)
	for _, name := range slices.Concat(n.Links, n.Neighbours) {
		// A VRF device concerns all that is in it.
		s.full = s.full || slices.ContainsFunc(vrfs, func(v vrf.VRF) bool { return v.Name == name })
		s.links[name] = true
	}
}

// take hands over what was collected and starts anew.
func (s *scope) take() (full bool, links map[string]bool, routes []kernel.Route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	full, links, routes = s.full, s.links, s.routes
	s.full, s.links, s.routes = false, map[string]bool{}, nil
	return full, links, routes
}

// addDamaged adds the taps that these routes must lead to.
func addDamaged(links map[string]bool, damaged []kernel.Route, desired vrf.Host) {
	if len(damaged) == 0 {
		return
	}
	is := make(map[kernel.Route]bool, len(damaged))
	for _, r := range damaged {
		is[r] = true
	}
	tables := map[string]uint32{}
	for _, v := range desired.VRFs {
		tables[v.Name] = v.Table
	}
	for _, t := range desired.Taps {
		for _, r := range t.Routes {
			if is[kernel.Route{Table: tables[t.VRF], Prefix: r.Prefix, Metric: vrf.MetricGuest}] {
				links[t.Name] = true
			}
		}
	}
}

// addChanged adds the taps that two desired states don't have in common. What both
// begin and end with, which is nearly all of it, is left aside first.
func addChanged(links map[string]bool, before, after []vrf.Tap) {
	for len(before) > 0 && len(after) > 0 && sameTap(&before[0], &after[0]) {
		before, after = before[1:], after[1:]
	}
	for len(before) > 0 && len(after) > 0 && sameTap(&before[len(before)-1], &after[len(after)-1]) {
		before, after = before[:len(before)-1], after[:len(after)-1]
	}
	old := make(map[string]vrf.Tap, len(before))
	for _, t := range before {
		old[t.Name] = t
	}
	for _, t := range after {
		if was, ok := old[t.Name]; !ok || !sameTap(&was, &t) {
			links[t.Name] = true
		}
		delete(old, t.Name)
	}
	for name := range old {
		links[name] = true
	}
}

func sameTap(a, b *vrf.Tap) bool {
	return a.Name == b.Name && a.VRF == b.VRF && a.MAC == b.MAC && equal(a.Gateways, b.Gateways) &&
		equal(a.Routes, b.Routes) && equal(a.Neighbours, b.Neighbours) && equal(a.Sources, b.Sources)
}

// equal is slices.Equal for lists that are the very same ones as a rule.
func equal[E comparable](a, b []E) bool { return same(a, b) || slices.Equal(a, b) }
