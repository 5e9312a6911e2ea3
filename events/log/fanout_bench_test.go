package log

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/projector"
)

// fanoutPayload is about that of a feed message of a guest with two addresses.
const fanoutPayload = 1500

// BenchmarkFanout has a server with as many connections as hypervisors, each
// subscribed as a follower is, send what concerns one of them (own) and what
// concerns all (all): CPU time of the server for each delivery, and how long
// after it was published the last one who is concerned has it.
func BenchmarkFanout(b *testing.B) {
	for _, n := range []int{250, 1000, 2000, 4000} {
		b.Run(fmt.Sprintf("hypervisors=%d", n), func(b *testing.B) {
			s := (&part{Store: b.TempDir()}).start(b)
			idle := s.rss(b)
			heard := make(chan *nats.Msg, 2*n)
			for i := range n {
				subscribeAs(b, s.url, fmt.Sprintf("hv%d", i), heard)
			}
			publisher := connectPart(b, s.url)
			memory := 1000 * (s.rss(b) - idle) / float64(n)
			b.Run("own", func(b *testing.B) {
				i := 0
				fanOut(b, s, publisher, heard, 1, func() string {
					i++
					return liveSubject(events.SubjectTick(fmt.Sprintf("hv%d", i*7919%n)))
				})
				b.ReportMetric(memory, "server-kB/connection")
			})
			b.Run("all", func(b *testing.B) {
				fanOut(b, s, publisher, heard, n, func() string { return liveSubject(events.SubjectNetTick) })
			})
		})
	}
}

func connectPart(b *testing.B, url string, o ...nats.Option) *nats.Conn {
	b.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{nats.Timeout(30 * time.Second)}, o...)...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	return nc
}

// subscribeAs hears what a follower of a hypervisor hears.
func subscribeAs(b *testing.B, url, hypervisor string, heard chan *nats.Msg) {
	b.Helper()
	nc := connectPart(b, url)
	for _, subject := range []string{events.SubjectTick(hypervisor), events.SubjectFeed(hypervisor, "*"), events.SubjectNetTick} {
		if _, err := nc.ChanSubscribe(liveSubject(subject), heard); err != nil {
			b.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		b.Fatal(err)
	}
}

// fanOut publishes one message after the other, each when the one before has
// been heard by all of those whom it concerns.
func fanOut(b *testing.B, s *part, nc *nats.Conn, heard <-chan *nats.Msg, concerned int, subject func() string) {
	payload := bytes.Repeat([]byte{'x'}, fanoutPayload)
	var took []time.Duration
	before := s.cpu(b)
	for b.Loop() {
		start := time.Now()
		if err := nc.Publish(subject(), payload); err != nil {
			b.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			b.Fatal(err)
		}
		for range concerned {
			select {
			case <-heard:
			case <-time.After(patience):
				b.Fatal("a subscriber lacks a message")
			}
		}
		took = append(took, time.Since(start))
	}
	deliveries := float64(b.N * concerned)
	b.ReportMetric(float64((s.cpu(b)-before).Microseconds())/deliveries, "server-us/delivery")
	reportQuantiles(b, took, time.Millisecond, "ms")
}

// reportQuantiles prints the middle, the 99th of a hundred and the last.
func reportQuantiles(b *testing.B, took []time.Duration, unit time.Duration, name string) {
	slices.Sort(took)
	at := func(i int) float64 { return float64(took[i]) / float64(unit) }
	b.ReportMetric(at(len(took)/2), "p50-"+name)
	b.ReportMetric(at(len(took)*99/100), "p99-"+name)
	b.ReportMetric(at(len(took)-1), "last-"+name)
}

// BenchmarkConnect prints the CPU time of a server for a connection that is made
// with TLS and an nkey, as in a cluster, and with nothing, as in an embedded log.
func BenchmarkConnect(b *testing.B) {
	user, err := nkeys.CreateUser()
	if err != nil {
		b.Fatal(err)
	}
	public, err := user.PublicKey()
	if err != nil {
		b.Fatal(err)
	}
	key := selfSigned(b)
	for _, c := range []struct {
		name string
		part *part
		with []nats.Option
	}{
		{"plain", &part{Store: b.TempDir()}, nil},
		{"tls", &part{TLS: true, Key: key, Users: []string{public}}, []nats.Option{nats.Nkey(public, user.Sign), nats.RootCAs(testCA(b, key))}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := c.part.start(b)
			before := s.cpu(b)
			for b.Loop() {
				nc := connectPart(b, s.url, c.with...)
				nc.Close()
			}
			b.ReportMetric(float64((s.cpu(b)-before).Microseconds())/float64(b.N), "server-us/connection")
		})
	}
}

// BenchmarkHerdParts starts agents at once that know nothing, with the server
// and the log service each in a process of its own, and prints what each of the
// three needs for one agent. The agents share one process, and all of them the
// cores of this machine, which is what limits them.
func BenchmarkHerdParts(b *testing.B) {
	for _, c := range []struct{ hypervisors, guests int }{{1, 500}, {100, 500}, {200, 500}, {400, 500}, {400, 25}, {1000, 25}, {1000, 100}} {
		b.Run(fmt.Sprintf("hypervisors=%d/guests=%d", c.hypervisors, c.guests), func(b *testing.B) {
			s := (&part{Store: b.TempDir()}).start(b)
			fillPart(b, s, c.hypervisors, c.guests)
			service := (&part{Service: s.url}).start(b)
			for b.Loop() {
				herdOfParts(b, s, service, c.hypervisors, c.guests)
			}
		})
	}
}

// fillPart fills the log of a server in another process.
func fillPart(b *testing.B, s *part, hypervisors, guests int) {
	nc := connectPart(b, s.url)
	l := &lab{t: b, ctx: b.Context(), nc: nc}
	var err error
	if l.ledger, err = Open(l.ctx, nc, Options{}); err != nil {
		b.Fatal(err)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(maxAsync))
	if err != nil {
		b.Fatal(err)
	}
	f := &filler{b: b, js: js, next: 1, links: map[string]Link{}, shared: projector.New()}
	f.publish(f.shared, network("web", "public", "10.0.0.0/8"))
	for i := range hypervisors {
		f.homed(fmt.Sprintf("hv%d", i), i*guests, guests)
	}
	f.wait()
	testenv.Eventually(b, "the mirror has all feeds", func() bool {
		info, err := l.ledger.feeds.Info(l.ctx)
		return err == nil && info.Mirror != nil && info.Mirror.Lag == 0 && info.State.LastSeq+uint64(maxMessages) >= f.next
	})
}

func herdOfParts(b *testing.B, s, service *part, hypervisors, guests int) {
	b.StopTimer()
	var list []*Follower
	var received uint64
	var connections []*nats.Conn
	for i := range hypervisors {
		nc, err := Connect(s.url, ConnectOptions{Logger: testLogger()})
		if err != nil {
			b.Fatal(err)
		}
		defer nc.Close()
		connections = append(connections, nc)
		list = append(list, NewFollower(nc, fmt.Sprintf("hv%d", i), FollowerOptions{}))
	}
	serverBefore, serviceBefore, ownBefore := s.cpu(b), service.cpu(b), ownCPU(b)
	b.StartTimer()
	took := runAll(b, list)
	b.StopTimer()
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(hypervisors) }
	b.ReportMetric(per(s.cpu(b)-serverBefore), "server-ms/agent")
	b.ReportMetric(per(service.cpu(b)-serviceBefore), "service-ms/agent")
	b.ReportMetric(per(ownCPU(b)-ownBefore), "follower-ms/agent")
	for i, f := range list {
		received += connections[i].Stats().InBytes
		if n := len(f.State().Guests()); n != guests {
			b.Fatalf("hypervisor %d has %d guests", i, n)
		}
	}
	b.ReportMetric(float64(received)/float64(hypervisors), "B/agent")
	b.ReportMetric(service.rss(b), "service-MB")
	b.ReportMetric(s.rss(b), "server-MB")
	reportQuantiles(b, took, time.Second, "s")
	b.StartTimer()
}

// runAll starts followers at once and waits until all are in sync.
func runAll(b *testing.B, list []*Follower) []time.Duration {
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	took := make([]time.Duration, len(list))
	var group, running sync.WaitGroup
	start := time.Now()
	for i, f := range list {
		running.Go(func() {
			if err := f.Run(ctx); err != nil {
				b.Error(err)
			}
		})
		group.Go(func() {
			select {
			case <-f.InSync():
				took[i] = time.Since(start)
			case <-ctx.Done(): // who waits for it finds no guests
			}
		})
	}
	group.Wait()
	cancel()
	running.Wait()
	return took
}

// BenchmarkPoll prints what the question costs that each agent asks every 15 s,
// whether it missed anything, when it did not.
func BenchmarkPoll(b *testing.B) {
	s := (&part{Store: b.TempDir()}).start(b)
	fillPart(b, s, 1, 500)
	service := (&part{Service: s.url}).start(b)
	nc, err := Connect(s.url, ConnectOptions{Logger: testLogger()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	f := NewFollower(nc, "hv0", FollowerOptions{})
	if _, err := f.catchUp(b.Context()); err != nil {
		b.Fatal(err)
	}
	in, out := nc.Stats().InBytes, nc.Stats().OutBytes
	serverBefore, serviceBefore := s.cpu(b), service.cpu(b)
	for b.Loop() {
		if _, err := f.catchUp(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	n := float64(b.N)
	b.ReportMetric(float64((s.cpu(b)-serverBefore).Microseconds())/n, "server-us/poll")
	b.ReportMetric(float64((service.cpu(b)-serviceBefore).Microseconds())/n, "service-us/poll")
	b.ReportMetric(float64(nc.Stats().InBytes-in+nc.Stats().OutBytes-out)/n, "B/poll")
	if f.Status().Snapshots != 1 {
		b.Fatalf("%d snapshots were taken, and nothing changed", f.Status().Snapshots)
	}
}

// testCA trusts the certificate in some PEM.
func testCA(b *testing.B, certificate []byte) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "ca.pem")
	if err := os.WriteFile(path, certificate, 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}
