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
// a second for two million routes, so it is for now and then.
func (f *FIB) Verify(ctx context.Context) error {
	if _, err := f.readState(ctx); err != nil {
		return err
	}
	var errs errorList
	if f.objects { // otherwise Repair does
		for _, name := range sortedKeys(f.vrfs) {
			errs.add(f.verify(ctx, f.vrfs[name]))
		}
	}
	errs.add(f.Repair(ctx))
	return errs.join()
}

// verify marks the routes that the kernel lacks, or has otherwise, as lost,
// and those that it should not have as dirty.
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
