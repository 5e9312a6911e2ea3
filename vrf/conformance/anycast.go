package conformance

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/hostroute/hostroute/vrf"
)

// origins are several routers, each over both planes.
func origins(numbers ...int) []vrf.NextHop { return sorted(numbers, ecmp) }

func origins6(numbers ...int) []vrf.NextHop { return sorted(numbers, ecmp6) }

func sorted(numbers []int, router func(int) []vrf.NextHop) []vrf.NextHop {
	var list []vrf.NextHop
	for _, n := range numbers {
		list = append(list, router(n)...)
	}
	slices.SortFunc(list, func(a, b vrf.NextHop) int { return a.Gateway.Compare(b.Gateway) })
	return list
}

// several tells that next hops have several gateways on one uplink.
func several(hops []vrf.NextHop) bool {
	return slices.ContainsFunc(hops, func(a vrf.NextHop) bool {
		return slices.ContainsFunc(hops, func(b vrf.NextHop) bool { return a.Uplink == b.Uplink && a != b })
	})
}

// manyOrigins has prefixes of both families, two with the same next hops.
func manyOrigins() []vrf.Change {
	return []vrf.Change{
		{Prefix: prefix("192.0.2.1/32"), NextHops: origins(2, 3, 4)}, {Prefix: prefix("2001:db8::1/128"), NextHops: origins6(2, 3, 4)},
		{Prefix: prefix("192.0.2.2/32"), NextHops: origins(2, 3, 4)}, {Prefix: prefix("2001:db8::2/128"), NextHops: origins6(2, 3)},
		{Prefix: prefix("192.0.2.3/32"), NextHops: origins6(2, 3)},
	}
}

// groups are the next-hop objects that the learned routes refer to.
func (b *bench) groups(t *testing.T) map[netip.Prefix]vrf.NextHopObject {
	t.Helper()
	state, err := b.State(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	groups := map[netip.Prefix]vrf.NextHopObject{}
	err = b.LearnedRoutes(t.Context(), 90, func(r vrf.LearnedRoute) {
		for _, o := range state.NextHops {
			if o.ID == r.NextHopID {
				groups[r.Prefix] = o
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return groups
}

// wantOwn checks the routes of these changes, and that each that is anycast has
// a resilient group of its own; and gives the groups' ids.
func (b *bench) wantOwn(t *testing.T, changes []vrf.Change, working ...string) map[netip.Prefix]uint32 {
	t.Helper()
	b.wantLearned(t, b.expected(changes, working...))
	ids, users, want := map[netip.Prefix]uint32{}, map[uint32]int{}, 0
	groups := b.groups(t)
	for _, o := range groups {
		users[o.ID]++
	}
	for _, c := range changes {
		o := groups[c.Prefix]
		ids[c.Prefix] = o.ID
		switch own := several(c.NextHops) && !b.Plain && !b.Shared; {
		case own != (o.Resilience.Buckets > 0):
			t.Fatalf("the group of %s is %+v", c.Prefix, o)
		case own && users[o.ID] != 1:
			t.Fatalf("the group %d of %s has %d routes", o.ID, c.Prefix, users[o.ID])
		case own:
			want++
		}
	}
	if n := b.fib.Stats("public").Own; n != want {
		t.Fatalf("the FIB counts %d groups of one prefix, want %d", n, want)
	}
	return ids
}

// inPlace checks that of two states the anycast prefixes have the same groups.
func (b *bench) inPlace(t *testing.T, changes []vrf.Change, before, after map[netip.Prefix]uint32) {
	t.Helper()
	for _, c := range changes {
		if !b.Plain && !b.Shared && several(c.NextHops) && before[c.Prefix] != after[c.Prefix] {
			t.Errorf("%s has group %d and had %d", c.Prefix, after[c.Prefix], before[c.Prefix])
		}
	}
}

// anycastChanges: a set of several origins changes in place, and goes over to
// a shared one and back.
func anycastChanges(t *testing.T, b *bench) {
	changes := manyOrigins()
	b.apply(t, changes)
	first := b.wantOwn(t, changes, "u0", "u1")
	for _, n := range [][]int{{2, 4}, {2, 4, 5, 6}, {7, 8}} { // the last has none of those before
		changes[0].NextHops, changes[1].NextHops = origins(n...), origins6(n...)
		b.apply(t, changes)
		b.inPlace(t, changes, first, b.wantOwn(t, changes, "u0", "u1"))
	}
	changes[0].NextHops, changes[1].NextHops = origins(2), origins6(2)
	b.apply(t, changes)
	b.wantOwn(t, changes, "u0", "u1")
	changes[0].NextHops, changes[3].NextHops = origins(2, 9), origins6(3)
	b.apply(t, changes)
	b.apply(t, []vrf.Change{{Prefix: changes[0].Prefix, NextHops: origins(3)}, changes[0]}) // within a batch
	b.wantOwn(t, changes, "u0", "u1")
	b.repair(t)
	if err := b.fib.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantOwn(t, changes, "u0", "u1")
	b.apply(t, withdrawn(changes))
	b.wantLearned(t, nil)
	if n := b.objects(t); n != 0 {
		t.Errorf("%d next hops are left over", n)
	}
}

// anycastRestart: after a restart a prefix keeps its group, also where its set
// has changed meanwhile, or a plane was lost.
func anycastRestart(t *testing.T, b *bench) {
	changes := manyOrigins()
	b.apply(t, changes)
	before := b.wantOwn(t, changes, "u0", "u1")
	counter := &counting{Dataplane: b.Target}
	again := func() {
		t.Helper()
		b.fib = b.newFIBOver(counter)
		if n, err := b.fib.Adopt(t.Context()); err != nil || n != len(changes) {
			t.Fatalf("adopted %d of %d: %v", n, len(changes), err)
		}
		b.apply(t, changes)
		if n, err := b.fib.Sweep(t.Context(), "public"); err != nil || n != 0 {
			t.Fatalf("swept %d: %v", n, err)
		}
		b.repair(t)
		b.inPlace(t, changes, before, b.wantOwn(t, changes, "u0", "u1"))
	}
	again()
	if counter.writes != 0 {
		t.Errorf("a restart wrote %d times", counter.writes)
	}
	changes[0].NextHops, changes[3].NextHops = origins(2, 4), origins6(2, 3, 9)
	again()
	if err := b.fib.UplinkChanged(t.Context(), "u0", false); err != nil {
		t.Fatal(err)
	}
	again()
	b.apply(t, withdrawn(changes))
	if n := b.objects(t); n != 0 {
		t.Errorf("%d next hops are left over", n)
	}
}

// anycastPlaneLost: members are pointed elsewhere, or leave the group, which
// stays the prefix's.
func anycastPlaneLost(t *testing.T, b *bench) {
	changes := append(manyOrigins(), sample()[:8]...)
	b.apply(t, changes)
	before := b.wantOwn(t, changes, "u0", "u1")
	tell := func(up bool) {
		t.Helper()
		if err := b.fib.UplinkChanged(t.Context(), "u0", up); err != nil {
			t.Fatal(err)
		}
	}
	tell(false)
	want := b.expected(changes, "u1")
	want[prefix("192.0.2.0/24")] = "100.64.1.3@u0"
	b.wantLearned(t, want)
	tell(true)
	b.inPlace(t, changes, before, b.wantOwn(t, changes, "u0", "u1"))
	b.SetCarrier("u0", false)
	b.repair(t)
	b.wantLearned(t, b.expected(changes, "u1"))
	changes[0].NextHops = origins(2, 5) // learned meanwhile
	b.apply(t, changes[:1])
	b.wantLearned(t, b.expected(changes, "u1"))
	b.SetCarrier("u0", true)
	b.repair(t)
	b.inPlace(t, changes, before, b.wantOwn(t, changes, "u0", "u1"))
	b.SetCarrier("u0", false)
	b.SetCarrier("u1", false)
	b.repair(t)
	b.wantLearned(t, b.expected(changes))
	b.SetCarrier("u1", true)
	b.SetCarrier("u0", true)
	b.repair(t)
	b.wantOwn(t, changes, "u0", "u1")
}

// anycastDamaged: somebody changes groups, or puts one of another type there.
func anycastDamaged(t *testing.T, b *bench) {
	if b.Plain {
		t.Skip("there are no groups")
	}
	changes := manyOrigins()
	b.apply(t, changes)
	before := b.wantOwn(t, changes, "u0", "u1")
	o := b.groups(t)[changes[0].Prefix]
	fewer, plain := o, o
	fewer.Group, fewer.Weights = o.Group[:2], nil
	plain.Resilience, plain.Weights = vrf.Resilience{}, nil
	if b.Shared {
		plain.Resilience = vrf.DefaultResilience
	}
	gone := vrf.NextHopOp{Object: o, Delete: true}
	damage := map[string][]vrf.NextHopOp{
		"members are taken away": {{Object: fewer, Replace: true}}, "the group is deleted": {gone},
		"a member is deleted":             {{Object: vrf.NextHopObject{ID: o.Group[0]}, Delete: true}},
		"a group of the other type":       {gone, {Object: plain}},
		"one that was never anyone's own": {{Object: vrf.NextHopObject{ID: o.ID + 999, Protocol: vrf.Protocol, Group: o.Group, Resilience: o.Resilience}}},
	}
	for _, what := range slices.Sorted(maps.Keys(damage)) {
		if b.Shared && what == "a group of the other type" && !b.resilient(t) {
			continue
		}
		b.hops(t, damage[what]...)
		b.repair(t)
		b.inPlace(t, changes, before, b.wantOwn(t, changes, "u0", "u1"))
	}
	b.hops(t, gone) // and before anybody repairs it, the prefix changes
	changes[0].NextHops = origins(2, 4)
	b.apply(t, changes)
	b.repair(t)
	b.wantOwn(t, changes, "u0", "u1")
	b.apply(t, withdrawn(changes))
	if _, err := b.fib.Sweep(t.Context(), "public"); err != nil {
		t.Fatal(err)
	}
	if n := b.objects(t); n != 0 {
		t.Errorf("%d next hops are left over", n)
	}
}

func (b *bench) resilient(t *testing.T) bool {
	t.Helper()
	state, err := b.State(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return state.Resilient
}

// hops writes next hops behind the FIB's back.
func (b *bench) hops(t *testing.T, ops ...vrf.NextHopOp) {
	t.Helper()
	if err := b.WriteNextHops(t.Context(), ops, func(i int, err error) { t.Fatalf("%+v: %v", ops[i], err) }); err != nil {
		t.Fatal(err)
	}
}
