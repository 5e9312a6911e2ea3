package vrf

import (
	"iter"
	"maps"
)

// InstalledRoutes are the routes of a kernel that are ours and not learned, found by what
// they are and by where they lead. A plan for few links of a host with many looks at few of
// them.
type InstalledRoutes struct {
	all map[RouteKey]InstalledRoute
	// on has the guests' routes to one link, by that link.
	on map[string]map[RouteKey]bool
	// apart are all others: those over several links, those without link, and those that are
	// no guest's. They are few: blackholes are, and go after seconds.
	apart map[RouteKey]bool
}

// NewInstalledRoutes gives them with these routes.
func NewInstalledRoutes(routes ...InstalledRoute) *InstalledRoutes {
	s := &InstalledRoutes{all: make(map[RouteKey]InstalledRoute, len(routes)), on: map[string]map[RouteKey]bool{}, apart: map[RouteKey]bool{}}
	for _, r := range routes {
		s.Put(r)
	}
	return s
}

// Get gives the route with this key.
func (s *InstalledRoutes) Get(key RouteKey) (r InstalledRoute, ok bool) {
	r, ok = s.all[key]
	return r, ok
}

// All goes through the routes, in no order. Those met may be deleted.
func (s *InstalledRoutes) All() iter.Seq2[RouteKey, InstalledRoute] { return maps.All(s.all) }

// Put adds a route, in place of another one with its key.
func (s *InstalledRoutes) Put(r InstalledRoute) {
	key := r.Key()
	s.Delete(key)
	s.all[key] = r
	if !r.isGuests() {
		s.apart[key] = true
		return
	}
	if s.on[r.Link] == nil {
		s.on[r.Link] = map[RouteKey]bool{}
	}
	s.on[r.Link][key] = true
}

// Delete takes the route with this key out, if there is one.
func (s *InstalledRoutes) Delete(key RouteKey) {
	r, ok := s.all[key]
	if !ok {
		return
	}
	delete(s.all, key)
	if !r.isGuests() {
		delete(s.apart, key)
		return
	}
	if delete(s.on[r.Link], key); len(s.on[r.Link]) == 0 {
		delete(s.on, r.Link)
	}
}

// isGuests tells a guest's route to one link from all others.
func (r *InstalledRoute) isGuests() bool {
	return r.Metric == MetricGuest && r.Link != "" && len(r.Hops) == 0
}

// Concerning gives what a plan restricted to these links looks at, which on a host of a
// thousand guests is little: the part of the host, and, in no order, the routes on these links,
// those that their taps are to have wherever they lead now, and those apart. The links are
// given back with those of Sharing.
func (s *InstalledRoutes) Concerning(desired Host, links []string) (part Host, routes []InstalledRoute, with []string) {
	routes = make([]InstalledRoute, 0, len(s.apart)+4*len(links)) // not nil
	for key := range s.apart {
		routes = append(routes, s.all[key])
	}
	with = Sharing(desired, routes, links)
	about := namesOf(with)
	for _, link := range with {
		for key := range s.on[link] {
			routes = append(routes, s.all[key])
		}
	}
	wanted := wantedKeys(desired, about)
	holders := map[string]bool{}
	for key := range wanted {
		if r, ok := s.all[key]; ok && r.isGuests() && !about[r.Link] {
			routes = append(routes, r)
			holders[r.Link] = true
		}
	}
	part = desired
	part.Taps = nil
	for i := range desired.Taps {
		if t := &desired.Taps[i]; about[t.Name] || holders[t.Name] {
			part.Taps = append(part.Taps, *t)
		}
	}
	return part, routes, with
}

// wantedKeys are those of the guests' routes that these links are to have, or that are
// to be dropped.
func wantedKeys(desired Host, about map[string]bool) map[RouteKey]bool {
	keys := map[RouteKey]bool{}
	tables := tablesOf(desired)
	for i := range desired.Taps {
		t := &desired.Taps[i]
		if !about[t.Name] {
			continue
		}
		for _, r := range t.Routes {
			keys[RouteKey{tables[t.VRF], r.Prefix, MetricGuest}] = true
		}
	}
	for _, b := range desired.Blackholes {
		keys[RouteKey{tables[b.VRF], b.Prefix, MetricGuest}] = true
	}
	return keys
}

func namesOf(links []string) map[string]bool {
	names := make(map[string]bool, len(links))
	for _, name := range links {
		names[name] = true
	}
	return names
}

func tablesOf(h Host) map[string]uint32 {
	tables := make(map[string]uint32, len(h.VRFs))
	for _, v := range h.VRFs {
		tables[v.Name] = v.Table
	}
	return tables
}
