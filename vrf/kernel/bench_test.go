package kernel

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

const benchRoutes = 500_000

// BenchmarkFIB brings 500,000 routes with 200 sets of two next hops into the
// kernel, and measures what a running agent does to so many.
func BenchmarkFIB(b *testing.B) {
	testenv.RequireRoot(b)
	for _, family := range []string{"IPv4", "IPv6"} {
		b.Run(family, func(b *testing.B) {
			k := newTarget(b, Options{})
			host := benchHost(b, k)
			changes := benchChanges(family == "IPv6")
			fib := vrf.NewFIB(k, host.VRFs, host.Uplinks)
			step := func(metric string, n int, f func() error) {
				start, cpu := time.Now(), cpuTime(b)
				must(b, f())
				d := time.Since(start)
				if n > 0 {
					b.ReportMetric(float64(n)/d.Seconds()/1000, metric+"-kroutes/s")
					b.ReportMetric(float64(n)/(cpuTime(b)-cpu).Seconds()/1000, metric+"-kroutes/cpu-s")
				} else {
					b.ReportMetric(float64(d.Microseconds())/1000, metric+"-ms")
				}
			}
			for b.Loop() {
				before := heap()
				step("insert", benchRoutes, func() error { return fib.Apply(b.Context(), "public", changes) })
				b.ReportMetric(float64(heap()-before)/benchRoutes, "heapB/route")
				step("unchanged", benchRoutes, func() error { return fib.Apply(b.Context(), "public", changes) })
				step("repair", 0, func() error { return fib.Repair(b.Context()) })
				step("plane-lost", 0, func() error { return fib.UplinkChanged(b.Context(), "u0", false) })
				step("plane-back", 0, func() error { return fib.UplinkChanged(b.Context(), "u0", true) })
				fib = vrf.NewFIB(k, host.VRFs, host.Uplinks)
				step("adopt", benchRoutes, func() error { _, err := fib.Adopt(b.Context()); return err })
				step("verify", benchRoutes, func() error { return fib.Verify(b.Context()) })
				step("sweep", benchRoutes, func() error { _, err := fib.Sweep(b.Context(), "public"); return err })
			}
		})
	}
}

// cpuTime is what the process has used; on a busy machine it is the steadier
// measure.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkApply is one guest's address coming and going on a host of many.
func BenchmarkApply(b *testing.B) {
	testenv.RequireRoot(b)
	const taps = 300
	k := newTarget(b, Options{})
	host := benchHost(b, k)
	for i := range taps {
		name := fmt.Sprintf("tap%d", i)
		k.AddLink(name)
		a := netip.AddrFrom4([4]byte{203, 0, byte(113 + i>>8), byte(i)})
		host.Taps = append(host.Taps, vrf.Tap{
			Name: name, VRF: "public", Gateways: []netip.Addr{netip.MustParseAddr("169.254.0.1")},
			Routes: []vrf.Route{{Prefix: netip.PrefixFrom(a, 32)}}, Neighbours: []vrf.Neighbour{{Address: a, MAC: [6]byte{2, 5: 1}}},
		})
	}
	for name, links := range map[string][]string{"all": nil, "one": {"tap7"}} {
		b.Run(name, func(b *testing.B) { benchApply(b, k, host, links) })
	}
}

func benchApply(b *testing.B, k *target, host vrf.Host, links []string) {
	apply := func(o vrf.Options) {
		_, err := k.Apply(b.Context(), host, o)
		must(b, err)
	}
	apply(vrf.Options{Sweep: true})
	extra := append(host.Taps[7].Routes, vrf.Route{Prefix: netip.MustParsePrefix("198.51.100.7/32")})
	for b.Loop() {
		host.Taps[7].Routes = extra
		apply(vrf.Options{Sweep: true, Links: links})
		host.Taps[7].Routes = extra[:1]
		apply(vrf.Options{Sweep: true, Links: links})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func benchHost(b *testing.B, k *target) vrf.Host {
	host := vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 1000, NoDevice: true}}}
	for i := range 2 {
		name := fmt.Sprintf("u%d", i)
		k.AddLink(name)
		host.Uplinks = append(host.Uplinks, vrf.Uplink{Name: name, VRF: "public", Addresses: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("100.64.%d.254/24", i)), netip.MustParsePrefix(fmt.Sprintf("fd64:%d::ffff/64", i)),
		}})
	}
	_, err := k.Apply(b.Context(), host, vrf.Options{})
	must(b, err)
	return host
}

func benchChanges(v6 bool) []vrf.Change { return benchChangesOf(benchRoutes, v6) }

// benchChangesOf makes up to 2^24 routes.
func benchChangesOf(n int, v6 bool) []vrf.Change {
	sets := make([][]vrf.NextHop, 200)
	for n := range sets {
		for plane := range 2 {
			a := netip.AddrFrom4([4]byte{100, 64, byte(plane), byte(n + 1)})
			if v6 {
				a = netip.AddrFrom16([16]byte{0xfd, 0x64, 3: byte(plane), 15: byte(n + 1)})
			}
			sets[n] = append(sets[n], vrf.NextHop{Gateway: a, Uplink: fmt.Sprintf("u%d", plane)})
		}
	}
	changes := make([]vrf.Change, n)
	for i := range changes {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		if v6 {
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}), 128)
		}
		changes[i] = vrf.Change{Prefix: p, NextHops: sets[i%len(sets)]}
	}
	return changes
}
