package kernel

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

const (
	watchedRoutes = 50_000
	watchTurns    = 7 // with one, whoever else uses the machine decides
)

// BenchmarkRouteWatch writes and deletes routes while nobody listens, somebody
// listens to all of them, and Watch does, in turns, and prints the rates of each
// and what a listener leaves of the rate without one.
func BenchmarkRouteWatch(b *testing.B) {
	testenv.RequireRoot(b)
	for _, family := range []string{"IPv4", "IPv6"} {
		b.Run(family, func(b *testing.B) {
			k := newTarget(b, Options{})
			host := benchHost(b, k)
			w := watchBench{target: k, host: host, changes: benchChanges(family == "IPv6")[:watchedRoutes], wall: map[string][]float64{}, cpu: map[string][]float64{}}
			listeners := []listener{
				{"nobody", func() func() { return func() {} }},
				{"unfiltered", func() func() { return listen(b, k) }},
				{"filtered", func() func() { return watched(b, k, host.VRFs[0].Table) }},
			}
			for b.Loop() {
				for range watchTurns {
					rotate(listeners)
					for _, l := range listeners {
						w.measure(b, l)
					}
				}
			}
			w.report(b)
		})
	}
}

type listener struct {
	name  string
	start func() (stop func())
}

type watchBench struct {
	*target
	host      vrf.Host
	changes   []vrf.Change
	wall, cpu map[string][]float64 // rates by listener
}

// measure writes and deletes all routes before a listener.
func (w *watchBench) measure(b *testing.B, l listener) {
	none := slices.Clone(w.changes)
	for i := range none {
		none[i].NextHops = nil
	}
	fib := vrf.NewFIB(w, w.host.VRFs, w.host.Uplinks)
	defer l.start()()
	start, used := time.Now(), cpuTime(b)
	must(b, fib.Apply(b.Context(), "public", w.changes))
	must(b, fib.Apply(b.Context(), "public", none))
	w.wall[l.name] = append(w.wall[l.name], 2*watchedRoutes/time.Since(start).Seconds()/1000)
	w.cpu[l.name] = append(w.cpu[l.name], 2*watchedRoutes/(cpuTime(b)-used).Seconds()/1000)
}

func (w *watchBench) report(b *testing.B) {
	for name := range w.wall {
		b.ReportMetric(median(w.wall[name]), name+"-kroutes/s")
		b.ReportMetric(median(w.cpu[name]), name+"-kroutes/cpu-s")
		if name != "nobody" {
			b.ReportMetric(100*median(w.wall[name])/median(w.wall["nobody"]), name+"-%-of-wall-rate")
			b.ReportMetric(100*median(w.cpu[name])/median(w.cpu["nobody"]), name+"-%-of-cpu-rate")
		}
	}
}

// rotate has each go first in its turn.
func rotate[T any](list []T) { copy(list, append(list[1:len(list):len(list)], list[0])) }

func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// listen reads all that the kernel tells of routes, as a watch without a filter
// would.
func listen(b *testing.B, k *target) (stop func()) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: k.Kernel.ns})
	must(b, err)
	must(b, conn.SetReadBuffer(replies))
	must(b, conn.JoinGroup(unix.RTNLGRP_IPV4_ROUTE))
	must(b, conn.JoinGroup(unix.RTNLGRP_IPV6_ROUTE))
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			_, _ = conn.Receive()
		}
	}()
	return func() {
		cancel()
		must(b, conn.SetReadDeadline(time.Unix(1, 0)))
		<-ended
		must(b, conn.Close())
	}
}

// watched runs Watch, and fails if it tells anything of what is ours.
func watched(b *testing.B, k *target, table uint32) (stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	ended, first := make(chan error, 1), make(chan struct{}, 1)
	go func() {
		ended <- Watch(ctx, Options{NetNS: k.Kernel.ns}, []uint32{table}, func(n Notice) {
			if n.Resync {
				first <- struct{}{}
			}
			if len(n.Routes) > 0 || n.AllRoutes {
				ended <- fmt.Errorf("damaged: %d routes, all: %v", len(n.Routes), n.AllRoutes)
			}
		})
	}()
	<-first
	return func() {
		cancel()
		must(b, <-ended)
	}
}
