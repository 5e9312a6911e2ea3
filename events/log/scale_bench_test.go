package log

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/projector"
)

// maxMessages is what an event of a filler has at most.
const maxMessages = 8

// numbered is the address of a guest with a number.
func numbered(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
}

// newFiller is a filler of the log of a lab that others can reach.
func newFiller(b *testing.B) (*lab, *filler) {
	b.Helper()
	s, _ := startServer(b, ServerOptions{Store: b.TempDir(), Listen: "127.0.0.1:0"})
	l := &lab{t: b, ctx: b.Context(), server: s, nc: connect(b, s)}
	var err error
	if l.ledger, err = Open(l.ctx, l.nc, Options{}); err != nil {
		b.Fatal(err)
	}
	js, err := jetstream.New(l.nc, jetstream.WithPublishAsyncMaxPending(maxAsync))
	if err != nil {
		b.Fatal(err)
	}
	return l, &filler{b: b, js: js, next: 1, links: map[string]Link{}, shared: projector.New()}
}

// serveFilled runs a log service once the mirror has everything.
func (l *lab) serveFilled(f *filler) {
	f.wait()
	testenv.Eventually(l.t, "the mirror has all feeds", func() bool {
		info, err := l.ledger.feeds.Info(l.ctx)
		return err == nil && info.Mirror != nil && info.Mirror.Lag == 0 && info.State.LastSeq+uint64(maxMessages) >= f.next
	})
	l.serve()
}

// others fills the log with events of a hundred guests a hypervisor, none of
// which is called hv-own.
func (f *filler) others(from, guests, rounds int) {
	hv := func(i int) string { return fmt.Sprintf("hv%d", i/100) }
	for i := from; i < from+guests+200; i += 100 {
		if f.shared.Hypervisor(hv(i)) == nil {
			f.publish(f.shared, &events.HypervisorRegistered{Hypervisor: hv(i)})
		}
	}
	var groups []*group
	for i := from; i < from+guests; i++ {
		groups = append(groups, &group{vm: fmt.Sprintf("vm%d", i), prefix: numbered(i), hypervisors: [2]string{hv(i), hv(i + 100)}})
	}
	for round := range rounds {
		for _, g := range groups {
			f.publish(g.partial(f.shared), g.event(round))
		}
	}
}

// homed fills the log with guests of one hypervisor, each with an address.
func (f *filler) homed(hypervisor string, from, guests int) {
	if f.shared.Hypervisor(hypervisor) == nil {
		f.publish(f.shared, &events.HypervisorRegistered{Hypervisor: hypervisor})
	}
	for i := from; i < from+guests; i++ {
		g := &group{vm: fmt.Sprintf("g%d", i), prefix: numbered(i), hypervisors: [2]string{hypervisor, hypervisor}}
		f.publish(g.partial(f.shared), g.event(0))
		f.publish(g.partial(f.shared), g.event(1))
	}
}

// BenchmarkFreshHypervisor prints how long an agent that knows nothing takes
// until it wants what it must, for 1,000 guests of its own in logs of ever more
// events of others. HOSTROUTE_BENCH_EVENTS adds a longer one.
func BenchmarkFreshHypervisor(b *testing.B) {
	totals := []int{100_000, 1_000_000}
	if s := os.Getenv("HOSTROUTE_BENCH_EVENTS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		totals = append(totals, n)
	}
	const own, rounds = 1000, 10
	for _, total := range totals {
		b.Run(fmt.Sprintf("events=%d", total), func(b *testing.B) {
			l, f := newFiller(b)
			f.publish(f.shared, network("web", "public", "10.0.0.0/8"))
			others := (total - 2*own) / rounds / 2
			f.homed("hv-own", 1<<22, own/2)
			f.others(0, others, rounds)
			f.homed("hv-own", 1<<22+own/2, own/2)
			f.others(others/100*100+400, others, rounds)
			l.serveFilled(f)
			b.ResetTimer()
			for b.Loop() {
				follower := NewFollower(l.nc, "hv-own", FollowerOptions{})
				if _, err := follower.catchUp(l.ctx); err != nil {
					b.Fatal(err)
				}
				if n := len(projector.Desired(follower.State(), "hv-own").Announcements); n != own {
					b.Fatalf("%d announcements, want %d", n, own)
				}
			}
			b.ReportMetric(float64(f.next-1), "messages")
		})
	}
}

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
	f.others(0, 2000, eventsEach)
	l.serveFilled(f)
	for b.Loop() {
		v, err := l.ledger.Verify(l.ctx, VerifyOptions{}, func(f Finding) { b.Errorf("%s", f) })
		if err != nil || v.Messages != f.next-1 {
			b.Fatalf("%+v, %v", v, err)
		}
	}
	b.ReportMetric(float64(f.next-1)*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
