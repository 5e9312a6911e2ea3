package vrf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// UplinkChanged tells the FIB that the plane behind an uplink is lost or back,
// by BFD or by carrier. Where all sets that hold a lost member share a member
// that lives, the lost one is pointed at that one's gateway: one message for
// each member, whatever the number of routes, and no flow on the living plane
// moves. Elsewhere the groups shrink. A set with no living member keeps what
// it has: the log of what was learned says nothing better.
func (f *FIB) UplinkChanged(ctx context.Context, uplink string, up bool) error {
	u := f.uplinks[uplink]
	if u == nil {
		return fmt.Errorf("uplink %s: not one of the FIB's", uplink)
	}
	u.down = !up
	return f.Repair(ctx)
}

// Repair compares the kernel's next hops with what they must be and mends
// them: the kernel deletes a member when its link loses the carrier, deletes a
// group with its last member, flushes the routes of that group, and restores
// nothing. Then it tries again what failed before. It is cheap where nothing
// is wrong, and is called whenever a link or a next hop changed.
func (f *FIB) Repair(ctx context.Context) error {
	state, err := f.readState(ctx)
	if err != nil {
		return err
	}
	var errs errorList
	actual := make(map[uint32]NextHopObject, len(state.NextHops))
	for _, o := range state.NextHops {
		if o.Protocol == Protocol {
			actual[o.ID] = o
		}
	}
	for _, name := range sortedKeys(f.vrfs) {
		v := f.vrfs[name]
		if f.objects {
			v.hops.observe(actual)
		}
		if !f.objects { // nothing else tells that the kernel flushed routes
			errs.add(f.verify(ctx, v))
		}
		errs.add(f.settle(ctx, v, v.hops.every()))
		errs.add(f.rewrite(ctx, v))
		errs.add(f.retry(ctx, v))
	}
	return errs.join()
}

func (f *FIB) readState(ctx context.Context) (State, error) {
	links := sortedKeys(f.uplinks)
	for _, v := range f.vrfs {
		if v.floorLink != "" {
			links = append(links, v.floorLink)
		}
	}
	state, err := f.plane.State(ctx, links)
	if err != nil {
		return state, fmt.Errorf("reading next hops: %w", err)
	}
	f.objects, f.resilient, f.known = state.Objects, state.Objects && state.Resilient, true
	for _, v := range f.vrfs {
		v.readFloor(state.Ports)
	}
	for name, u := range f.uplinks {
		port, exists := state.Ports[name]
		master := u.VRF
		if v := f.vrfs[u.VRF]; v == nil || v.NoDevice {
			master = port.Master
		}
		// A member on a link that is not in its VRF would be looked up in the
		// main table.
		u.index, u.ready = port.Index, exists && port.Running && port.Master == master
	}
	return state, nil
}

func (t *hopTable) every() []uint32 {
	all := make([]uint32, 0, len(t.sets))
	for i := range t.sets {
		if t.sets[i].members != nil {
			all = append(all, uint32(i))
		}
	}
	return all
}

// settle makes the members and groups of these sets what they must be.
func (f *FIB) settle(ctx context.Context, v *fibVRF, sets []uint32) error {
	t := v.hops
	if f.anyDead(v) {
		sets = t.every() // a new set may end what allowed a substitution
	}
	slices.Sort(sets)
	sets = slices.Compact(sets)
	var errs errorList
	subs := f.substitutes(v)
	if f.objects {
		errs.add(f.settleFloors(ctx, v, sets))
		errs.add(f.settleMembers(ctx, v, sets, subs))
	}
	errs.add(f.settleGroups(ctx, v, sets))
	err := errs.join()
	for _, i := range sets {
		// What was refused at first has routes that no link's return writes.
		t.sets[i].tried = t.sets[i].tried || err == nil || t.sets[i].ready()
	}
	return err
}

func (f *FIB) settlePlain(v *fibVRF, s *hopSet, list []uint32) {
	var hops []Hop
	for _, m := range list {
		hops = append(hops, f.own(v, m))
	}
	if !slices.Equal(hops, s.hops) {
		s.fresh = s.hops == nil
		s.hops, s.stale = hops, s.stale || s.tried
	}
}

// own is where a member points when nothing is wrong.
func (f *FIB) own(v *fibVRF, m uint32) Hop {
	hop := v.hops.members[m].hop
	return Hop{hop.Gateway, f.uplinks[hop.Uplink].index}
}

func (f *FIB) uplinkOf(v *fibVRF, m uint32) *fibUplink {
	return f.uplinks[v.hops.members[m].hop.Uplink]
}

func (f *FIB) dead(v *fibVRF, m uint32) bool {
	u := f.uplinkOf(v, m)
	return u.down || !u.ready
}

func (f *FIB) anyDead(v *fibVRF) bool {
	for _, u := range f.uplinks {
		if u.VRF == v.Name && (u.down || !u.ready) {
			return true
		}
	}
	return false
}

// substitutes finds, for each dead member, a living one that is in every set
// that has the dead one: whatever is routed to the one may go to the other. It
// gives them by the dead one's index, and 0 for none.
func (f *FIB) substitutes(v *fibVRF) []uint32 {
	if !f.objects || !f.anyDead(v) {
		return nil // nobody asks
	}
	common := make([][]uint32, len(v.hops.members)) // nil: not met yet
	for i := range v.hops.sets {
		dead, alive := make([]uint32, 0, 4), make([]uint32, 0, 4)
		for _, m := range v.hops.sets[i].members {
			if f.dead(v, m) {
				dead = append(dead, m)
			} else {
				alive = append(alive, m)
			}
		}
		for _, m := range dead {
			if common[m] == nil {
				common[m] = alive
			} else {
				common[m] = intersection(common[m], alive)
			}
		}
	}
	subs := make([]uint32, len(common))
	for m, c := range common {
		if len(c) > 0 {
			subs[m] = v.hops.mostAlike(uint32(m), c)
		}
	}
	return subs
}

// intersection of two sorted lists.
func intersection(a, b []uint32) []uint32 {
	if slices.Equal(a, b) {
		return a
	}
	both := make([]uint32, 0, len(a)) // never nil
	for _, x := range a {
		if slices.Contains(b, x) {
			both = append(both, x)
		}
	}
	return both
}

// settleMembers brings the members of the sets to where they must point.
func (f *FIB) settleMembers(ctx context.Context, v *fibVRF, sets []uint32, subs []uint32) error {
	t := v.hops
	var ops []NextHopOp
	var who []uint32
	seen := make([]bool, len(t.members))
	for _, i := range sets {
		for _, m := range t.sets[i].members {
			if seen[m] {
				continue
			}
			seen[m] = true
			if op, ok := f.memberOp(v, m, subs); ok {
				ops, who = append(ops, op), append(who, m)
			}
		}
	}
	return f.writeNextHops(ctx, ops, func(n int) { t.members[who[n]].at = ops[n].Object.Hop })
}

func (f *FIB) memberOp(v *fibVRF, m uint32, subs []uint32) (NextHopOp, bool) {
	at, own := v.hops.members[m].at, f.own(v, m)
	want := own
	if f.dead(v, m) {
		switch {
		case at != (Hop{}) && subs[m] != 0:
			want = f.own(v, subs[m])
		case at != (Hop{}) && at != own && !f.uplinkOf(v, m).ready:
			return deletion(memberID(v.hops.slot, m)), true // it points where it must not any more
		case !f.uplinkOf(v, m).ready:
			return NextHopOp{}, false
		}
	}
	if at == want {
		return NextHopOp{}, false
	}
	o := NextHopObject{ID: memberID(v.hops.slot, m), Protocol: Protocol, Hop: want}
	return NextHopOp{Object: o, Replace: at != (Hop{})}, true
}

// living lists the members that a set's group must have: those that work,
// directly or through their substitute; if none does, those that exist. It is
// never nil.
func (f *FIB) living(v *fibVRF, s *hopSet) []uint32 {
	var living []uint32
	present := make([]uint32, 0, len(s.members))
	for _, m := range s.members {
		exists := v.hops.members[m].at != (Hop{})
		if !f.objects {
			exists = f.uplinkOf(v, m).ready
		}
		if !exists {
			continue
		}
		present = append(present, m)
		if !f.dead(v, m) || f.objects && v.hops.members[m].at != f.own(v, m) {
			living = append(living, m)
		}
	}
	if len(living) > 0 {
		return living
	}
	return present
}

// writeNextHops executes operations and calls done for those that succeeded.
// That a link is down is a state and no failure; what the kernel dropped
// meanwhile is for the Repair that its notice calls for.
func (f *FIB) writeNextHops(ctx context.Context, ops []NextHopOp, done func(int)) error {
	if len(ops) == 0 {
		return nil
	}
	var errs errorList
	failed := map[int]bool{}
	err := f.plane.WriteNextHops(ctx, ops, func(i int, err error) {
		failed[i] = true
		if !errors.Is(err, ErrNotReady) && !errors.Is(err, ErrGone) {
			errs.add(fmt.Errorf("next hop %d: %w", ops[i].Object.ID, err))
		}
	})
	if err != nil {
		return fmt.Errorf("writing %d next hops: %w", len(ops), err)
	}
	for i := range ops {
		if !failed[i] && done != nil {
			done(i)
		}
	}
	return errs.join()
}

// rewrite writes the routes of the sets whose routes the kernel flushed, or
// which carry next hops that changed, and the routes found lost. What was flushed is added, since somebody
// else may have taken the place.
func (f *FIB) rewrite(ctx context.Context, v *fibVRF) error {
	if !v.lost && !slices.ContainsFunc(v.hops.sets, func(s hopSet) bool { return s.stale }) {
		return nil
	}
	var errs errorList
	v.batch = v.batch[:0]
	v.routes.all(func(p netip.Prefix, value *uint32) bool {
		set := *value & setMask
		s := &v.hops.sets[set]
		if !s.stale && *value&lost == 0 {
			return true
		}
		verb := Replace
		if f.objects || s.fresh || *value&lost != 0 {
			verb = Add
		}
		*value &^= lost
		v.batch = append(v.batch, v.write(p, set, verb))
		if len(v.batch) == batchRoutes {
			errs.add(f.write(ctx, v))
			v.batch = v.batch[:0]
		}
		return ctx.Err() == nil
	})
	if len(v.batch) > 0 {
		errs.add(f.write(ctx, v))
	}
	if ctx.Err() != nil {
		errs.add(ctx.Err()) // still stale
		return errs.join()
	}
	for i := range v.hops.sets {
		v.hops.sets[i].stale = false
	}
	v.lost = false
	return errs.join()
}

// retry writes what failed before.
func (f *FIB) retry(ctx context.Context, v *fibVRF) error {
	if len(v.dirty) == 0 {
		return nil
	}
	var errs errorList
	prefixes := make([]netip.Prefix, 0, len(v.dirty))
	for p := range v.dirty {
		prefixes = append(prefixes, p)
	}
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	for chunk := range slices.Chunk(prefixes, batchRoutes) {
		v.batch = v.batch[:0]
		for _, p := range chunk {
			value, _ := v.routes.get(p)
			v.batch = append(v.batch, v.write(p, value&setMask, Add))
		}
		errs.add(f.write(ctx, v))
	}
	return errs.join()
}
