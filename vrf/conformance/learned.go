package conformance

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/vrf"
)

// ecmp is a router that is reached over both planes.
func ecmp(n int) []vrf.NextHop {
	return []vrf.NextHop{
		{Gateway: addr(fmt.Sprintf("100.64.1.%d", n)), Uplink: "u0"},
		{Gateway: addr(fmt.Sprintf("100.64.2.%d", n)), Uplink: "u1"},
	}
}

func ecmp6(n int) []vrf.NextHop {
	return []vrf.NextHop{
		{Gateway: addr(fmt.Sprintf("fd64:1::%d", n)), Uplink: "u0"},
		{Gateway: addr(fmt.Sprintf("fd64:2::%d", n)), Uplink: "u1"},
	}
}

// sample has routes of both families, single and multiple next hops.
func sample() []vrf.Change {
	list := []vrf.Change{
		{Prefix: prefix("0.0.0.0/0"), NextHops: ecmp(2)},
		{Prefix: prefix("::/0"), NextHops: ecmp6(2)},
		{Prefix: prefix("192.0.2.0/24"), NextHops: ecmp(3)[:1]},
		{Prefix: prefix("2001:db8:5::/48"), NextHops: ecmp6(3)[1:]},
	}
	for i := range 600 { // more than one batch
		list = append(list,
			vrf.Change{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32), NextHops: ecmp(2 + i%5)},
			vrf.Change{Prefix: prefix(fmt.Sprintf("2001:db8:6::%x/128", i)), NextHops: ecmp6(2 + i%5)})
	}
	return list
}

// expected is what the kernel must have for changes, with the uplinks that
// work: where groups stand on a floor, routes with none stay.
func (b *bench) expected(changes []vrf.Change, working ...string) map[netip.Prefix]string {
	want := map[netip.Prefix]string{}
	for _, c := range changes {
		var hops []string
		for _, h := range c.NextHops {
			if slices.Contains(working, h.Uplink) {
				hops = append(hops, h.Gateway.String()+"@"+h.Uplink)
			}
		}
		slices.Sort(hops)
		if len(hops) > 0 || b.floored() && len(c.NextHops) > 0 && (b.Shared || !several(c.NextHops)) {
			want[c.Prefix] = strings.Join(slices.Compact(hops), " ")
		}
	}
	return want
}

// learned reads back where the kernel sends each learned route of a table.
func (b *bench) learned(t *testing.T, table uint32) map[netip.Prefix]string {
	t.Helper()
	var names []string
	for _, u := range b.host.Uplinks {
		names = append(names, u.Name)
	}
	state, err := b.State(t.Context(), names)
	if err != nil {
		t.Fatal(err)
	}
	ports := map[int]string{}
	for name, p := range state.Ports {
		ports[p.Index] = name
	}
	objects := map[uint32]vrf.NextHopObject{}
	for _, o := range state.NextHops {
		objects[o.ID] = o
	}
	got := map[netip.Prefix]string{}
	err = b.LearnedRoutes(t.Context(), table, func(r vrf.LearnedRoute) {
		hops := slices.Clone(r.Hops)
		for _, m := range objects[r.NextHopID].Group {
			if vrf.IsFloor(m) {
				continue
			}
			hops = append(hops, objects[m].Hop)
		}
		var list []string
		for _, h := range hops {
			list = append(list, h.Gateway.String()+"@"+ports[h.Port])
		}
		slices.Sort(list)
		got[r.Prefix] = strings.Join(slices.Compact(list), " ")
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (b *bench) wantLearned(t *testing.T, want map[netip.Prefix]string) {
	t.Helper()
	got := b.learned(t, 90)
	for p, hops := range want {
		if is, there := got[p]; is != hops || !there {
			t.Fatalf("%s goes to %q (is there: %v), want %q", p, is, there, hops)
		}
	}
	for p, hops := range got {
		if _, ok := want[p]; !ok {
			t.Fatalf("%s goes to %q, want no route", p, hops)
		}
	}
}

func (b *bench) apply(t *testing.T, changes []vrf.Change) {
	t.Helper()
	if err := b.fib.Apply(t.Context(), "public", changes); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) repair(t *testing.T) {
	t.Helper()
	if err := b.fib.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) objects(t *testing.T) int {
	t.Helper()
	state, err := b.State(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return len(slices.DeleteFunc(state.NextHops, func(o vrf.NextHopObject) bool { return vrf.IsFloor(o.ID) }))
}

func withdrawn(changes []vrf.Change) []vrf.Change {
	return mapped(changes, func(c vrf.Change) vrf.Change { return vrf.Change{Prefix: c.Prefix} })
}

func applyAndWithdraw(t *testing.T, b *bench) {
	changes := sample()
	b.apply(t, changes)
	b.wantLearned(t, b.expected(changes, "u0", "u1"))
	if s := b.fib.Stats("public"); s.IPv4 != 602 || s.IPv6 != 602 || s.Dirty != 0 {
		t.Errorf("stats are %+v", s)
	}
	changes[0].NextHops, changes[7].NextHops = ecmp(4)[:1], ecmp6(9)
	b.apply(t, changes)
	b.wantLearned(t, b.expected(changes, "u0", "u1"))
	l, ok := b.fib.Lookup("public", addr("192.0.2.77"))
	if !ok || l.Prefix != prefix("192.0.2.0/24") || !slices.Equal(l.NextHops, ecmp(3)[:1]) {
		t.Errorf("192.0.2.77 is found at %v %v", l, ok)
	}
	b.apply(t, withdrawn(changes))
	b.wantLearned(t, nil)
	if n := b.objects(t); n != 0 {
		t.Errorf("%d next hops are left over", n)
	}
	b.wantRoutes(t, append(tap1Routes(), tap2Routes()...)...)
}

func bothFamilies(t *testing.T, b *bench) {
	changes := []vrf.Change{
		{Prefix: prefix("192.0.2.1/32"), NextHops: ecmp6(2)}, {Prefix: prefix("2001:db8::1/128"), NextHops: ecmp6(2)},
		{Prefix: prefix("192.0.2.2/32"), NextHops: ecmp6(2)[:1]},
		{Prefix: prefix("192.0.2.3/32"), NextHops: []vrf.NextHop{{Gateway: addr("fe80::2"), Uplink: "u0"}}},
	}
	b.apply(t, changes)
	b.wantLearned(t, b.expected(changes, "u0", "u1"))
}

func carrierLost(t *testing.T, b *bench) {
	changes := sample()
	b.apply(t, changes)
	for range 2 {
		b.SetCarrier("u0", false)
		b.repair(t)
		b.wantLearned(t, b.expected(changes, "u1"))
		b.SetCarrier("u0", true)
		b.repair(t)
		b.wantLearned(t, b.expected(changes, "u0", "u1"))
	}
}

func allCarriersLost(t *testing.T, b *bench) {
	changes := sample()
	b.apply(t, changes)
	b.SetCarrier("u0", false)
	b.SetCarrier("u1", false)
	b.repair(t)
	b.wantLearned(t, b.expected(changes))
	if s := b.fib.Stats("public"); s.Groups == 0 || s.Unreachable != s.Groups {
		t.Errorf("without any carrier stats are %+v", s)
	}
	changes[2].NextHops = ecmp(8) // what is learned meanwhile
	gone := changes[4]
	b.apply(t, append(changes[:4:4], vrf.Change{Prefix: gone.Prefix}))
	changes = slices.Delete(changes, 4, 5)
	b.wantLearned(t, b.expected(changes))
	b.SetCarrier("u1", true)
	b.repair(t)
	b.wantLearned(t, b.expected(changes, "u1"))
	b.SetCarrier("u0", true)
	b.repair(t)
	b.wantLearned(t, b.expected(changes, "u0", "u1"))
}

// planeLost: the carrier is there, but BFD says that nobody is. A route with
// no other way keeps the one it has.
func planeLost(t *testing.T, b *bench) {
	changes := sample()
	b.apply(t, changes)
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
	late := vrf.Change{Prefix: prefix("192.0.2.99/32"), NextHops: ecmp(4)[:1]} // ends a substitution
	b.apply(t, []vrf.Change{late})
	want[late.Prefix] = "100.64.1.4@u0"
	b.wantLearned(t, want)
	b.SetCarrier("u0", false)
	b.repair(t)
	b.wantLearned(t, b.expected(append(changes, late), "u1"))
	b.SetCarrier("u0", true)
	tell(true)
	b.wantLearned(t, b.expected(append(changes, late), "u0", "u1"))
}

func carrierMissing(t *testing.T, b *bench) {
	changes := sample()
	b.SetCarrier("u0", false)
	b.apply(t, changes)
	b.wantLearned(t, b.expected(changes, "u1"))
	b.SetCarrier("u0", true)
	b.repair(t)
	b.wantLearned(t, b.expected(changes, "u0", "u1"))
}

// uplinkMadeAnew: an uplink goes, and another one of its name and of another
// index comes.
func uplinkMadeAnew(t *testing.T, b *bench) {
	b.apply(t, sample())
	b.DeleteLink("u1")
	b.repair(t)
	b.wantLearned(t, b.expected(sample(), "u0"))
	b.AddLink("u1")
	b.repair(t) // it is not in its VRF yet, and down
	b.converge(t, sweeping())
	b.repair(t)
	b.wantLearned(t, b.expected(sample(), "u0", "u1"))
}

func restart(t *testing.T, b *bench) {
	changes := sample()
	b.apply(t, changes)
	counter := &counting{Dataplane: b.Target}
	b.fib = b.newFIBOver(counter)
	n, err := b.fib.Adopt(t.Context())
	if err != nil || n != len(changes) {
		t.Fatalf("adopted %d of %d: %v", n, len(changes), err)
	}
	b.apply(t, changes)
	if swept, err := b.fib.Sweep(t.Context(), "public"); err != nil || swept != 0 {
		t.Fatalf("swept %d: %v", swept, err)
	}
	b.repair(t)
	if counter.writes != 0 {
		t.Errorf("a restart wrote %d times", counter.writes)
	}
	b.wantLearned(t, b.expected(changes, "u0", "u1"))
	b.apply(t, withdrawn(changes))
	if n := b.objects(t); n != 0 {
		t.Errorf("%d next hops are left over", n)
	}
}

// sweep restarts after a substitution, so that not all can be adopted.
func sweep(t *testing.T, b *bench) {
	changes := sample()
	b.apply(t, changes)
	if err := b.fib.UplinkChanged(t.Context(), "u0", false); err != nil {
		t.Fatal(err)
	}
	b.fib = b.newFIB()
	if _, err := b.fib.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept := changes[:100]
	kept[5].NextHops = ecmp6(11)
	b.apply(t, kept)
	swept, err := b.fib.Sweep(t.Context(), "public")
	if err != nil || swept != len(changes)-len(kept) {
		t.Fatalf("swept %d: %v", swept, err)
	}
	b.wantLearned(t, b.expected(kept, "u0", "u1"))
	b.repair(t)
	b.wantLearned(t, b.expected(kept, "u0", "u1"))
	b.apply(t, withdrawn(kept))
	if n := b.objects(t); n != 0 {
		t.Errorf("%d next hops are left over", n)
	}
}

func refused(t *testing.T, b *bench) {
	good := vrf.Change{Prefix: prefix("192.0.2.1/32"), NextHops: ecmp(2)}
	for want, bad := range map[error]vrf.Change{
		vrf.ErrMixedVRF: {Prefix: prefix("192.0.2.2/32"), NextHops: []vrf.NextHop{ecmp(2)[0], {Gateway: addr("100.64.3.2"), Uplink: "w0"}}},
		vrf.ErrFamily:   {Prefix: prefix("2001:db8::2/128"), NextHops: ecmp(2)},
	} {
		if err := b.fib.Apply(t.Context(), "public", []vrf.Change{bad, good}); !errors.Is(err, want) {
			t.Errorf("%v: got %v, want %v", bad.Prefix, err, want)
		}
	}
	if err := b.fib.Apply(t.Context(), "nowhere", []vrf.Change{good}); !errors.Is(err, vrf.ErrUnknownVRF) {
		t.Errorf("an unknown VRF gives %v", err)
	}
	b.wantLearned(t, b.expected([]vrf.Change{good}, "u0", "u1"))
}

func routeTaken(t *testing.T, b *bench) {
	taken := vrf.Change{Prefix: prefix("192.0.2.1/32"), NextHops: ecmp(2)}
	taken6 := vrf.Change{Prefix: prefix("2001:db8::1/128"), NextHops: ecmp6(2)}
	good := vrf.Change{Prefix: prefix("192.0.2.2/32"), NextHops: ecmp(2)}
	for _, c := range []vrf.Change{taken, taken6} {
		b.AddForeignRoute(90, c.Prefix, vrf.MetricLearned)
	}
	had := b.Foreign()
	for range 2 { // the second finds it dirty
		if err := b.fib.Apply(t.Context(), "public", []vrf.Change{taken, taken6, good}); !errors.Is(err, vrf.ErrExists) {
			t.Fatalf("got %v, want %v", err, vrf.ErrExists)
		}
		b.wantForeign(t, had)
	}
	if err := b.fib.Repair(t.Context()); !errors.Is(err, vrf.ErrExists) {
		t.Fatalf("got %v, want %v", err, vrf.ErrExists)
	}
	b.wantLearned(t, b.expected([]vrf.Change{good}, "u0", "u1"))
	b.DeleteForeignRoute(90, taken.Prefix, vrf.MetricLearned)
	b.DeleteForeignRoute(90, taken6.Prefix, vrf.MetricLearned)
	b.repair(t)
	b.wantLearned(t, b.expected([]vrf.Change{taken, taken6, good}, "u0", "u1"))
}

// takenMeanwhile: what the kernel dropped is no longer ours to replace.
func takenMeanwhile(t *testing.T, b *bench) {
	if b.floored() {
		return // it drops nothing
	}
	c := vrf.Change{Prefix: prefix("192.0.2.1/32"), NextHops: ecmp(2)[1:]}
	b.apply(t, []vrf.Change{c})
	b.SetCarrier("u1", false)
	b.repair(t)
	b.AddForeignRoute(90, c.Prefix, vrf.MetricLearned)
	had := b.Foreign()
	c.NextHops = ecmp(3)
	if err := b.fib.Apply(t.Context(), "public", []vrf.Change{c}); !errors.Is(err, vrf.ErrExists) {
		t.Errorf("got %v, want %v", err, vrf.ErrExists)
	}
	b.wantForeign(t, had)
}

// verified: somebody deletes, changes and adds learned routes of ours.
func verified(t *testing.T, b *bench) {
	changes := sample()
	b.apply(t, changes)
	group := uint32(0)
	err := b.LearnedRoutes(t.Context(), 90, func(r vrf.LearnedRoute) {
		if r.Prefix == changes[4].Prefix {
			group = r.NextHopID
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	state, err := b.State(t.Context(), []string{"u0"})
	if err != nil {
		t.Fatal(err)
	}
	wrong := []vrf.Hop{{Gateway: addr("100.64.1.77"), Port: state.Ports["u0"].Index}}
	writes := []vrf.RouteWrite{
		{Prefix: changes[0].Prefix, Table: 90, Verb: vrf.Delete},
		{Prefix: changes[1].Prefix, Table: 90, Verb: vrf.Delete},
		{Prefix: changes[2].Prefix, Table: 90, Verb: vrf.Replace, Hops: wrong},
		{Prefix: prefix("192.0.2.250/32"), Table: 90, Verb: vrf.Add, NextHopID: group},
	}
	if b.Plain {
		writes[3].Hops = wrong
	}
	if err := b.WriteRoutes(t.Context(), writes, func(i int, err error) { t.Fatalf("%v: %v", writes[i], err) }); err != nil {
		t.Fatal(err)
	}
	if err := b.fib.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantLearned(t, b.expected(changes, "u0", "u1"))
}

func foreignNextHops(t *testing.T, b *bench) {
	if b.Plain {
		t.Skip("there are none")
	}
	b.AddForeignNextHop(7, addr("100.64.1.7"), "u0")
	b.AddForeignNextHop(201*10_000_000+90*100_000+1, addr("100.64.1.7"), "u0") // in our range
	had := b.Foreign()
	changes := sample()
	b.fib = b.newFIB()
	if _, err := b.fib.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.apply(t, changes)
	b.wantLearned(t, b.expected(changes, "u0", "u1"))
	b.apply(t, withdrawn(changes))
	if _, err := b.fib.Sweep(t.Context(), "public"); err != nil {
		t.Fatal(err)
	}
	b.wantForeign(t, had)
}
