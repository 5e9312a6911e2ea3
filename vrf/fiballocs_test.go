package vrf

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
)

// idlePlane takes everything.
type idlePlane struct{ writes int }

func (*idlePlane) State(context.Context, []string) (State, error) {
	return State{Ports: map[string]Port{"up-a": {Index: 1, Running: true}, "up-b": {Index: 2, Running: true}}, Objects: true}, nil
}
func (*idlePlane) LearnedRoutes(context.Context, uint32, func(LearnedRoute)) error { return nil }
func (*idlePlane) WriteNextHops(context.Context, []NextHopOp, func(int, error)) error {
	return nil
}
func (p *idlePlane) WriteRoutes(_ context.Context, w []RouteWrite, _ func(int, error)) error {
	p.writes += len(w)
	return nil
}

// TestABatchOfRoutesAllocatesAsOne guards the writer of millions of routes: what a
// batch allocates doesn't grow with its routes.
func TestABatchOfRoutesAllocatesAsOne(t *testing.T) {
	plane := &idlePlane{}
	fib := NewFIB(plane, []VRF{{Name: "public", Table: 90, NoDevice: true}}, []Uplink{{Name: "up-a", VRF: "public"}, {Name: "up-b", VRF: "public"}})
	var sets [2][]NextHop
	for i := range sets {
		for _, plane := range []string{"a", "b"} {
			sets[i] = append(sets[i], NextHop{Gateway: netip.MustParseAddr(fmt.Sprintf("100.64.0.%d", i+1)), Uplink: "up-" + plane})
		}
	}
	batch := func(n, set int) []Change {
		changes := make([]Change, n)
		for i := range changes {
			changes[i] = Change{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32), sets[set]}
		}
		return changes
	}
	allocations := func(n int) float64 {
		there, back := batch(n, 0), batch(n, 1)
		flip := false
		return testing.AllocsPerRun(20, func() {
			changes := there
			if flip = !flip; flip {
				changes = back
			}
			if err := fib.Apply(t.Context(), "public", changes); err != nil {
				t.Fatal(err)
			}
		})
	}
	if err := fib.Apply(t.Context(), "public", append(batch(1024, 0), Change{netip.MustParsePrefix("10.1.0.0/32"), sets[1]})); err != nil {
		t.Fatal(err)
	}
	few, many := allocations(16), allocations(256)
	if many > few {
		t.Errorf("a batch of 16 routes allocates %v times, one of 256 %v times", few, many)
	}
	if plane.writes < 20*256 {
		t.Errorf("%d routes were written", plane.writes)
	}
}
