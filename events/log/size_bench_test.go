package log

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
)

// lifeOf is what happens to a guest with an IPv4 and an IPv6 address from its
// beginning to its end, with one live migration.
func lifeOf(i int) []events.Data {
	vm, v6 := fmt.Sprintf("guest-%07d", i), fmt.Sprintf("2001:db8:1::%x/128", i+1)
	return []events.Data{
		guest(vm, "hypervisor-0001", "web"),
		assign(numbered(i+1).String(), vm),
		&events.IPAssigned{Prefix: pfx(v6), VM: vm},
		&events.VMMigrationStarted{VM: vm, To: "hypervisor-0002"},
		&events.VMMigrated{VM: vm, To: "hypervisor-0002"},
		&events.IPReleased{Prefix: numberedPrefix(i + 1), VM: vm},
		&events.IPReleased{Prefix: pfx(v6), VM: vm},
		&events.VMDeleted{VM: vm},
	}
}

func numberedPrefix(i int) events.Prefix { return events.PrefixFrom(numbered(i)) }

// weight is what an event comes to: in the ledger, and on the wire to agents.
type weight struct {
	name          string
	messages      uint64
	bytes         uint64 // in the ledger, before compression
	heard, weighs int    // live messages of ticks and feeds, which agents subscribe to
}

// BenchmarkGuestLife prints what each event of a guest's life stores and sends.
func BenchmarkGuestLife(b *testing.B) {
	l := newBenchLab(b, time.Minute)
	l.publish(network("web", "public", "10.0.0.0/8", "2001:db8:1::/64"), hypervisor("hypervisor-0001"), hypervisor("hypervisor-0002"))
	live, err := l.nc.SubscribeSync("hrlive.>")
	if err != nil {
		b.Fatal(err)
	}
	var steps []weight
	lives := 0
	for b.Loop() {
		list := lifeOf(lives)
		if lives == 0 {
			steps = make([]weight, len(list))
		}
		lives++
		for i, d := range list {
			l.weigh(b, live, d, &steps[i])
		}
	}
	var sum weight
	n := uint64(lives)
	for _, s := range steps {
		b.Logf("%-20s %2d messages %6d B stored, %2d heard of %6d B", s.name, s.messages/n, s.bytes/n, s.heard/lives, s.weighs/lives)
		sum.messages += s.messages
		sum.bytes += s.bytes
		sum.heard += s.heard
		sum.weighs += s.weighs
	}
	b.ReportMetric(float64(sum.messages)/float64(n), "messages/life")
	b.ReportMetric(float64(sum.bytes)/float64(n), "stored-B/life")
	b.ReportMetric(float64(sum.weighs)/float64(n), "heard-B/life")
}

// weigh publishes one event and adds up what that came to.
func (l *lab) weigh(b *testing.B, live *nats.Subscription, d events.Data, w *weight) {
	before := l.ledgerState(b)
	l.publish(d)
	after := l.ledgerState(b)
	w.name = string(events.Event{Data: d}.Type())
	w.messages += after.Msgs - before.Msgs
	w.bytes += after.Bytes - before.Bytes
	for range after.Msgs - before.Msgs {
		m, err := live.NextMsg(patience)
		if err != nil {
			b.Fatalf("the ledger stored a message and didn't republish it: %v", err)
		}
		if strings.HasPrefix(m.Subject, "hrlive.feed.") || m.Subject == "hrlive.net" {
			w.heard++
			w.weighs += m.Size()
		}
	}
}

func (l *lab) ledgerState(b *testing.B) (s struct{ Msgs, Bytes uint64 }) {
	info, err := l.ledger.ledger.Info(l.ctx)
	if err != nil {
		b.Fatal(err)
	}
	s.Msgs, s.Bytes = info.State.Msgs, info.State.Bytes
	return s
}

// BenchmarkStoreSize fills a log with 50,000 events and prints what one takes on
// disk, in the ledger and in the mirror of the feeds.
func BenchmarkStoreSize(b *testing.B) {
	const count = 50_000
	for b.Loop() {
		l, f := newFiller(b)
		f.publish(f.shared, network("web", "public", "10.0.0.0/8"))
		f.spread(count)
		f.wait()
		testenv.Eventually(b, "the mirror has all feeds", func() bool {
			info, err := l.ledger.feeds.Info(l.ctx)
			return err == nil && info.Mirror != nil && info.Mirror.Lag == 0 && info.State.LastSeq+uint64(maxMessages) >= f.next
		})
		stored := float64(l.ledgerState(b).Bytes)
		ledger := diskUse(b, filepath.Join(l.server.options.Store, "jetstream", "$G", "streams", l.ledger.ledger.CachedInfo().Config.Name))
		mirror := diskUse(b, filepath.Join(l.server.options.Store, "jetstream", "$G", "streams", l.ledger.feeds.CachedInfo().Config.Name))
		b.ReportMetric(stored/count, "stored-B/event")
		b.ReportMetric(ledger/count, "ledger-disk-B/event")
		b.ReportMetric(mirror/count, "mirror-disk-B/event")
		b.ReportMetric(float64(f.next-1)/count, "messages/event")
	}
}

// diskUse adds up the files of a directory.
func diskUse(b *testing.B, dir string) (sum float64) {
	b.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += float64(info.Size())
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return sum
}
