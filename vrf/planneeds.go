package vrf

import "iter"

// Concerning picks, of the routes that are installed, those that a plan restricted to
// these links looks at: what is on them, what their taps are to have wherever it is
// now, what is over several links or to none, and what stands in a blackhole's place.
// On a host of a thousand guests these are few. The links are given back with those of
// Sharing. The routes are gone through twice.
func Concerning(desired Host, installed iter.Seq[InstalledRoute], links []string) ([]InstalledRoute, []string) {
	var several []InstalledRoute
	for r := range installed {
		if len(r.Hops) > 0 {
			several = append(several, r)
		}
	}
	links = Sharing(desired, several, links)
	about := make(map[string]bool, len(links))
	for _, name := range links {
		about[name] = true
	}
	wanted := wantedKeys(desired, about)
	var list []InstalledRoute
	for r := range installed {
		if r.Metric != MetricGuest || len(r.Hops) > 0 || about[r.Link] || wanted[r.key()] {
			list = append(list, r)
		}
	}
	return list, links
}

// wantedKeys are those of the guests' routes that these links are to have, or that are
// to be dropped.
func wantedKeys(desired Host, about map[string]bool) map[routeKey]bool {
	keys := map[routeKey]bool{}
	tables := tablesOf(desired)
	for _, t := range desired.Taps {
		if !about[t.Name] {
			continue
		}
		for _, r := range t.Routes {
			keys[routeKey{tables[t.VRF], r.Prefix, MetricGuest}] = true
		}
	}
	for _, b := range desired.Blackholes {
		keys[routeKey{tables[b.VRF], b.Prefix, MetricGuest}] = true
	}
	return keys
}

func tablesOf(h Host) map[string]uint32 {
	tables := make(map[string]uint32, len(h.VRFs))
	for _, v := range h.VRFs {
		tables[v.Name] = v.Table
	}
	return tables
}
