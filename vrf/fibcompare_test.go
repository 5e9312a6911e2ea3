package vrf_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/fake"
)

// TestVerifyInTurns lets the FIB learn and withdraw, and others do damage, between
// the turns of a comparison and while it reads a dump that is old and lacks some.
// What was damaged before is mended, nothing that is right is written over, nothing
// that is applied meanwhile is undone, and nothing is reported. What is damaged
// meanwhile is mended by the next.
func TestVerifyInTurns(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		c := newCompared(r)
		for range rapid.IntRange(1, 3).Draw(r, "rounds") {
			for range rapid.IntRange(0, 6).Draw(r, "before") {
				c.act("before")
			}
			c.damaged = map[netip.Prefix]bool{}
			c.verify()
			for _, p := range c.pool {
				if got := c.at(p); got != c.want[p] && !c.damaged[p] {
					r.Fatalf("after Verify %s goes to %q, want %q", p, got, c.want[p])
				}
			}
		}
		c.quiet = true
		c.verify()
		for _, p := range c.pool {
			if got := c.at(p); got != c.want[p] {
				r.Fatalf("after a quiet Verify %s goes to %q, want %q", p, got, c.want[p])
			}
		}
		if s := c.fib.Stats("public"); s.Dirty != 0 {
			r.Fatalf("%+v", s)
		}
	})
}

// compared is a kernel whose dumps are old, and lack routes the first time.
type compared struct {
	*fake.Kernel
	r       *rapid.T
	fib     *vrf.FIB
	pool    []netip.Prefix
	want    map[netip.Prefix]string // gateways
	damaged map[netip.Prefix]bool   // during this Verify
	dumps   int                     // of this Verify
	step    bool                    // Verify has the FIB
	quiet   bool
}

func newCompared(r *rapid.T) *compared {
	c := &compared{Kernel: fake.New(), r: r, want: map[netip.Prefix]string{}, damaged: map[netip.Prefix]bool{}}
	c.AddLink("u0")
	c.SetUp("u0", true)
	c.fib = vrf.NewFIB(c, []vrf.VRF{{Name: "public", Table: 90, NoDevice: true}}, []vrf.Uplink{{Name: "u0", VRF: "public"}})
	for i := range uint32(8) {
		for _, v6 := range []bool{false, true} {
			a := hostAddr(v6, 10<<24|i)
			c.pool = append(c.pool, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	for range rapid.IntRange(0, 20).Draw(r, "learned") {
		c.learn()
	}
	return c
}

func (c *compared) act(when string) {
	switch rapid.IntRange(0, 3).Draw(c.r, when) {
	case 0:
		c.damage()
	case 1:
		c.withdraw()
	default:
		c.learn()
	}
}

func (c *compared) prefix() netip.Prefix { return rapid.SampledFrom(c.pool).Draw(c.r, "prefix") }

func (c *compared) learn() {
	p := c.prefix()
	gateway := fmt.Sprintf("fe80::%d", rapid.IntRange(1, 3).Draw(c.r, "gateway"))
	c.want[p] = gateway
	c.apply(vrf.Change{Prefix: p, NextHops: []vrf.NextHop{{Gateway: netip.MustParseAddr(gateway), Uplink: "u0"}}})
}

func (c *compared) withdraw() {
	p := c.prefix()
	delete(c.want, p)
	c.apply(vrf.Change{Prefix: p})
}

func (c *compared) apply(change vrf.Change) {
	if err := c.fib.Apply(c.r.Context(), "public", []vrf.Change{change}); err != nil {
		c.r.Fatalf("applying %v: %v", change, err)
	}
}

// damage deletes a route of ours, or has one that nobody learned.
func (c *compared) damage() {
	w := vrf.RouteWrite{Prefix: c.prefix(), Table: 90, Verb: vrf.Delete}
	if rapid.Bool().Draw(c.r, "wrong") {
		state, _ := c.State(c.r.Context(), []string{"u0"})
		w.Verb, w.Hops = vrf.Replace, []vrf.Hop{{Gateway: netip.MustParseAddr("fe80::bad"), Port: state.Ports["u0"].Index}}
	}
	c.damaged[w.Prefix] = true
	_ = c.Kernel.WriteRoutes(c.r.Context(), []vrf.RouteWrite{w}, func(_ int, err error) { c.r.Fatalf("damaging %v: %v", w, err) })
}

func (c *compared) verify() {
	c.dumps = 0
	err := c.fib.VerifyInTurns(c.r.Context(), func(step func()) {
		c.step = true
		step()
		c.step = false
	})
	if err != nil {
		c.r.Fatalf("Verify gives %v", err)
	}
}

// LearnedRoutes is old: others act while it is read.
func (c *compared) LearnedRoutes(ctx context.Context, table uint32, f func(vrf.LearnedRoute)) error {
	c.dumps++
	var list []vrf.LearnedRoute
	if err := c.Kernel.LearnedRoutes(ctx, table, func(r vrf.LearnedRoute) { list = append(list, r) }); err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b vrf.LearnedRoute) int { return a.Prefix.Compare(b.Prefix) })
	for _, r := range list {
		if !c.quiet && rapid.IntRange(0, 3).Draw(c.r, "between") == 0 {
			c.act("during")
		}
		// One that nobody learned, and that the dump lacks, is for the next.
		if c.quiet || c.dumps > 1 || c.want[r.Prefix] == "" || rapid.IntRange(0, 3).Draw(c.r, "lacks") > 0 {
			f(r)
		}
	}
	return nil
}

// WriteRoutes fails the test where Verify writes over what is right.
func (c *compared) WriteRoutes(ctx context.Context, writes []vrf.RouteWrite, failed func(int, error)) error {
	if c.step {
		for _, w := range writes {
			if at := c.at(w.Prefix); w.Verb != vrf.Add && at != "" && at == c.want[w.Prefix] {
				c.r.Fatalf("Verify writes over %s, which goes to %s, as it must", w.Prefix, at)
			}
		}
	}
	return c.Kernel.WriteRoutes(ctx, writes, failed)
}

// at gives the gateway of a route, empty if there is none.
func (c *compared) at(p netip.Prefix) (gateway string) {
	state, _ := c.State(c.r.Context(), nil)
	objects := map[uint32]vrf.NextHopObject{}
	for _, o := range state.NextHops {
		objects[o.ID] = o
	}
	_ = c.Kernel.LearnedRoutes(context.Background(), 90, func(r vrf.LearnedRoute) {
		switch {
		case r.Prefix != p:
		case r.NextHopID == 0:
			gateway = "somebody else's"
		default:
			gateway = objects[objects[r.NextHopID].Group[0]].Hop.Gateway.String()
		}
	})
	return gateway
}

// TestVerifyBesideOthers: where somebody else's route stands it is reported, stays,
// and isn't looked for twice each time.
func TestVerifyBesideOthers(t *testing.T) {
	k := &counted{Kernel: fake.New()}
	k.AddLink("u0")
	k.SetUp("u0", true)
	fib := vrf.NewFIB(k, []vrf.VRF{{Name: "public", Table: 90, NoDevice: true}}, []vrf.Uplink{{Name: "u0", VRF: "public"}})
	p := netip.MustParsePrefix("192.0.2.1/32")
	hops := []vrf.NextHop{{Gateway: netip.MustParseAddr("100.64.0.1"), Uplink: "u0"}}
	if err := fib.Apply(t.Context(), "public", []vrf.Change{{Prefix: p, NextHops: hops}}); err != nil {
		t.Fatal(err)
	}
	k.AddForeignRoute(90, p, vrf.MetricLearned)
	for _, dumps := range []int{2, 1, 1} {
		k.work = work{}
		if err := fib.Verify(t.Context()); !errors.Is(err, vrf.ErrExists) {
			t.Errorf("got %v, want %v", err, vrf.ErrExists)
		}
		if k.dumps != dumps || len(k.Foreign()) != 1 {
			t.Errorf("%d dumps, want %d; others have %q", k.dumps, dumps, k.Foreign())
		}
	}
	k.DeleteForeignRoute(90, p, vrf.MetricLearned)
	if err := fib.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	if s := fib.Stats("public"); s.Dirty != 0 || s.IPv4 != 1 {
		t.Errorf("%+v", s)
	}
}
