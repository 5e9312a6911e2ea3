package vrf

import "net/netip"

// parts is how many parts a walk through the shadow has. A route stays in its
// part whatever else comes and goes, so a walk part by part meets each route that
// is there from its beginning to its end exactly once.
const parts = 2 * shards

// part does for one part what all does for all. A part has some thousand routes
// of two million.
func (s *shadow) part(i int, f func(netip.Prefix, *uint32)) {
	if i < shards {
		t := &s.v4[i]
		for j, k := range t.keys {
			if k[0] != 0 {
				f(k.prefix(), &t.values[j])
			}
		}
		return
	}
	t := &s.v6[i-shards]
	for j, k := range t.keys {
		if k[0] != 0 {
			f(k.prefix(), &t.values[j])
		}
	}
}
