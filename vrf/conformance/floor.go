package conformance

import (
	"testing"

	"github.com/hostroute/hostroute/vrf"
)

// floored tells that shared groups stand on a floor.
func (b *bench) floored() bool { return (b.VRF || b.Floor != "") && !b.Plain }

// floorLink is where they stand.
func (b *bench) floorLink() string {
	if b.Floor != "" {
		return b.Floor
	}
	return "public"
}

// floors finds the groups that stand on one, and those that should and don't.
func (b *bench) floors(t *testing.T) (on, off int) {
	t.Helper()
	state, err := b.State(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	dead := map[uint32]bool{}
	for _, o := range state.NextHops {
		dead[o.ID] = o.Dead && vrf.IsFloor(o.ID)
	}
	for _, o := range state.NextHops {
		switch last := len(o.Group) - 1; {
		case last < 0 || o.Resilience.Buckets > 0:
		case dead[o.Group[last]] && o.Weights[last] == 1 && (last == 0 || o.Weights[0] == 255):
			on++
		default:
			off++
		}
	}
	return on, off
}

func (b *bench) wantFloors(t *testing.T) {
	t.Helper()
	if b.Plain {
		return
	}
	if on, off := b.floors(t); b.floored() != (on > 0) || b.floored() != (off == 0) {
		t.Fatalf("%d groups stand on a floor, %d don't", on, off)
	}
}

// floorDamaged: somebody deletes the neighbour entry, the next hops, or the link.
func floorDamaged(t *testing.T, b *bench) {
	changes := sample()
	b.apply(t, changes)
	b.wantFloors(t)
	if !b.floored() {
		return
	}
	for what, damage := range map[string]func(){
		"the neighbour entry": func() { b.DeleteNeighbour(b.floorLink(), addr("192.0.0.8")) },
		"its IPv6 neighbour":  func() { b.DeleteNeighbour(b.floorLink(), addr("100::1")) },
		"the next hop": func() {
			b.hops(t, vrf.NextHopOp{Object: vrf.NextHopObject{ID: b.floorID(t)}, Delete: true})
		},
		"the link, down and up": func() { b.SetUp(b.floorLink(), false); b.SetUp(b.floorLink(), true) },
	} {
		damage()
		b.repair(t)
		b.wantFloors(t)
		b.wantLearned(t, b.expected(changes, "u0", "u1"))
		if t.Failed() {
			t.Fatalf("after somebody took %s away", what)
		}
	}
	// Without the link groups are what they were before there were floors.
	b.SetUp(b.floorLink(), false)
	b.repair(t)
	b.wantLearned(t, b.expected(changes, "u0", "u1"))
	b.SetUp(b.floorLink(), true)
	b.repair(t)
	b.wantFloors(t)
}

func (b *bench) floorID(t *testing.T) uint32 {
	t.Helper()
	state, err := b.State(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range state.NextHops {
		if vrf.IsFloor(o.ID) {
			return o.ID
		}
	}
	t.Fatal("there is no floor")
	return 0
}

// floorAfterRestart: the links come back while nobody is there, or only after a new
// process has learned the routes again.
func floorAfterRestart(t *testing.T, b *bench) {
	changes := sample()
	for _, carriers := range []bool{true, false} {
		b.apply(t, changes)
		b.SetCarrier("u0", false)
		b.SetCarrier("u1", false)
		b.repair(t)
		b.wantLearned(t, b.expected(changes))
		b.SetCarrier("u0", carriers)
		b.SetCarrier("u1", carriers)
		b.fib = b.newFIB()
		if _, err := b.fib.Adopt(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.apply(t, changes)
		if _, err := b.fib.Sweep(t.Context(), "public"); err != nil {
			t.Fatal(err)
		}
		b.SetCarrier("u0", true)
		b.SetCarrier("u1", true)
		b.repair(t)
		b.wantLearned(t, b.expected(changes, "u0", "u1"))
		b.wantFloors(t)
	}
	b.apply(t, withdrawn(changes))
	if n := b.objects(t); n != 0 {
		t.Errorf("%d next hops are left over", n)
	}
}
