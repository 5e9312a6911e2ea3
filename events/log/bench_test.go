package log

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
)

// BenchmarkPublish prints events a second, with one publisher and with many,
// and with every event forced to disk or not.
func BenchmarkPublish(b *testing.B) {
	for _, sync := range []time.Duration{time.Minute, 0} {
		for _, publishers := range []int{1, 16} {
			name := fmt.Sprintf("sync=%s/publishers=%d", sync, publishers)
			if sync == 0 {
				name = fmt.Sprintf("sync=always/publishers=%d", publishers)
			}
			b.Run(name, func(b *testing.B) { benchPublish(b, sync, publishers) })
		}
	}
}

func benchPublish(b *testing.B, interval time.Duration, publishers int) {
	l := newBenchLab(b, interval)
	l.publish(network("web", "public", "10.0.0.0/8"))
	for p := range publishers {
		l.publish(hypervisor(fmt.Sprintf("hv%d", p)), guest(fmt.Sprintf("vm%d", p), fmt.Sprintf("hv%d", p), "web"))
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := p; i < b.N; i += publishers {
				prefix := fmt.Sprintf("10.%d.%d.%d/32", p, i/250%250, i%250+1)
				e := events.Event{Data: assign(prefix, fmt.Sprintf("vm%d", p))}
				if i/publishers%2 == 1 { // hand it back, so that guests don't grow
					e.Data = &events.IPReleased{Prefix: pfx(fmt.Sprintf("10.%d.%d.%d/32", p, (i-publishers)/250%250, (i-publishers)%250+1)), VRF: "public"}
				}
				if _, err := l.ledger.Publish(l.ctx, e); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func newBenchLab(b *testing.B, interval time.Duration) *lab {
	b.Helper()
	s := NewServer(ServerOptions{Store: b.TempDir(), SyncInterval: interval})
	task(b, s.Run)
	<-s.Ready()
	l := &lab{t: b, ctx: b.Context(), server: s, nc: connect(b, s)}
	var err error
	if l.ledger, err = Open(l.ctx, l.nc, Options{}); err != nil {
		b.Fatal(err)
	}
	return l
}

// BenchmarkPublishToFollower prints how long after the call to Publish a
// follower signals the change, and how long after its return.
func BenchmarkPublishToFollower(b *testing.B) {
	l := newBenchLab(b, time.Minute)
	l.publish(network("web", "public", "203.0.113.0/24"), hypervisor("hv1"), guest("vm1", "hv1", "web"))
	l.serve()
	f := l.follow("hv1", FollowerOptions{})
	<-f.Changes()
	var whole []time.Duration
	b.ResetTimer()
	for i := range b.N {
		var d events.Data = assign("203.0.113.7/32", "vm1")
		if i%2 == 1 {
			d = &events.IPReleased{Prefix: pfx("203.0.113.7/32")}
		}
		start := time.Now()
		l.publish(d)
		<-f.Changes()
		whole = append(whole, time.Since(start))
	}
	slices.Sort(whole)
	at := func(q float64) float64 { return float64(whole[int(q*float64(len(whole)-1))].Microseconds()) / 1000 }
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
}

// BenchmarkSnapshot prints how long a follower with 1,000 guests takes from
// nothing to being in sync.
func BenchmarkSnapshot(b *testing.B) {
	l := newBenchLab(b, time.Minute)
	l.serve()
	l.fill("hv1", 1000)
	b.ResetTimer()
	for range b.N {
		f := NewFollower(l.nc, "hv1", FollowerOptions{})
		if _, err := f.catchUp(l.ctx); err != nil {
			b.Fatal(err)
		}
	}
}
