package kernel

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// TestDamagedGuestRoutes: what a notice names is written again without reading the
// tables, and what somebody else put there stays.
func TestDamagedGuestRoutes(t *testing.T) {
	testenv.RequireRoot(t)
	k := newWatchedTarget(t)
	mend := func(routes int, links ...string) error {
		t.Helper()
		var damaged []Route
		testenv.Eventually(t, "notices of all damage", func() bool {
			k.log.mu.Lock()
			defer k.log.mu.Unlock()
			damaged = nil
			for _, n := range k.log.list {
				damaged = append(damaged, n.Routes...)
			}
			return len(damaged) >= routes
		})
		k.log.clear()
		k.Forget(damaged)
		_, err := k.Apply(t.Context(), k.host, vrf.Options{Sweep: true, Links: append([]string{}, links...)})
		return err
	}
	k.ip("route", "del", "203.0.113.7/32", "table", "90")
	k.ip("-6", "route", "del", "2001:db8::7/128", "table", "90")
	must(t, mend(2, "tap0"))
	wantNothingLeft(t, k.target, k.host)

	k.ip("route", "del", "unreachable", "default", "table", "90", "metric", "4278198272")
	k.ip("-6", "route", "del", "unreachable", "default", "table", "1000", "metric", "4278198272")
	must(t, mend(2)) // no link has anything to do with it
	wantNothingLeft(t, k.target, k.host)

	taken := netip.MustParsePrefix("203.0.113.7/32")
	k.AddForeignRoute(90, taken, vrf.MetricGuest)
	had := k.Foreign()
	for range 2 {
		if err := mend(1, "tap0"); !errors.Is(err, vrf.ErrExists) {
			t.Errorf("got %v, want %v", err, vrf.ErrExists)
		}
		if got := k.Foreign(); !slices.Equal(got, had) {
			t.Fatalf("what is somebody else's changed: have %q, had %q", got, had)
		}
		k.log.add(Notice{Routes: []Route{{Table: 90, Prefix: taken, Metric: vrf.MetricGuest}}}) // told again
	}
	k.DeleteForeignRoute(90, taken, vrf.MetricGuest)
	must(t, mend(1, "tap0"))
	wantNothingLeft(t, k.target, k.host)
}

// TestFlushedTable: another process flushes a table with learned and guests' routes,
// and all of them, and only these, are back after what the notices ask for.
func TestFlushedTable(t *testing.T) {
	testenv.RequireRoot(t)
	k := newWatchedTarget(t)
	fib := NewFIB(Options{NetNS: k.Kernel.ns}, k.host.VRFs, k.host.Uplinks)
	defer fib.Close()
	must(t, fib.Apply(t.Context(), "public", learnedOn(0)))
	k.ip("route", "add", "blackhole", "192.0.2.0/24", "table", "90", "proto", "99")
	show := func() string { return k.batch("route show table 90") }
	before := show()
	for _, command := range []string{"-4 route flush table 90 proto 201", "-6 route flush table 90 proto 201"} {
		k.ip(strings.Fields(command)...)
	}
	testenv.Eventually(t, "everything back", func() bool {
		k.log.mu.Lock()
		list := k.log.list
		k.log.list = nil
		k.log.mu.Unlock()
		for _, n := range list {
			k.Forget(n.Routes)
			var learned []netip.Prefix
			for _, r := range n.Routes {
				if r.Metric == vrf.MetricLearned {
					learned = append(learned, r.Prefix)
				}
			}
			must(t, fib.Lost(t.Context(), "public", learned))
			_, err := k.Apply(t.Context(), k.host, vrf.Options{Links: []string{"tap0"}})
			must(t, err)
		}
		return show() == before
	})
}

// TestVerifyGivesWay: the change of an uplink doesn't wait for all routes to be
// read, and the sockets are good afterwards.
func TestVerifyGivesWay(t *testing.T) {
	testenv.RequireRoot(t)
	k := newWatchedTarget(t)
	fib := NewFIB(Options{NetNS: k.Kernel.ns}, k.host.VRFs, k.host.Uplinks)
	defer fib.Close()
	must(t, fib.Apply(t.Context(), "public", learnedOn(0)))
	fib.mu.Lock() // so that it is seen to be under way
	verified, changed := make(chan error, 1), make(chan error, 1)
	go func() { verified <- fib.Verify(t.Context()) }()
	underWay := func() bool {
		fib.verifying.Lock()
		defer fib.verifying.Unlock()
		return fib.verifying.stop != nil
	}
	testenv.Eventually(t, "a verification", underWay)
	ctx, stopped := context.WithCancel(t.Context())
	fib.verifying.Lock()
	stop := fib.verifying.stop
	fib.verifying.stop = func(why error) { stop(why); stopped() }
	fib.verifying.Unlock()
	go func() { changed <- fib.UplinkChanged(t.Context(), "u0", true) }()
	<-ctx.Done()
	fib.mu.Unlock()
	if err := <-verified; !errors.Is(err, ErrInterrupted) {
		t.Errorf("Verify gives %v, want %v", err, ErrInterrupted)
	}
	must(t, <-changed)
	must(t, fib.Verify(t.Context()))
	if underWay() {
		t.Error("a verification that is over can be interrupted")
	}
}

// TestVerifyGivesWayToManyChanges of IPv6 routes, of which the kernel reads slowly while
// they are written, and not of IPv4.
func TestVerifyGivesWayToManyChanges(t *testing.T) {
	fib := NewFIB(Options{}, nil, nil)
	changes := func(n int, address string) []vrf.Change {
		return slices.Repeat([]vrf.Change{{Prefix: netip.PrefixFrom(netip.MustParseAddr(address), 24)}}, n)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	fib.besideVerify(changes(busy+1, "2001:db8::"))
	fib.setVerifying(stop)
	fib.besideVerify(changes(busy+1, "192.0.2.0"))
	fib.besideVerify(changes(busy, "2001:db8::"))
	if ctx.Err() != nil {
		t.Fatal("few changes of IPv6 end it, or many of IPv4, or those before")
	}
	fib.besideVerify(changes(1, "2001:db8::"))
	if got := context.Cause(ctx); got != ErrBusy {
		t.Errorf("it ends for %v, want %v", got, ErrBusy)
	}
}

// TestAnAbandonedDump: what wasn't read of a table doesn't disturb what comes after.
func TestAnAbandonedDump(t *testing.T) {
	testenv.RequireRoot(t)
	k := newWatchedTarget(t)
	fib := vrf.NewFIB(k.dataplane, k.host.VRFs, k.host.Uplinks)
	changes := learnedOn(0)
	for i := range 4000 { // more than one answer has
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
		changes = append(changes, vrf.Change{Prefix: p, NextHops: changes[0].NextHops})
	}
	must(t, fib.Apply(t.Context(), "public", changes))
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := k.LearnedRoutes(ctx, 90, func(vrf.LearnedRoute) { n++; cancel() })
	if !errors.Is(err, context.Canceled) || n == 0 || n >= len(changes) {
		t.Errorf("read %d of %d routes: %v", n, len(changes), err)
	}
	n = 0
	must(t, k.LearnedRoutes(t.Context(), 90, func(vrf.LearnedRoute) { n++ }))
	if n != len(changes) {
		t.Errorf("read %d of %d routes", n, len(changes))
	}
	must(t, fib.Verify(t.Context()))
}
