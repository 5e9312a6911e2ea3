package vrf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// FIB brings learned routes into the tables of VRFs and keeps them there. It
// is a state machine over a Dataplane: it starts nothing, and it is not safe
// for concurrent use.
type FIB struct {
	plane   Dataplane
	vrfs    map[string]*fibVRF
	uplinks map[string]*fibUplink
	objects bool
	known   bool // the state was read once

	resilient  bool // the kernel has resilient groups
	resilience Resilience
}

type fibVRF struct {
	VRF
	hops   *hopTable
	routes shadow

	floorLink string // on which the groups' floor stands; "": there is none
	floorPort int    // its index; 0: it is not there, or not up

	// dirty has the routes whose last write failed, so that it is not known
	// what the kernel has. They are added, or deleted, never replaced.
	dirty map[netip.Prefix]struct{}
	lost  bool // some routes have the flag
	// comparing: routes that are written or learned are marked as seen.
	comparing bool
	batch     []RouteWrite
	bySlice   map[*NextHop]*sliceSet
	staged
}

type fibUplink struct {
	Uplink
	index int
	ready bool // exists, in its VRF, with carrier
	down  bool // told so: its plane is lost
}

// The value of a route in the shadow is the index of its set and these flags.
const (
	unconfirmed = 1 << 23 // found in the kernel, not yet learned again
	pending     = 1 << 22 // its first write is in the batch
	lost        = 1 << 21 // the kernel was found not to have it as it must be
	seen        = 1 << 20 // during Verify: the kernel has it, or was told since
	setMask     = seen - 1
)

// Every set has room in a value, and the flags in one of the shadow.
const (
	_ = uint(setMask - maxMembers)
	_ = uint(valueMask - unconfirmed)
)

// batchRoutes is how many routes one send carries. Between 64 and 512 the
// kernel is as fast as it gets, and an error costs the least.
const batchRoutes = 256

// NewFIB makes the FIB of these VRFs. Call Adopt before anything else.
func NewFIB(plane Dataplane, vrfs []VRF, uplinks []Uplink) *FIB {
	f := &FIB{plane: plane, vrfs: map[string]*fibVRF{}, uplinks: map[string]*fibUplink{}, resilience: DefaultResilience}
	slot := assignSlots(vrfs)
	for _, v := range vrfs {
		floorLink := v.Name
		if v.NoDevice {
			floorLink = ""
		}
		f.vrfs[v.Name] = &fibVRF{VRF: v, floorLink: floorLink, hops: newHopTable(slot[v.Name]), dirty: map[netip.Prefix]struct{}{}, bySlice: map[*NextHop]*sliceSet{}}
	}
	for _, u := range uplinks {
		f.uplinks[u.Name] = &fibUplink{Uplink: u}
	}
	return f
}

// Apply brings changes of a VRF's learned routes into the kernel. What the
// kernel has already is not written. A change that can't be done is reported
// and leaves the others alone, and the route as it was; Repair tries again what
// the kernel refused. If the context ends, Apply stops between batches, and the
// changes not reached are the caller's to send again. Nothing else of the FIB
// goes on meanwhile, the reaction to a lost plane included, so hand over some
// thousand changes at a time rather than millions.
func (f *FIB) Apply(ctx context.Context, vrf string, changes []Change) error {
	v, err := f.vrf(ctx, vrf)
	if err != nil {
		return err
	}
	var errs errorList
	v.begin()
	v.routes.warm(changes)
	for _, c := range changes {
		if v.full() {
			errs.add(f.flush(ctx, v))
		}
		if err := ctx.Err(); err != nil {
			errs.add(err)
			break
		}
		if err := f.stage(ctx, v, c); err != nil {
			errs.add(fmt.Errorf("route %s in %s: %w", c.Prefix, vrf, err))
		}
	}
	// What is staged is in the shadow already, so it is flushed in any case,
	// and at least marked dirty.
	errs.add(f.flush(ctx, v))
	errs.add(f.collect(ctx, v))
	return errs.join()
}

func (f *FIB) vrf(ctx context.Context, name string) (*fibVRF, error) {
	v := f.vrfs[name]
	if v == nil {
		return nil, fmt.Errorf("%q: %w", name, ErrUnknownVRF)
	}
	if f.known {
		return v, nil
	}
	_, err := f.readState(ctx)
	return v, err
}

// flush makes the next hops that the batch needs and writes the batch.
func (f *FIB) flush(ctx context.Context, v *fibVRF) error {
	var errs errorList
	if len(v.newSets) > 0 {
		errs.add(f.settle(ctx, v, v.newSets))
		v.newSets = v.newSets[:0]
	}
	if len(v.changes) == 0 {
		return errs.join()
	}
	v.batch = v.batch[:0]
	for _, s := range v.changes {
		v.batch = append(v.batch, v.write(s.prefix, s.set, s.verb))
	}
	errs.add(f.write(ctx, v))
	for _, s := range v.changes {
		if value, ok := v.routes.get(s.prefix); ok && value&pending != 0 {
			v.routes.set(s.prefix, value&^pending)
		}
	}
	v.changes = v.changes[:0]
	return errs.join()
}

// write is the message that gives a route its set. A set none of whose links
// works has no group, and the route is not in the kernel until it has.
func (v *fibVRF) write(prefix netip.Prefix, set uint32, verb Verb) RouteWrite {
	w := RouteWrite{Prefix: prefix, Table: v.Table, Verb: verb}
	s := &v.hops.sets[set]
	switch {
	case set == 0 || verb == Delete || !s.ready():
		w.Verb = Delete
	case s.group != nil:
		w.NextHopID = groupID(v.hops.slot, set)
	default:
		w.Hops = s.hops
	}
	return w
}

// write writes the batch and books what failed as dirty, and what has no next
// hops because they were refused. A route that we
// never wrote may stand in the kernel from a run that was not adopted: then
// it goes away by a delete that can only hit ours, and is added again.
func (f *FIB) write(ctx context.Context, v *fibVRF) error {
	var errs errorList
	var again []RouteWrite
	var failed map[int]bool // most batches have none
	err := f.plane.WriteRoutes(ctx, v.batch, func(i int, err error) {
		w := v.batch[i]
		if failed == nil {
			failed = map[int]bool{}
		}
		failed[i] = true
		if w.Verb == Add && errors.Is(err, ErrExists) {
			again = append(again, w)
			return
		}
		v.fail(&errs, w, err)
	})
	v.written()
	if err != nil {
		for _, w := range v.batch {
			v.dirty[w.Prefix] = struct{}{}
		}
		return fmt.Errorf("writing %d routes into %s: %w", len(v.batch), v.Name, err)
	}
	for i, w := range v.batch {
		switch {
		case w.Verb == Delete && v.untried(w.Prefix):
			v.dirty[w.Prefix] = struct{}{}
		case len(v.dirty) > 0 && !failed[i]:
			delete(v.dirty, w.Prefix)
		}
	}
	errs.add(f.addAgain(ctx, v, again))
	return errs.join()
}

// untried tells that a route is known and its set's next hops were refused
// whenever they were to be made.
func (v *fibVRF) untried(p netip.Prefix) bool {
	value, _ := v.routes.get(p)
	set := value & setMask
	return set != 0 && !v.hops.sets[set].tried
}

func (v *fibVRF) fail(errs *errorList, w RouteWrite, err error) {
	v.dirty[w.Prefix] = struct{}{}
	errs.add(fmt.Errorf("route %s in %s: %w", w.Prefix, v.Name, err))
}

func (f *FIB) addAgain(ctx context.Context, v *fibVRF, writes []RouteWrite) error {
	if len(writes) == 0 {
		return nil
	}
	pairs := make([]RouteWrite, 0, 2*len(writes))
	for _, w := range writes {
		pairs = append(pairs, RouteWrite{Prefix: w.Prefix, Table: w.Table, Verb: Delete}, w)
		delete(v.dirty, w.Prefix)
	}
	var errs errorList
	err := f.plane.WriteRoutes(ctx, pairs, func(i int, err error) { v.fail(&errs, pairs[i|1], err) })
	if err != nil {
		for _, w := range writes {
			v.dirty[w.Prefix] = struct{}{}
		}
		errs.add(err)
	}
	return errs.join()
}

// collect removes next hops that nothing refers to any more.
func (f *FIB) collect(ctx context.Context, v *fibVRF) error {
	return f.writeNextHops(ctx, v.hops.collect(), nil)
}

// errorList joins errors and keeps a flood of equal ones short.
type errorList struct {
	errs []error
	more int
}

const maxErrors = 16

func (l *errorList) add(err error) {
	switch {
	case err == nil:
	case len(l.errs) < maxErrors:
		l.errs = append(l.errs, err)
	default:
		l.more++
	}
}

func (l *errorList) join() error {
	if l.more > 0 {
		return errors.Join(append(l.errs, fmt.Errorf("and %d more errors", l.more))...)
	}
	return errors.Join(l.errs...)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
