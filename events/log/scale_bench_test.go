package log

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// BenchmarkHerd starts 4,000 agents of 25 guests each at once, as after a power
// cut, and prints when the middle one and the last one are in sync.
func BenchmarkHerd(b *testing.B) {
	const hypervisors, guests = 4000, 25
	l, f := newFiller(b)
	f.publish(f.shared, network("web", "public", "10.0.0.0/8"))
	for i := range hypervisors {
		f.homed(fmt.Sprintf("hv%d", i), i*guests, guests)
	}
	l.serveFilled(f)
	for b.Loop() {
		l.herd(b, hypervisors, guests)
	}
}

func (l *lab) herd(b *testing.B, hypervisors, guests int) {
	var connections []*nats.Conn
	for range hypervisors {
		nc, err := Connect(l.server.URL(), ConnectOptions{Logger: testLogger()})
		if err != nil {
			b.Fatal(err)
		}
		defer nc.Close()
		connections = append(connections, nc)
	}
	ctx, cancel := context.WithTimeout(l.ctx, 5*time.Minute)
	defer cancel()
	took := make([]time.Duration, hypervisors)
	wrong := make([]int, hypervisors)
	var group sync.WaitGroup
	start := time.Now()
	for i, nc := range connections {
		group.Go(func() {
			running, stop := context.WithCancel(ctx)
			defer stop()
			follower := NewFollower(nc, fmt.Sprintf("hv%d", i), FollowerOptions{})
			ended := make(chan error, 1)
			go func() { ended <- follower.Run(running) }()
			select {
			case <-follower.InSync():
				took[i] = time.Since(start)
				wrong[i] = guests - len(follower.State().Guests())
			case <-ctx.Done():
				wrong[i] = guests
			}
			stop()
			<-ended
		})
	}
	group.Wait()
	for i, n := range wrong {
		if n != 0 {
			b.Fatalf("hypervisor %d lacks %d guests", i, n)
		}
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds(), "p50-s")
	b.ReportMetric(took[len(took)*99/100].Seconds(), "p99-s")
	b.ReportMetric(took[len(took)-1].Seconds(), "last-s")
}

// BenchmarkVerify prints how many messages a second are verified.
func BenchmarkVerify(b *testing.B) {
	l, f := newFiller(b)
	f.publish(f.shared, network("web", "public", "10.0.0.0/8"))
	f.spread(20_000)
	l.serveFilled(f)
	for b.Loop() {
		v, err := l.ledger.Verify(l.ctx, VerifyOptions{}, func(f Finding) { b.Errorf("%s", f) })
		if err != nil || v.Messages != f.next-1 {
			b.Fatalf("%+v, %v", v, err)
		}
	}
	b.ReportMetric(float64(f.next-1)*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
