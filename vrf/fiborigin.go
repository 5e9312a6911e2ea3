package vrf

import (
	"encoding/binary"
	"slices"
)

// The members of a prefix's own group belong to origins: hypervisors that hold
// the address, each reached over some planes. Each origin has the same weight
// altogether, however many planes lead to it. So an origin that loses a plane
// keeps its flows, which go over its other planes, and its share.
//
// A next hop doesn't say whose it is. Those of different uplinks whose
// addresses end alike are taken for one hypervisor's, as most people number
// their planes; where they don't, each member counts as an origin, which costs
// that property and nothing else.

// originWeight can be divided by every number of planes up to 6.
const originWeight = 60

// weigh gives each member its part of the weight of its origin.
func (t *hopTable) weigh(members []uint32) []uint8 {
	return weights(t.origins(members))
}

// weights of members by their origins.
func weights(origins []int) []uint8 {
	count := map[int]int{}
	for _, o := range origins {
		count[o]++
	}
	list := make([]uint8, len(origins))
	for i, o := range origins {
		list[i] = uint8(max(1, originWeight/count[o]))
	}
	return list
}

// origins numbers the origins of the members from 0. It looks at as few bits of
// the ends of the gateways as must differ on each uplink, beginning with many,
// and takes what finds the fewest origins.
func (t *hopTable) origins(members []uint32) []int {
	best, fewest := make([]int, len(members)), len(members)
	for i := range best {
		best[i] = i
	}
	try := make([]int, len(members))
	for _, n := range []int{64, 32, 16, 12, 8} {
		if k := t.originsBy(members, uint64(1)<<n-1, try); k > 0 && k < fewest {
			best, try, fewest = try, best, k
		}
	}
	return best
}

// originsBy counts the origins if the masked ends of the gateways tell them; 0:
// they don't, since two on one uplink have the same.
func (t *hopTable) originsBy(members []uint32, mask uint64, origins []int) int {
	k := 0
	for i, m := range members {
		origins[i] = k
		for j, other := range members[:i] {
			if t.end(m)&mask != t.end(other)&mask || t.members[m].hop.Gateway.Is4() != t.members[other].hop.Gateway.Is4() {
				continue
			}
			if t.members[m].hop.Uplink == t.members[other].hop.Uplink {
				return 0
			}
			origins[i] = origins[j]
		}
		if origins[i] == k {
			k++
		}
	}
	return k
}

// end is the last bits of a member's gateway; of IPv4 there are 32.
func (t *hopTable) end(m uint32) uint64 {
	a := t.members[m].hop.Gateway.As16()
	return binary.BigEndian.Uint64(a[8:])
}

// step is a state of a group on the way to another one.
type step struct {
	members []uint32
	weights []uint8
}

// steps leads a group from some members to others. Origin by origin, members
// leave whose origin has others that stay, and then those join: so there is
// only one origin that lacks buckets or has too many, and what becomes free
// stays with it. What is busy then moves later, if ever, and to anyone.
func (t *hopTable) steps(from, to []uint32) (list []step) {
	all := slices.Concat(from, to)
	slices.Sort(all)
	all = slices.Compact(all)
	number := t.origins(all)
	origin := func(m uint32) int { i, _ := slices.BinarySearch(all, m); return number[i] }
	now := from
	walk := func(toward []uint32) {
		for o := range number {
			of := func(m uint32) bool { return origin(m) == o }
			next := slices.Concat(slices.DeleteFunc(slices.Clone(now), of), slices.DeleteFunc(slices.Clone(toward), func(m uint32) bool { return !of(m) }))
			slices.Sort(next)
			if slices.ContainsFunc(now, of) && slices.ContainsFunc(next, of) && !slices.Equal(next, now) {
				now = next
				list = append(list, step{now, weights(mapped(now, origin))})
			}
		}
	}
	walk(intersection(from, to))
	walk(to)
	if !slices.Equal(now, to) || len(list) == 0 {
		list = append(list, step{members: to})
	}
	list[len(list)-1].weights = t.weigh(to)
	return list
}

func mapped[A, B any](in []A, f func(A) B) []B {
	out := make([]B, 0, len(in))
	for _, x := range in {
		out = append(out, f(x))
	}
	return out
}
