package vrf_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/fake"
)

// refusing is a kernel that refuses some next hops.
type refusing struct {
	*fake.Kernel
	refuse func(vrf.NextHopOp) error
}

func (k *refusing) WriteNextHops(ctx context.Context, ops []vrf.NextHopOp, failed func(int, error)) error {
	for i, op := range ops {
		if err := k.refuse(op); err != nil {
			failed(i, err)
		} else if err := k.Kernel.WriteNextHops(ctx, ops[i:i+1], func(_ int, err error) { failed(i, err) }); err != nil {
			return err
		}
	}
	return nil
}

// TestNextHopsThatWereRefused: when the kernel refused a next hop or group for
// a while, the route comes into the kernel as soon as it is offered again, or
// by Repair; whatever happened to links meanwhile.
func TestNextHopsThatWereRefused(t *testing.T) {
	full := errors.New("no buffer space")
	group := func(op vrf.NextHopOp) bool { return len(op.Object.Group) > 0 }
	member := func(op vrf.NextHopOp) bool { return len(op.Object.Group) == 0 }
	bounce := func(k *fake.Kernel) { k.SetCarrier("u0", false); k.SetCarrier("u0", true) }
	for _, c := range []struct {
		what      string
		refused   func(vrf.NextHopOp) bool
		meanwhile func(*fake.Kernel)
		repair    bool // instead of offering the route again
	}{
		{"a group, offered again", group, nil, false},
		{"a member, offered again", member, nil, false},
		{"a group, repaired", group, nil, true},
		{"a member, repaired", member, nil, true},
		{"a group and a bounce, repaired", group, bounce, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			k := &refusing{Kernel: fake.New()}
			k.AddLink("u0")
			k.SetUp("u0", true)
			fib := vrf.NewFIB(k, []vrf.VRF{{Name: "public", Table: 90, NoDevice: true}}, []vrf.Uplink{{Name: "u0", VRF: "public"}})
			if _, err := fib.Adopt(t.Context()); err != nil {
				t.Fatal(err)
			}
			k.refuse = func(op vrf.NextHopOp) error {
				if c.refused(op) && !op.Delete {
					return full
				}
				return nil
			}
			changes := []vrf.Change{{Prefix: netip.MustParsePrefix("192.0.2.1/32"), NextHops: []vrf.NextHop{{Gateway: netip.MustParseAddr("100.64.0.1"), Uplink: "u0"}}}}
			for range 2 {
				if err := fib.Apply(t.Context(), "public", changes); !errors.Is(err, full) {
					t.Fatalf("got %v, want %v", err, full)
				}
			}
			if err := fib.Repair(t.Context()); !errors.Is(err, full) {
				t.Fatalf("Repair gives %v, want %v", err, full)
			}
			if fib.Stats("public").Dirty != 1 {
				t.Errorf("a route without next hops is not counted: %+v", fib.Stats("public"))
			}
			if c.meanwhile != nil {
				c.meanwhile(k.Kernel)
			}
			k.refuse = func(vrf.NextHopOp) error { return nil }
			again := func() error { return fib.Apply(t.Context(), "public", changes) }
			if c.repair {
				again = func() error { return fib.Repair(t.Context()) }
			}
			if err := again(); err != nil {
				t.Fatal(err)
			}
			found := 0
			_ = k.LearnedRoutes(t.Context(), 90, func(vrf.LearnedRoute) { found++ })
			if found != 1 || fib.Stats("public").Dirty != 0 {
				t.Errorf("%d routes in the kernel, want 1; %+v", found, fib.Stats("public"))
			}
		})
	}
}
