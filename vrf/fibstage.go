package vrf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// staged is the batch being built.
type staged struct {
	changes []stagedRoute
	newSets []uint32 // and those whose members changed
	round   uint64   // counts the calls of Apply
}

type stagedRoute struct {
	prefix netip.Prefix
	set    uint32 // 0: withdrawn
	verb   Verb
}

func (s *staged) full() bool { return len(s.changes) >= batchRoutes || len(s.newSets) >= batchRoutes }

// sliceSet is what the next hops of changes come to. Changes share their slices,
// which nobody writes again, so it is remembered by the slice from one Apply to the
// next: to look at the next hops of each of millions of routes costs more than all
// else that is done with one here.
type sliceSet struct {
	length  int
	members []uint32
	set     uint32 // shared by all routes with these; 0: not asked for yet
	age     uint32 // of the set's place, while it is the set
	round   uint64 // in which it was looked for last
	ipv4    bool   // some gateway is IPv4
	several bool   // origins: there are several gateways on one uplink
}

// begin forgets what the last Apply knew of slices and is not good any more: members
// stay only where a set has them.
func (v *fibVRF) begin() {
	v.round++
	if most := 1024 + 2*len(v.hops.sets); len(v.bySlice) > most {
		clear(v.bySlice)
	}
}

// good tells whether what is remembered of a slice holds.
func (v *fibVRF) good(s *sliceSet, length int) bool {
	return s != nil && s.length == length &&
		(s.round == v.round || s.set != 0 && v.hops.sets[s.set].age == s.age)
}

// stage puts a change into the shadow and the batch.
func (f *FIB) stage(ctx context.Context, v *fibVRF, c Change) (err error) {
	if !c.Prefix.IsValid() || c.Prefix != c.Prefix.Masked() || c.Prefix.Addr().Is4In6() {
		return errors.New("not a prefix: write it without host bits")
	}
	value, had := v.routes.get(c.Prefix)
	if had && value&pending != 0 {
		err = f.flush(ctx, v) // its first write may fail, and then this one is another
		value, had = v.routes.get(c.Prefix)
	}
	_, isDirty := v.dirty[c.Prefix]
	old := value & setMask
	set, refused := f.setOf(v, c, old)
	switch {
	case refused != nil:
		return errors.Join(err, refused)
	case set == 0 && !had && !isDirty:
		return err
	case had && old == set && set != 0 && !isDirty && !v.hops.lostOwn(set):
		v.routes.set(c.Prefix, set|value&seen) // confirmed
		return err
	}
	verb, mark := Replace, uint32(0)
	if isDirty || !had || value&lost != 0 || old != 0 && v.hops.sets[old].absent() {
		verb, mark = Add, pending
	}
	if set == 0 {
		v.routes.delete(c.Prefix)
		verb = Delete
	} else {
		v.routes.set(c.Prefix, set|mark)
		v.hops.ref(set)
		if v.hops.lostOwn(set) { // the route goes with this batch
			v.hops.sets[set].tried, v.hops.sets[set].stale = false, false
		}
	}
	v.hops.unref(old)
	v.changes = append(v.changes, stagedRoute{c.Prefix, set, verb})
	return err
}

// setOf finds the set of a change's next hops and refuses what the kernel
// would do wrong in silence. had is the set that the route has so far.
func (f *FIB) setOf(v *fibVRF, c Change, had uint32) (uint32, error) {
	if len(c.NextHops) == 0 {
		return 0, nil
	}
	first := &c.NextHops[0]
	known := v.bySlice[first]
	if !v.good(known, len(c.NextHops)) {
		var err error
		if known, err = f.membersOf(v, c.NextHops); err != nil {
			return 0, err
		}
		v.bySlice[first] = known
	}
	if c.Prefix.Addr().Is6() && known.ipv4 {
		return 0, ErrFamily
	}
	if f.resilient && known.several {
		if set, ok := v.ownSet(c.Prefix, had, known.members); ok {
			return set, nil
		}
	}
	if known.set == 0 || known.round != v.round {
		if err := v.share(known); err != nil {
			return 0, err
		}
	}
	return known.set, nil
}

// share finds the set that routes with these next hops share, once in an Apply.
func (v *fibVRF) share(known *sliceSet) error {
	if known.set == 0 {
		set, err := v.hops.set(known.members)
		if err != nil {
			return err
		}
		known.set, known.age = set, v.hops.sets[set].age
	}
	if known.round = v.round; !v.hops.sets[known.set].tried {
		v.newSets = append(v.newSets, known.set)
	}
	return nil
}

// membersOf finds the members for next hops, and what kind of set they are.
func (f *FIB) membersOf(v *fibVRF, hops []NextHop) (*sliceSet, error) {
	seen := &sliceSet{length: len(hops), round: v.round}
	for i, h := range hops {
		u := f.uplinks[h.Uplink]
		if u == nil || u.VRF != v.Name {
			return nil, fmt.Errorf("%s on %s: %w", h.Gateway, h.Uplink, ErrMixedVRF)
		}
		if !h.Gateway.IsValid() || h.Gateway.Is4In6() || h.Gateway.Zone() != "" || h.Gateway.IsUnspecified() {
			return nil, fmt.Errorf("gateway %s on %s: not an address of a router", h.Gateway, h.Uplink)
		}
		seen.ipv4 = seen.ipv4 || h.Gateway.Is4()
		seen.several = seen.several || slices.ContainsFunc(hops[:i], func(o NextHop) bool { return o.Uplink == h.Uplink && o != h })
	}
	var err error
	seen.members, err = v.hops.intern(hops)
	return seen, err
}
