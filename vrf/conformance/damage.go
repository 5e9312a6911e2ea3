package conformance

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/hostroute/hostroute/vrf"
)

// behind writes learned routes behind the FIB's back, with our mark.
func (b *bench) behind(t *testing.T, writes ...vrf.RouteWrite) {
	t.Helper()
	if err := b.WriteRoutes(t.Context(), writes, func(i int, err error) { t.Fatalf("%v: %v", writes[i], err) }); err != nil {
		t.Fatal(err)
	}
}

// wrong is a next hop that nobody has learned.
func (b *bench) wrong(t *testing.T, gateway string) []vrf.Hop {
	t.Helper()
	state, err := b.State(t.Context(), []string{"u0"})
	if err != nil {
		t.Fatal(err)
	}
	return []vrf.Hop{{Gateway: addr(gateway), Port: state.Ports["u0"].Index}}
}

// damaged: somebody deletes learned routes, changes them, puts others into
// their place, and adds some in our name; and the FIB is told which.
func damaged(t *testing.T, b *bench) {
	counter := &counting{Dataplane: b.Target}
	b.fib = b.newFIBOver(counter)
	changes := sample()
	b.apply(t, changes)
	stray := []netip.Prefix{prefix("192.0.2.250/32"), prefix("2001:db8::250/128")}
	b.behind(t,
		vrf.RouteWrite{Prefix: changes[0].Prefix, Table: 90, Verb: vrf.Delete},
		vrf.RouteWrite{Prefix: changes[1].Prefix, Table: 90, Verb: vrf.Delete},
		vrf.RouteWrite{Prefix: changes[2].Prefix, Table: 90, Verb: vrf.Replace, Hops: b.wrong(t, "100.64.1.77")},
		vrf.RouteWrite{Prefix: changes[3].Prefix, Table: 90, Verb: vrf.Replace, Hops: b.wrong(t, "fd64:1::77")},
		vrf.RouteWrite{Prefix: stray[0], Table: 90, Verb: vrf.Add, Hops: b.wrong(t, "100.64.1.77")},
		vrf.RouteWrite{Prefix: stray[1], Table: 90, Verb: vrf.Add, Hops: b.wrong(t, "fd64:1::77")})
	told := stray
	for _, c := range changes[:8] { // 4 and 5 are untouched, 6 and 7 somebody else's
		told = append(told, c.Prefix)
	}
	taken := changes[6:8]
	for _, c := range taken {
		b.AddForeignRoute(90, c.Prefix, vrf.MetricLearned)
	}
	had := b.Foreign()
	counter.writes, counter.reads = 0, 0
	if err := b.fib.Lost(t.Context(), "public", told); !errors.Is(err, vrf.ErrExists) {
		t.Errorf("got %v, want %v", err, vrf.ErrExists)
	}
	if counter.reads > 0 || counter.writes > 3*len(told) { // an add, and where that fails a delete and an add
		t.Errorf("%d damaged routes cost %d writes and %d reads", len(told), counter.writes, counter.reads)
	}
	rest := slices.Concat(changes[:6], changes[8:])
	b.wantLearned(t, b.expected(rest, "u0", "u1"))
	b.wantForeign(t, had)
	for _, c := range taken {
		b.DeleteForeignRoute(90, c.Prefix, vrf.MetricLearned)
	}
	b.repair(t)
	b.wantLearned(t, b.expected(changes, "u0", "u1"))
	b.apply(t, withdrawn(changes))
	b.wantLearned(t, nil)
}

// damagedByMany: while routes are gone, others are learned and withdrawn in their
// place, and the FIB hears late of it, and twice.
func damagedByMany(t *testing.T, b *bench) {
	changes := sample()
	b.apply(t, changes)
	var all []netip.Prefix
	for _, c := range changes {
		b.behind(t, vrf.RouteWrite{Prefix: c.Prefix, Table: 90, Verb: vrf.Delete})
		all = append(all, c.Prefix)
	}
	changes[4].NextHops, changes[5].NextHops = ecmp(9), ecmp6(9)
	b.apply(t, changes[4:6])
	b.apply(t, withdrawn(changes[8:10]))
	changes = slices.Delete(changes, 8, 10)
	for range 2 {
		if err := b.fib.Lost(t.Context(), "public", all); err != nil {
			t.Fatal(err)
		}
		b.wantLearned(t, b.expected(changes, "u0", "u1"))
	}
	if err := b.fib.Lost(t.Context(), "nowhere", all); !errors.Is(err, vrf.ErrUnknownVRF) {
		t.Errorf("an unknown VRF gives %v", err)
	}
	b.apply(t, withdrawn(changes))
	if n := b.objects(t); n != 0 {
		t.Errorf("%d next hops are left over", n)
	}
}

// damagedAfterRestart: a route that an earlier run left, and nobody understands, is
// no longer ours to replace once somebody else has taken its place.
func damagedAfterRestart(t *testing.T, b *bench) {
	c := vrf.Change{Prefix: prefix("192.0.2.9/32"), NextHops: ecmp(2)}
	b.behind(t, vrf.RouteWrite{Prefix: c.Prefix, Table: 90, Verb: vrf.Add, Hops: b.wrong(t, "100.64.1.77")})
	b.fib = b.newFIB()
	if n, err := b.fib.Adopt(t.Context()); n != 1 || err != nil {
		t.Fatalf("adopted %d: %v", n, err)
	}
	b.AddForeignRoute(90, c.Prefix, vrf.MetricLearned)
	had := b.Foreign()
	_ = b.fib.Lost(t.Context(), "public", []netip.Prefix{c.Prefix}) // it may say that the place is taken
	if err := b.fib.Apply(t.Context(), "public", []vrf.Change{c}); !errors.Is(err, vrf.ErrExists) {
		t.Errorf("got %v, want %v", err, vrf.ErrExists)
	}
	b.wantForeign(t, had)
}
