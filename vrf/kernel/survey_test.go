package kernel

import (
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// TestSharedReading: what nobody told of the apply loop's routes is found by the
// FIB's reading, without which nothing is read, and what Kernel does meanwhile counts
// for more than what that reading saw.
func TestSharedReading(t *testing.T) {
	testenv.RequireRoot(t)
	k := newWatchedTarget(t)
	fib := NewFIB(Options{NetNS: k.Kernel.ns}, k.host.VRFs, k.host.Uplinks)
	defer fib.Close()
	var corrected atomic.Int32
	fib.Share(k.Kernel, func() { corrected.Add(1) })
	must(t, fib.Apply(t.Context(), "public", learnedOn(0)))
	must(t, fib.Verify(t.Context()))
	if corrected.Load() != 0 {
		t.Error("a reading corrects what is right")
	}
	before := k.batch("route show table 90")
	k.ip("route", "del", "203.0.113.7/32", "table", "90")
	k.ip("-6", "route", "del", "2001:db8::7/128", "table", "90")
	k.ip("route", "del", "unreachable", "default", "table", "90", "metric", "4278198272")
	k.AddFormerBlackhole(90, netip.MustParsePrefix("203.0.113.99/32"))
	apply := func() int {
		t.Helper()
		r, err := k.Apply(t.Context(), k.host, vrf.Options{Sweep: true})
		must(t, err)
		return len(r.Ops)
	}
	if n := apply(); n != 0 {
		t.Errorf("%d operations before a reading", n)
	}
	must(t, fib.Verify(t.Context()))
	if n := apply(); n != 4 || corrected.Load() != 1 {
		t.Errorf("%d operations after a reading that corrected %d times", n, corrected.Load())
	}
	if got := k.batch("route show table 90"); got != before {
		t.Errorf("the table has\n%s, want\n%s", got, before)
	}
	k.Kernel.mu.Lock()
	shared := k.shared
	k.shared = false // so that it looks itself
	k.Kernel.mu.Unlock()
	if wantNothingLeft(t, k.target, k.host); !shared {
		t.Error("it is not shared")
	}
}

// TestSurveyOfWhatChanges: routes that Kernel adds, deletes and forgets while a
// reading is under way stay as it knows them.
func TestSurveyOfWhatChanges(t *testing.T) {
	testenv.RequireRoot(t)
	k := newWatchedTarget(t)
	s, err := dial(k.Kernel.ns)
	must(t, err)
	defer s.close()
	v, err := k.survey(t.Context(), s, 90)
	must(t, err)
	must(t, s.routes(t.Context(), 90, v.saw))
	guest := netip.MustParsePrefix("203.0.113.7/32")
	added := netip.MustParsePrefix("203.0.113.8/32")
	k.host.Taps[0].Routes = []vrf.Route{{Prefix: added}, k.host.Taps[0].Routes[1]}
	_, err = k.Apply(t.Context(), k.host, vrf.Options{Sweep: true, Links: []string{"tap0"}})
	must(t, err)
	forgotten := Route{Table: 90, Prefix: netip.MustParsePrefix("2001:db8::7/128"), Metric: vrf.MetricGuest}
	k.Forget([]Route{forgotten})
	if v.doubtful() || v.end() {
		t.Error("a reading corrects what is newer")
	}
	for id, want := range map[Route]bool{{Table: 90, Prefix: guest, Metric: vrf.MetricGuest}: false, {Table: 90, Prefix: added, Metric: vrf.MetricGuest}: true, forgotten: false} {
		if _, known := k.Kernel.routes.Get(id); known != want {
			t.Errorf("%v is known: %v, want %v", id, known, want)
		}
	}
}

// TestVerifyAllocates: what a comparison allocates doesn't grow with the routes.
func TestVerifyAllocates(t *testing.T) {
	testenv.RequireRoot(t)
	k := newWatchedTarget(t)
	fib := NewFIB(Options{NetNS: k.Kernel.ns}, k.host.VRFs, k.host.Uplinks)
	defer fib.Close()
	hops := learnedOn(0)[0].NextHops
	measure := func() (objects, bytes uint64) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		must(t, fib.Verify(t.Context()))
		runtime.ReadMemStats(&after)
		return after.Mallocs - before.Mallocs, after.TotalAlloc - before.TotalAlloc
	}
	add := func(n int) {
		var changes []vrf.Change
		for i := range n {
			a6 := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 13: 1, 14: byte(i >> 8), 15: byte(i)})
			changes = append(changes, vrf.Change{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32), NextHops: hops})
			changes = append(changes, vrf.Change{Prefix: netip.PrefixFrom(a6, 128), NextHops: hopsVia("u0", "fd64:%d::%d", 0, 0)})
		}
		must(t, fib.Apply(t.Context(), "public", changes))
	}
	add(1000)
	objects, bytes := measure()
	add(30_000)
	if o, b := measure(); o > objects+objects/2 || b > bytes+bytes/2 {
		t.Errorf("60,000 routes allocate %d objects, %d bytes; 2,000 allocate %d, %d", o, b, objects, bytes)
	}
}
