package vrf

import "net/netip"

// parts is how many parts a walk through the shadow has. A route stays in its
// part whatever else comes and goes, so a walk part by part meets each route that
// is there from its beginning to its end exactly once.
const parts = 2 * shards

// all calls f for every route, in no useful order, until f says false. f may
// change the value through the pointer but must not add or delete.
func (s *shadow) all(f func(netip.Prefix, *uint32) bool) {
	for i := range parts {
		if !s.while(i, f) {
			return
		}
	}
}

// part does for one part what all does for all. A part has some thousand routes
// of two million.
func (s *shadow) part(i int, f func(netip.Prefix, *uint32)) {
	s.while(i, func(p netip.Prefix, value *uint32) bool {
		f(p, value)
		return true
	})
}

func (s *shadow) while(part int, f func(netip.Prefix, *uint32) bool) bool {
	if part < shards {
		return s.v4[part].while(f)
	}
	return s.v6[part-shards].while(f)
}

func (s *shard[K]) while(f func(netip.Prefix, *uint32) bool) bool {
	for i := range s.slots {
		if e := &s.slots[i]; e.word != 0 && !f(e.key.prefix(e.length()), &e.word) {
			return false
		}
	}
	return true
}
