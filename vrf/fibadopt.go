package vrf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Adopt reads from the kernel what an earlier run left there: next hops of our
// protocol and id range, and learned routes. They count as unconfirmed until
// they are learned again, which then writes nothing, or until Sweep. It
// returns the number of adopted routes and must come before any Apply.
func (f *FIB) Adopt(ctx context.Context) (int, error) {
	state, err := f.readState(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, name := range sortedKeys(f.vrfs) {
		v := f.vrfs[name]
		if v.routes.n4+v.routes.n6 > 0 || len(v.hops.members) > 1 {
			return n, errors.New("adopting routes: some are known already")
		}
		f.adoptNextHops(v, state.NextHops)
		if err := f.adoptRoutes(ctx, v); err != nil {
			return n, fmt.Errorf("reading routes of %s: %w", name, err)
		}
		n += v.routes.n4 + v.routes.n6
	}
	return n, nil
}

// adoptNextHops takes over the members and groups that are understood. What is
// not, as a member on a link that left the VRF, or one that was pointed at a
// substitute, keeps its id taken until Sweep removes it.
func (f *FIB) adoptNextHops(v *fibVRF, objects []NextHopObject) {
	t := v.hops
	taken := map[uint32]bool{}
	byPort := f.uplinksByPort(v.Name)
	var groups []NextHopObject
	floors := map[uint32]NextHopObject{}
	for _, o := range objects {
		if IsFloor(o.ID) && o.Protocol == Protocol {
			floors[o.ID] = o
		}
	}
	t.observeFloors(floors)
	for _, o := range objects {
		slot, group, i := splitID(o.ID)
		if slot != t.slot || i == 0 || IsFloor(o.ID) {
			continue
		}
		taken[o.ID] = true
		uplink, known := byPort[o.Hop.Port]
		hop := NextHop{o.Hop.Gateway, uplink}
		_, double := t.byHop[hop]
		switch {
		case o.Protocol != Protocol:
		case group:
			groups = append(groups, o)
		case known && !double:
			grow(&t.members, i)
			t.members[i] = member{hop: hop, at: o.Hop}
			t.byHop[hop] = i
		}
	}
	for _, o := range groups {
		t.adoptGroup(o)
	}
	t.freeM = freeIndexes(len(t.members), func(i uint32) bool { return taken[memberID(t.slot, i)] })
	t.freeS = freeIndexes(len(t.sets), func(i uint32) bool { return taken[groupID(t.slot, i)] })
	t.skipTaken(taken)
}

// adoptGroup takes over a group. A prefix's own is taken over also where some of
// its members are not understood: it is replaced in place when the prefix is
// learned, and the flows of the others stay.
func (t *hopTable) adoptGroup(o NextHopObject) {
	group, weights := t.groupOf(o)
	if o.Resilience.Buckets > 0 {
		t.adoptOwn(o, group, weights)
		return
	}
	if slices.ContainsFunc(group, func(m uint32) bool { return t.members[m].at == (Hop{}) }) {
		return
	}
	if _, double := t.byKey[string(t.keyOf(group))]; double || len(group) == 0 {
		return
	}
	_, _, i := splitID(o.ID)
	grow(&t.sets, i)
	t.put(i, group)
	t.sets[i].group, t.sets[i].tried, t.sets[i].floored = group, true, t.standsOnFloor(o)
}

// skipTaken lengthens the lists over ids that are in the kernel but were not
// adopted, so that they are not handed out.
func (t *hopTable) skipTaken(taken map[uint32]bool) {
	for id := range taken {
		_, group, i := splitID(id)
		if group && int(i) >= len(t.sets) {
			t.freeS = append(t.freeS, between(len(t.sets), i, func(i uint32) bool { return taken[groupID(t.slot, i)] })...)
			grow(&t.sets, i)
		} else if !group && int(i) >= len(t.members) {
			t.freeM = append(t.freeM, between(len(t.members), i, func(i uint32) bool { return taken[memberID(t.slot, i)] })...)
			grow(&t.members, i)
		}
	}
}

func between(from int, to uint32, taken func(uint32) bool) (free []uint32) {
	for i := uint32(from); i < to; i++ {
		if !taken(i) {
			free = append(free, i)
		}
	}
	return free
}

func freeIndexes(n int, taken func(uint32) bool) []uint32 { return between(1, uint32(n), taken) }

func grow[T any](list *[]T, i uint32) {
	if missing := int(i) + 1 - len(*list); missing > 0 {
		*list = append(*list, make([]T, missing)...)
	}
}

func (f *FIB) uplinksByPort(vrf string) map[int]string {
	out := map[int]string{}
	for name, u := range f.uplinks {
		if u.VRF == vrf && u.index != 0 {
			out[u.index] = name
		}
	}
	return out
}

func (f *FIB) adoptRoutes(ctx context.Context, v *fibVRF) error {
	byPort := f.uplinksByPort(v.Name)
	return f.plane.LearnedRoutes(ctx, v.Table, func(r LearnedRoute) {
		set := uint32(0)
		if f.objects {
			set = v.hops.setOfID(r.NextHopID)
		} else {
			set = f.setOfHops(v, r.Hops, byPort)
		}
		v.routes.set(r.Prefix, set|unconfirmed)
		v.hops.ref(set)
	})
}

// setOfID is the set of a group's id, or 0.
func (t *hopTable) setOfID(id uint32) uint32 {
	if !OwnNextHop(id) {
		return 0
	}
	slot, group, i := splitID(id)
	if slot != t.slot || !group || int(i) >= len(t.sets) || t.sets[i].members == nil {
		return 0
	}
	return i
}

// setOfHops is the set of next hops that a route carries, or 0.
func (f *FIB) setOfHops(v *fibVRF, hops []Hop, byPort map[int]string) uint32 {
	var list []NextHop
	for _, h := range hops {
		uplink, ok := byPort[h.Port]
		if !ok || !h.Gateway.IsValid() {
			return 0
		}
		list = append(list, NextHop{h.Gateway, uplink})
	}
	if len(list) == 0 {
		return 0
	}
	members, err := v.hops.intern(list)
	if err != nil {
		return 0
	}
	set, err := v.hops.set(members)
	if err != nil {
		return 0
	}
	s := &v.hops.sets[set]
	if !s.tried {
		f.settlePlain(v, s, f.living(v, s))
		s.tried = true
	}
	return set
}

// Sweep removes the adopted routes of a VRF that nobody confirmed, and the
// next hops of ours that nothing needs. It returns the number of routes.
func (f *FIB) Sweep(ctx context.Context, vrf string) (int, error) {
	return f.SweepInTurns(ctx, vrf, func(step func()) { step() })
}

// SweepInTurns does the same while others use the FIB, as VerifyInTurns.
func (f *FIB) SweepInTurns(ctx context.Context, vrf string, turn func(step func())) (n int, err error) {
	var v *fibVRF
	turn(func() { v, err = f.vrf(ctx, vrf) })
	if err != nil {
		return 0, err
	}
	var errs errorList
	for i := range parts {
		var list []netip.Prefix
		turn(func() { list = v.unconfirmed(i) })
		for chunk := range slices.Chunk(list, batchRoutes) {
			turn(func() { n += f.remove(ctx, v, chunk, &errs) })
			if ctx.Err() != nil {
				return n, ctx.Err()
			}
		}
	}
	turn(func() {
		v.hops.loosen()
		errs.add(f.collect(ctx, v))
		if f.objects {
			errs.add(f.sweepNextHops(ctx, v))
		}
	})
	return n, errs.join()
}

func (v *fibVRF) unconfirmed(part int) (list []netip.Prefix) {
	v.routes.part(part, func(p netip.Prefix, value *uint32) {
		if *value&unconfirmed != 0 {
			list = append(list, p)
		}
	})
	return list
}

// remove removes those of these routes that are still unconfirmed, and counts them.
func (f *FIB) remove(ctx context.Context, v *fibVRF, prefixes []netip.Prefix, errs *errorList) int {
	v.batch = v.batch[:0]
	for _, p := range prefixes {
		value, _ := v.routes.get(p)
		if value&unconfirmed == 0 {
			continue // learned since
		}
		v.routes.delete(p)
		v.hops.unref(value & setMask)
		v.batch = append(v.batch, v.write(p, 0, Delete))
	}
	n := len(v.batch)
	if n > 0 {
		errs.add(f.write(ctx, v))
	}
	return n
}

// loosen lists the members that are in no set: an earlier run ended between the
// member and its group. Until now a group that was not understood may have had
// them.
func (t *hopTable) loosen() {
	for m := range t.members {
		if t.members[m].refs == 0 {
			t.loose = append(t.loose, uint32(m))
		}
	}
}

// sweepNextHops deletes what is in the VRF's id range and ours and not known,
// groups before members. Then their ids are free again.
func (f *FIB) sweepNextHops(ctx context.Context, v *fibVRF) error {
	state, err := f.readState(ctx)
	if err != nil {
		return err
	}
	t := v.hops
	var groups, members []NextHopOp
	for _, o := range state.NextHops {
		slot, group, i := splitID(o.ID)
		switch {
		case o.Protocol != Protocol || slot != t.slot || IsFloor(o.ID) && v.floorLink != "":
		case group && (int(i) >= len(t.sets) || t.sets[i].members == nil):
			groups = append(groups, deletion(o.ID))
		case !group && (int(i) >= len(t.members) || t.members[i].hop == (NextHop{})):
			members = append(members, deletion(o.ID))
		}
	}
	ops := append(groups, members...)
	return f.writeNextHops(ctx, ops, func(n int) { t.release(ops[n].Object.ID) })
}

// release makes an id usable that was taken by something not adopted.
func (t *hopTable) release(id uint32) {
	_, group, i := splitID(id)
	switch {
	case group && int(i) < len(t.sets) && i > 0 && !slices.Contains(t.freeS, i):
		t.freeS = append(t.freeS, i)
	case !group && int(i) < len(t.members) && i > 0 && !slices.Contains(t.freeM, i):
		t.freeM = append(t.freeM, i)
	}
}
