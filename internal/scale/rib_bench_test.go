package scale_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/vrf"
)

// BenchmarkPlanes brings a table of 500,000 routes into the RIB of an agent from
// as many reflectors as it may have, and prints what it holds for a route then.
func BenchmarkPlanes(b *testing.B) {
	const routes = 500_000
	for _, sources := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("reflectors=%d", sources), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				rib := fill(b, routes, sources)
				b.ReportMetric(float64(heap()-before)/routes, "heap-B/route")
				runtime.KeepAlive(rib)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func fill(b *testing.B, routes, sources int) *bgp.RIB {
	c := bgp.Config{Seed: [2]uint64{1, 2}}
	for i := range sources {
		c.Sources = append(c.Sources, bgp.Source{Uplink: fmt.Sprintf("up-%d", i)})
	}
	rib, d := bgp.NewRIB(c), &bgp.Decoder{Families: [2]bool{true, true}, AS4: true, LocalAS: 65000, RouterID: 0x0a000001}
	for at := 0; at < routes; at += 200 {
		for source := range sources {
			u, err := d.Decode(update(at, 200, byte(source), 1))
			if err != nil {
				b.Fatal(err)
			}
			rib.Update(source, u)
		}
	}
	buffer := make([]vrf.Change, 0, 512)
	for buffer = rib.AppendChanges(buffer, 512); len(buffer) > 0; {
		buffer = rib.AppendChanges(buffer[:0], 512)
	}
	return rib
}
