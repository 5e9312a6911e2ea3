package vrf_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/fake"
)

// work is what the FIB asked of the kernel.
type work struct {
	states, dumps, batches, nextHops, routes int
}

// counted is a kernel that counts what it is asked.
type counted struct {
	*fake.Kernel
	work
}

func (c *counted) State(ctx context.Context, links []string) (vrf.State, error) {
	c.states++
	return c.Kernel.State(ctx, links)
}

func (c *counted) LearnedRoutes(ctx context.Context, table uint32, f func(vrf.LearnedRoute)) error {
	c.dumps++
	return c.Kernel.LearnedRoutes(ctx, table, f)
}

func (c *counted) WriteNextHops(ctx context.Context, ops []vrf.NextHopOp, failed func(int, error)) error {
	c.batches++
	c.nextHops += len(ops)
	return c.Kernel.WriteNextHops(ctx, ops, failed)
}

func (c *counted) WriteRoutes(ctx context.Context, writes []vrf.RouteWrite, failed func(int, error)) error {
	c.batches++
	c.routes += len(writes)
	return c.Kernel.WriteRoutes(ctx, writes, failed)
}

const (
	fewRoutes, manyRoutes = 1_000, 50_000
	hypervisors           = 100
)

// TestPlaneLossWork: the work at the loss of a plane does not grow with the
// routes. What is asked of the kernel, and what is allocated, is the same for a
// thousand routes as for fifty thousand, and not one route is looked at.
func TestPlaneLossWork(t *testing.T) {
	for _, planes := range []int{2, 4} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d planes/IPv6=%t", planes, v6), func(t *testing.T) {
				few, many := newPlanes(t, planes, v6, fewRoutes), newPlanes(t, planes, v6, manyRoutes)
				for _, c := range []struct {
					what string
					want work
				}{
					{"told lost", work{states: 1, batches: 1, nextHops: hypervisors}},
					{"told back", work{states: 1, batches: 1, nextHops: hypervisors}},
					{"carrier lost", work{states: 1}}, // the kernel itself shrinks the groups
					{"carrier back", work{states: 1, batches: 2, nextHops: 2 * hypervisors}},
				} {
					w1, allocated1 := few.measure(c.what)
					w2, allocated2 := many.measure(c.what)
					if w1 != c.want || w2 != c.want {
						t.Errorf("%s: %d routes cost %+v, %d cost %+v, want %+v", c.what, fewRoutes, w1, manyRoutes, w2, c.want)
					}
					// Maps grow a little earlier or later, as their seed has it.
					if allocated2 > allocated1+allocated1/4 {
						t.Errorf("%s: %d routes allocate %d objects, %d allocate %d", c.what, fewRoutes, allocated1, manyRoutes, allocated2)
					}
				}
			})
		}
	}
}

type planes struct {
	t    *testing.T
	k    *counted
	fib  *vrf.FIB
	sets [][]vrf.NextHop
}

// newPlanes has that many routes, spread over the hypervisors, in a FIB that
// must not look at them any more.
func newPlanes(t *testing.T, n int, v6 bool, routes int) *planes {
	p := &planes{t: t, k: &counted{Kernel: fake.New()}, sets: make([][]vrf.NextHop, hypervisors)}
	var uplinks []vrf.Uplink
	for plane := range n {
		name := fmt.Sprintf("u%d", plane)
		p.k.AddLink(name)
		p.k.SetUp(name, true)
		uplinks = append(uplinks, vrf.Uplink{Name: name, VRF: "public"})
		for h := range p.sets {
			p.sets[h] = append(p.sets[h], vrf.NextHop{Gateway: hostAddr(v6, 100<<24|uint32(plane)<<16|uint32(h+1)), Uplink: name})
		}
	}
	p.fib = vrf.NewFIB(p.k, []vrf.VRF{{Name: "public", Table: 90, NoDevice: true}}, uplinks)
	if _, err := p.fib.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	changes := make([]vrf.Change, routes)
	for i := range changes {
		a := hostAddr(v6, 10<<24|uint32(i))
		changes[i] = vrf.Change{Prefix: netip.PrefixFrom(a, a.BitLen()), NextHops: p.sets[i%hypervisors]}
	}
	if err := p.fib.Apply(t.Context(), "public", changes); err != nil {
		t.Fatal(err)
	}
	p.fib.PoisonRoutes("public")
	return p
}

// hostAddr is an address that ends in n.
func hostAddr(v6 bool, n uint32) netip.Addr {
	a := [16]byte{0x20, 1, 0xd, 0xb8}
	binary.BigEndian.PutUint32(a[12:], n)
	if v6 {
		return netip.AddrFrom16(a)
	}
	return netip.AddrFrom4([4]byte(a[12:]))
}

// measure does one thing to the first plane and gives what it cost. What the
// fake does at the carrier's loss is not part of it.
func (p *planes) measure(what string) (work, uint64) {
	p.t.Helper()
	do := func() error { return p.fib.Repair(p.t.Context()) }
	switch what {
	case "told lost", "told back":
		do = func() error { return p.fib.UplinkChanged(p.t.Context(), "u0", what == "told back") }
	default:
		p.k.SetCarrier("u0", what == "carrier back")
	}
	p.k.work = work{}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := do()
	runtime.ReadMemStats(&after)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.k.work, after.Mallocs - before.Mallocs
}
