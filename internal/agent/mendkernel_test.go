package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/kernel"
)

type deafSessions struct{}

func (deafSessions) UplinkChanged(string, bool) {}

// realbed is the tasks that keep routes in the kernel, in a namespace without VRF
// devices, whose tables work all the same: a guest on tap1 and learned routes.
type realbed struct {
	*testbed
	ns  *testenv.Netns
	fib *kernel.FIB
}

func newRealbed(t *testing.T) *realbed {
	b := &realbed{testbed: newTestbed(t), ns: testenv.NewNetns(t)}
	o := kernel.Options{NetNS: b.ns.FD()}
	peer := testenv.NewNetns(t)
	for _, name := range []string{"tap1", "u0", "u1"} {
		testenv.Veth(b.ns, name, peer, name)
	}
	real := kernel.New(o)
	b.fixed.VRFs[0].NoDevice = true
	b.fixed.Uplinks = []vrf.Uplink{
		{Name: "u0", VRF: "public", Addresses: []netip.Prefix{netip.MustParsePrefix("100.64.1.1/24"), netip.MustParsePrefix("fd64:1::1/64")}},
		{Name: "u1", VRF: "public", Addresses: []netip.Prefix{netip.MustParsePrefix("100.64.2.1/24"), netip.MustParsePrefix("fd64:2::1/64")}},
	}
	b.applier.kernel = real
	b.fib = kernel.NewFIB(o, b.fixed.VRFs, b.fixed.Uplinks)
	if _, err := b.applier.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	watch := &linkWatch{
		uplinks: []string{"u0", "u1"}, up: map[string]bool{"u0": true, "u1": true}, lost: map[string]bool{},
		fib: b.fib, sessions: deafSessions{}, changed: b.Notice, failed: make(chan struct{}, 1), log: slog.New(slog.DiscardHandler),
		running: func(string) (bool, error) { return true, nil },
		watch:   func(ctx context.Context, f func(kernel.Notice)) error { return kernel.Watch(ctx, o, []uint32{90}, f) },
	}
	mender := newMender(b.fixed.VRFs, b.fib, b.Notice, watch.problem, watch.log)
	watched := make(chan struct{}, 1)
	watch.routes = func(n kernel.Notice) {
		if n.Resync {
			watched <- struct{}{}
		}
		mender.Notice(n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{b.applier.Run, watch.Run, mender.Run} {
		group.Go(func() error { return run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		for _, err := range []error{group.Wait(), b.fib.Close(), real.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	<-watched
	return b
}

// learn has routes learned in both families, over both uplinks.
func (b *realbed) learn(t *testing.T, n int) {
	t.Helper()
	hops := func(format string) (list []vrf.NextHop) {
		for i := range 2 {
			list = append(list, vrf.NextHop{Gateway: netip.MustParseAddr(fmt.Sprintf(format, i+1)), Uplink: fmt.Sprintf("u%d", i)})
		}
		return list
	}
	hops4, hops6 := hops("100.64.%d.2"), hops("fd64:%d::2")
	var changes []vrf.Change
	for i := range n {
		a4 := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		a6 := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
		changes = append(changes, vrf.Change{Prefix: netip.PrefixFrom(a4, 32), NextHops: hops4}, vrf.Change{Prefix: netip.PrefixFrom(a6, 128), NextHops: hops6})
	}
	if err := b.fib.Apply(t.Context(), "public", changes); err != nil {
		t.Fatal(err)
	}
}

// table is the VRF's table as ip(8) shows it.
func (b *realbed) table() string {
	return b.ns.Run("ip", "-4", "route", "show", "table", "90") + b.ns.Run("ip", "-6", "route", "show", "table", "90")
}

// TestRoutesComeBack: whatever another process does to routes of ours is undone, by
// what the kernel tells, since the comparison of everything comes later than this
// waits; and what others have in our table stays.
func TestRoutesComeBack(t *testing.T) {
	b := newRealbed(t)
	b.ns.IP("route add blackhole 198.18.5.0/24 table 90 proto static")
	b.learn(t, 50)
	want := b.table()
	for _, c := range []struct {
		what     string
		commands []string
	}{
		{"a guest's route", []string{"route del 203.0.113.10/32 table 90"}},
		{"the last resorts", []string{"route del unreachable default table 90 metric 4278198272", "-6 route del unreachable default table 90 metric 4278198272"}},
		{"learned routes", []string{"route del 10.0.0.1/32 table 90", "-6 route del 2001:db8::1/128 table 90"}},
		{"changed ones", []string{"route change 10.0.0.2/32 via 100.64.1.9 dev u0 table 90 metric 200 proto 201", "-6 route change 2001:db8::2/128 via fd64:1::9 dev u0 table 90 metric 200 proto 201"}},
		{"all of ours", []string{"route flush table 90 proto 201", "-6 route flush table 90 proto 201"}},
	} {
		for _, command := range c.commands {
			b.ns.Run("ip", strings.Fields(command)...)
		}
		testenv.Eventually(t, c.what+" back", func() bool { return b.table() == want })
	}
}

// TestATakenPlaceIsTakenBackWhenItIsFree: a route that replaced ours is somebody
// else's. It stays, and ours comes back when it goes.
func TestATakenPlaceIsTakenBackWhenItIsFree(t *testing.T) {
	b := newRealbed(t)
	b.learn(t, 3)
	want := b.table()
	for _, c := range []struct{ family, prefix, metric string }{
		{"-4", "203.0.113.10/32", "100"}, {"-4", "10.0.0.1/32", "200"}, {"-6", "2001:db8::1/128", "200"},
	} {
		theirs := []string{c.family, "route", "replace", "unreachable", c.prefix, "table", "90", "metric", c.metric, "proto", "99"}
		b.ns.Run("ip", theirs...)
		testenv.Eventually(t, "a complaint about "+c.prefix, func() bool {
			if c.metric == "100" {
				return strings.Contains(strings.Join(b.snapshot().errs, "\n"), c.prefix)
			}
			return b.fib.Stats("public").Dirty > 0
		})
		if out := b.ns.Run("ip", c.family, "route", "show", c.prefix, "table", "90"); !strings.Contains(out, "unreachable") || strings.Contains(out, "201") {
			t.Errorf("%s is %q", c.prefix, out)
		}
		theirs[2] = "del"
		b.ns.Run("ip", theirs...)
		testenv.Eventually(t, c.prefix+" back", func() bool { return b.table() == want })
	}
}

// TestManyRoutesComeBack: more are flushed than are named.
func TestManyRoutesComeBack(t *testing.T) {
	b := newRealbed(t)
	b.learn(t, 3*maxNamed)
	want := b.table()
	b.ns.Run("ip", "route", "flush", "table", "90", "proto", "201")
	b.ns.Run("ip", "-6", "route", "flush", "table", "90", "proto", "201")
	testenv.Eventually(t, "all back", func() bool { return b.table() == want })
}
