package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"runtime/metrics"
	"slices"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// BenchmarkReconcile compares what is known with what the kernel has, at tables of
// several sizes: after a restart (adopt), and while an agent runs (verify), with
// the heap that it takes in between, and what others wait for it meanwhile. Then
// it does what the apply loop does beside such a table, with 1,000 taps.
func BenchmarkReconcile(b *testing.B) {
	testenv.RequireRoot(b)
	for _, family := range []string{"IPv4", "IPv6"} {
		for _, n := range []int{100_000, 1_000_000, 2_000_000} {
			b.Run(fmt.Sprintf("%s/%dk", family, n/1000), func(b *testing.B) { benchReconcile(b, n, family == "IPv6") })
		}
	}
}

func benchReconcile(b *testing.B, n int, v6 bool) {
	r := newReconciled(b, n, v6)
	for b.Loop() {
		r.measure("adopt", func() error { // also what a restart writes
			r.restart()
			got, err := r.fib.Adopt(b.Context())
			if got != n {
				b.Errorf("adopted %d of %d routes", got, n)
			}
			return err
		})
		r.measure("relearn", func() error { return r.fib.Apply(b.Context(), "public", r.changes) })
		r.measure("sweep", func() error { _, err := r.fib.Sweep(b.Context(), "public"); return err })
		r.measure("verify", func() error { return r.fib.Verify(b.Context()) })
		r.turns()
		r.waits("verify", "change", func() error { return r.fib.Verify(b.Context()) }, r.changeOne)
		r.waits("verify", "plane", func() error { return r.interrupted() }, r.flapPlane)
		r.taps()
		all := func() error { _, err := r.k.Apply(b.Context(), r.host, vrf.Options{Sweep: true}); return err }
		r.measure("apply", all)
		r.waits("apply", "tap", all, r.changeTap)
	}
	b.ReportMetric(0, "ns/op")
}

// reconciled is a kernel with learned routes, and the FIB that knows them.
type reconciled struct {
	*testing.B
	target  *target
	k       *Kernel
	fib     *FIB
	host    vrf.Host
	changes []vrf.Change
	up      bool
	round   int
}

func newReconciled(b *testing.B, n int, v6 bool) *reconciled {
	k := newTarget(b, Options{})
	r := &reconciled{B: b, target: k, k: k.Kernel, host: benchHost(b, k), changes: benchChangesOf(n, v6), up: true}
	r.open()
	must(b, r.fib.Apply(b.Context(), "public", r.changes))
	b.Cleanup(func() { must(b, r.fib.Close()) })
	return r
}

func (r *reconciled) restart() {
	must(r, r.fib.Close())
	r.open()
}

func (r *reconciled) open() {
	r.fib = NewFIB(Options{NetNS: r.target.Kernel.ns}, r.host.VRFs, r.host.Uplinks)
	r.fib.Share(r.k, func() {})
}

// measure reports the time of a step, that of the processors, and how much more heap
// it had at its worst, garbage included.
func (r *reconciled) measure(name string, step func() error) {
	base, done := heap(), make(chan uint64)
	ctx, cancel := context.WithCancel(r.Context())
	go func() { done <- heapPeak(ctx) }()
	start, cpu := time.Now(), cpuTime(r.B)
	must(r, step())
	wall, used := time.Since(start), cpuTime(r.B)-cpu
	cancel()
	peak := <-done
	r.ReportMetric(float64(wall.Microseconds())/1000, name+"-ms")
	r.ReportMetric(float64(used.Microseconds())/1000, name+"-cpu-ms")
	r.ReportMetric(float64(max(peak, base)-base)/(1<<20), name+"-MB")
}

func heapPeak(ctx context.Context) (peak uint64) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		metrics.Read(sample)
		peak = max(peak, sample[0].Value.Uint64())
		<-tick.C
	}
	return peak
}

// turns reports for how long a comparison has the FIB at a time.
func (r *reconciled) turns() {
	var list []time.Duration
	must(r, r.fib.fib.VerifyInTurns(r.Context(), func(step func()) {
		start := time.Now()
		step()
		list = append(list, time.Since(start))
	}))
	slices.Sort(list)
	r.ReportMetric(float64(list[len(list)*99/100].Microseconds())/1000, "verify-turn-p99-ms")
	r.ReportMetric(float64(list[len(list)-1].Microseconds())/1000, "verify-turn-worst-ms")
}

// waits reports how long single actions take while a step is under way, at worst
// and in the middle, after the same without it.
func (r *reconciled) waits(name, what string, step func() error, act func() error) {
	var alone []time.Duration
	for start := time.Now(); len(alone) < 50 && time.Since(start) < time.Second; {
		alone = append(alone, r.timed(act))
	}
	done := make(chan error, 1)
	go func() { done <- step() }()
	var beside []time.Duration
	for busy := true; busy; {
		beside = append(beside, r.timed(act))
		select {
		case err := <-done:
			must(r, err)
			busy = false
		case <-time.After(time.Millisecond):
		}
	}
	slices.Sort(alone)
	slices.Sort(beside)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	r.ReportMetric(ms(alone[len(alone)/2]), what+"-alone-ms")
	r.ReportMetric(ms(alone[len(alone)-1]), what+"-alone-worst-ms")
	r.ReportMetric(ms(beside[len(beside)/2]), what+"-during-"+name+"-ms")
	r.ReportMetric(ms(beside[len(beside)-1]), what+"-during-"+name+"-worst-ms")
}

func (r *reconciled) timed(act func() error) time.Duration {
	start := time.Now()
	must(r, act())
	return time.Since(start)
}

// changeOne has one prefix move to another hypervisor.
func (r *reconciled) changeOne() error {
	r.round++
	c := &r.changes[(r.round*7919)%len(r.changes)]
	c.NextHops = r.changes[r.round%200].NextHops
	return r.fib.Apply(r.Context(), "public", []vrf.Change{*c})
}

func (r *reconciled) flapPlane() error {
	r.up = !r.up
	return r.fib.UplinkChanged(r.Context(), "u0", r.up)
}

// interrupted is a Verify that a plane interrupts.
func (r *reconciled) interrupted() error {
	if err := r.fib.Verify(r.Context()); err != ErrInterrupted {
		return err
	}
	return nil
}

const benchTaps = 1000

// taps gives the host taps with an address each.
func (r *reconciled) taps() {
	if len(r.host.Taps) > 0 {
		return
	}
	var commands []string
	for i := range benchTaps {
		name := fmt.Sprintf("tap%d", i)
		commands = append(commands, "tuntap add "+name+" mode tap")
		a := netip.AddrFrom4([4]byte{203, 0, byte(113 + i>>8), byte(i)})
		r.host.Taps = append(r.host.Taps, vrf.Tap{
			Name: name, VRF: "public", Gateways: []netip.Addr{netip.MustParseAddr("169.254.0.1")},
			Routes: []vrf.Route{{Prefix: netip.PrefixFrom(a, 32)}}, Neighbours: []vrf.Neighbour{{Address: a, MAC: [6]byte{2, 5: 1}}},
		})
	}
	r.target.batch(commands...)
	_, err := r.k.Apply(r.Context(), r.host, vrf.Options{Sweep: true})
	must(r, err)
}

// changeTap gives one guest another address, or takes it.
func (r *reconciled) changeTap() error {
	r.round++
	host := r.host
	host.Taps = slices.Clone(host.Taps)
	t := &host.Taps[7]
	if r.round%2 == 0 {
		t.Routes = append(slices.Clone(t.Routes), vrf.Route{Prefix: netip.MustParsePrefix("198.51.100.7/32")})
	}
	_, err := r.k.Apply(r.Context(), host, vrf.Options{Sweep: true, Links: []string{t.Name}})
	return err
}
