package vrf

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// comparison is a comparison of a VRF's learned routes with the kernel's, in turns
// between which the FIB is somebody else's: routes change in both meanwhile.
//
// A route that is written or learned since the dump began is marked as seen: what
// the dump says of it may be older. What it says of others is so, but it may lack
// some, since it is no snapshot; IPv6 routes are passed over when others before
// them are deleted. So what wasn't seen is added exclusively, which does nothing
// where it is there, and what then is in the way is looked for in a second dump.
// Only what is seen to be wrong, or twice not seen, is written over.
type comparison struct {
	fib   *FIB
	v     *fibVRF
	turn  func(step func())
	slice []LearnedRoute // seen in the dump, to be compared in the next turn
	doubt map[netip.Prefix]bool
	errs  errorList
}

// maxDoubt is how many routes may be looked for a second time. The next comparison
// looks for the others.
const maxDoubt = 1 << 16

func (c *comparison) run(ctx context.Context) error {
	for i := range parts {
		c.turn(func() { c.v.routes.part(i, func(_ netip.Prefix, value *uint32) { *value &^= seen }) })
	}
	c.turn(func() { c.v.comparing = true })
	defer c.turn(func() { c.v.comparing = false })
	if err := c.dump(ctx, func(LearnedRoute) bool { return true }); err != nil {
		return err
	}
	c.doubt = map[netip.Prefix]bool{}
	for i := range parts {
		if err := c.unseen(ctx, i); err != nil {
			c.errs.add(err)
			return c.errs.join()
		}
	}
	if len(c.doubt) > 0 {
		c.errs.add(c.lookAgain(ctx))
	}
	return c.errs.join()
}

// dump reads the routes that are wanted, without having the FIB meanwhile, and
// compares them slice by slice.
func (c *comparison) dump(ctx context.Context, wanted func(LearnedRoute) bool) error {
	c.slice = make([]LearnedRoute, 0, batchRoutes)
	compare := func() {
		c.turn(func() { c.compare(ctx) })
		c.slice = c.slice[:0]
	}
	err := c.fib.plane.LearnedRoutes(ctx, c.v.Table, func(r LearnedRoute) {
		if !wanted(r) {
			return
		}
		r.Hops = nil // not ours to keep, and what refers to no group is wrong in any case
		if c.slice = append(c.slice, r); len(c.slice) == cap(c.slice) {
			compare()
		}
	})
	if err != nil {
		return fmt.Errorf("reading routes of %s: %w", c.v.Name, err)
	}
	compare()
	return nil
}

// compare marks the routes of the slice that are as they must be, writes those that
// aren't, and deletes those that must not be.
func (c *comparison) compare(ctx context.Context) {
	v := c.v
	v.batch = v.batch[:0]
	for _, r := range c.slice {
		value, known := v.routes.get(r.Prefix)
		set := value & setMask
		switch {
		case !known:
			v.batch = append(v.batch, v.write(r.Prefix, 0, Delete))
		case value&seen != 0, v.hops.sets[set].group == nil:
		case r.NextHopID == groupID(v.hops.slot, set):
			v.routes.set(r.Prefix, value|seen)
		default:
			v.batch = append(v.batch, v.write(r.Prefix, set, Add))
		}
	}
	if len(v.batch) > 0 {
		c.errs.add(c.fib.write(ctx, v))
	}
}

// unseen adds the routes of a part that the dump had not.
func (c *comparison) unseen(ctx context.Context, part int) error {
	var list []netip.Prefix
	c.turn(func() {
		c.v.routes.part(part, func(p netip.Prefix, value *uint32) {
			if *value&seen == 0 && c.v.hops.sets[*value&setMask].group != nil {
				list = append(list, p)
			}
		})
	})
	for chunk := range slices.Chunk(list, batchRoutes) {
		var err error
		c.turn(func() { err = c.add(ctx, chunk) })
		if err != nil {
			return err
		}
	}
	return nil
}

// add adds those that are still unseen, and leaves what is in their way.
func (c *comparison) add(ctx context.Context, list []netip.Prefix) error {
	v := c.v
	v.batch = v.batch[:0]
	for _, p := range list {
		if value, dirty := v.unseen(p); value != 0 && !dirty { // Repair tries those
			v.batch = append(v.batch, v.write(p, value&setMask, Add))
		}
	}
	err := c.fib.plane.WriteRoutes(ctx, v.batch, func(i int, err error) {
		switch w := v.batch[i]; {
		case !errors.Is(err, ErrExists):
			v.fail(&c.errs, w, err)
		case len(c.doubt) < maxDoubt:
			c.doubt[w.Prefix] = true
		}
	})
	if err != nil {
		for _, w := range v.batch {
			v.dirty[w.Prefix] = struct{}{}
		}
		return fmt.Errorf("writing %d routes into %s: %w", len(v.batch), v.Name, err)
	}
	return nil
}

// unseen gives the value of a route that must be in the kernel and was neither seen
// nor written since the comparison began; 0: there is none.
func (v *fibVRF) unseen(p netip.Prefix) (value uint32, dirty bool) {
	value, known := v.routes.get(p)
	_, dirty = v.dirty[p]
	if !known || value&seen != 0 || v.hops.sets[value&setMask].group == nil {
		return 0, dirty
	}
	return value, dirty
}

// lookAgain looks for the routes that were missing in the dump, and in whose place
// there is something nevertheless.
func (c *comparison) lookAgain(ctx context.Context) error {
	if err := c.dump(ctx, func(r LearnedRoute) bool { return c.doubt[r.Prefix] }); err != nil {
		return err
	}
	list := slices.SortedFunc(maps.Keys(c.doubt), netip.Prefix.Compare)
	for chunk := range slices.Chunk(list, batchRoutes) {
		c.turn(func() {
			c.v.batch = c.v.batch[:0]
			for _, p := range chunk {
				if value, _ := c.v.unseen(p); value != 0 {
					c.v.batch = append(c.v.batch, c.v.write(p, value&setMask, Add))
				}
			}
			if len(c.v.batch) > 0 {
				c.errs.add(c.fib.write(ctx, c.v))
			}
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// written marks the routes of the batch as seen: what a dump under way says of them
// is older.
func (v *fibVRF) written() {
	if !v.comparing {
		return
	}
	for _, w := range v.batch {
		if value, known := v.routes.get(w.Prefix); known {
			v.routes.set(w.Prefix, value|seen)
		}
	}
}
