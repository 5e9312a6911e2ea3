package vrf

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
)

// Verify reads all learned routes back and mends what differs: routes that
// somebody deleted or changed, and routes of ours that nobody learned. It then
// does what Repair does. It costs the kernel a walk through its tables, about
// a second for two million routes, so it is for now and then. If the context ends,
// it stops, and the next one finds what is left.
func (f *FIB) Verify(ctx context.Context) error {
	return f.VerifyInTurns(ctx, func(step func()) { step() })
}

// VerifyInTurns does the same while others use the FIB: it touches it only in
// steps, each of which it hands to turn and which takes about a millisecond, or in
// the end what Repair takes. Only one may be under way at a time. Without next-hop
// objects it is a single step.
func (f *FIB) VerifyInTurns(ctx context.Context, turn func(step func())) error {
	var err error
	var objects bool
	turn(func() { _, err = f.readState(ctx); objects = f.objects })
	if err != nil {
		return err
	}
	var errs errorList
	if objects { // otherwise Repair does
		for _, name := range sortedKeys(f.vrfs) {
			c := comparison{fib: f, v: f.vrfs[name], turn: turn}
			errs.add(c.run(ctx))
		}
	}
	if err := ctx.Err(); err != nil {
		errs.add(err)
		return errs.join()
	}
	turn(func() { errs.add(f.Repair(ctx)) })
	return errs.join()
}

// Lost writes routes of a VRF again that somebody deleted or replaced, or may
// have: nothing is read, so its cost is that of these routes. What stands there
// with our mark goes first, since it may not be what we wrote; what is somebody
// else's by now stays, and is an error like any other that stands in the way.
// A route that was never learned again since an earlier run, and whose next hops
// nobody knew, is given up.
func (f *FIB) Lost(ctx context.Context, vrf string, prefixes []netip.Prefix) error {
	v, err := f.vrf(ctx, vrf)
	if err != nil {
		return err
	}
	var errs errorList
	for chunk := range slices.Chunk(prefixes, batchRoutes) {
		v.batch = v.batch[:0]
		for _, p := range chunk {
			value, known := v.routes.get(p)
			set := value & setMask
			if known && set == 0 {
				v.routes.delete(p)
			}
			v.batch = append(v.batch, v.write(p, set, Add))
		}
		errs.add(f.write(ctx, v)) // at the end of the context all are marked for Repair
	}
	return errs.join()
}

// verify marks the routes that the kernel lacks, or has otherwise, as lost,
// and those that it should not have as dirty. It is for kernels without next-hop
// objects, where whole tables are written for a link, and is done in one go.
func (f *FIB) verify(ctx context.Context, v *fibVRF) error {
	err := f.plane.LearnedRoutes(ctx, v.Table, func(r LearnedRoute) {
		value, ok := v.routes.get(r.Prefix)
		switch {
		case !ok:
			v.dirty[r.Prefix] = struct{}{}
		case v.same(value&setMask, r):
			v.routes.set(r.Prefix, value|seen)
		}
	})
	complete := err == nil
	v.routes.all(func(_ netip.Prefix, value *uint32) bool {
		if complete && *value&seen == 0 && v.hops.sets[*value&setMask].ready() {
			*value |= lost
			v.lost = true
		}
		*value &^= seen
		return true
	})
	if err != nil {
		return fmt.Errorf("reading routes of %s: %w", v.Name, err)
	}
	return nil
}

func (v *fibVRF) same(set uint32, r LearnedRoute) bool {
	s := &v.hops.sets[set]
	if s.group != nil {
		return r.NextHopID == groupID(v.hops.slot, set)
	}
	order := func(a, b Hop) int {
		return cmp.Or(a.Gateway.Compare(b.Gateway), cmp.Compare(a.Port, b.Port))
	}
	return slices.Equal(slices.SortedFunc(slices.Values(s.hops), order), slices.SortedFunc(slices.Values(r.Hops), order))
}
