package log

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/audit"
	"github.com/hostroute/hostroute/projector"
)

// Sizes of logs, in events. HOSTROUTE_BENCH_EVENTS is one of one's own instead.
var historySizes = []int{100_000, 1_000_000, 10_000_000}

const (
	eventsEach = 10      // of a guest
	atOnce     = 250_000 // guests whose events alternate
	ownGuests  = 1000
)

// BenchmarkHistory prints what depends on how long the log is, or must not:
//
//   - fresh-hypervisor: an agent that knows nothing, until it wants what it must
//     for 1,000 guests of its own, half of them older than all others;
//   - the questions of audit. Each guest has ten events, and hundreds of thousands
//     of others are between any two, which is the worst case for a reader. "first"
//     is the very first question to a server that has just started.
//
// Ten million events are fifty million messages, which take some 40 GB of disk
// while it runs, 12 GB of memory, and about half an hour.
func BenchmarkHistory(b *testing.B) {
	sizes := historySizes
	if s := os.Getenv("HOSTROUTE_BENCH_EVENTS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		sizes = []int{n}
	}
	for _, n := range sizes {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) {
			l, f := newHistory(b, n)
			b.Run("audit/first", func(b *testing.B) { once(b, func() { l.askAddress(b, f, 0, audit.Always()) }) })
			b.Run("audit/hypervisor", func(b *testing.B) { once(b, func() { l.askHypervisor(b, f) }) })
			for _, q := range questions {
				b.Run("audit/"+q.name, func(b *testing.B) {
					i := 0
					for b.Loop() {
						q.ask(l, b, f, i*7919%len(f.groups)) // far from the one before
						i++
					}
				})
			}
			l.serveFilled(f)
			b.Run("fresh-hypervisor", func(b *testing.B) {
				for b.Loop() {
					l.fresh(b)
				}
			})
		})
	}
}

// newHistory fills a log and restarts its server.
func newHistory(b *testing.B, total int) (*lab, *filler) {
	b.Helper()
	dir := b.TempDir()
	s, stop := startServer(b, ServerOptions{Store: dir})
	nc := connect(b, s)
	if _, err := Open(b.Context(), nc, Options{}); err != nil {
		b.Fatal(err)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(maxAsync))
	if err != nil {
		b.Fatal(err)
	}
	f := &filler{b: b, js: js, next: 1, links: map[string]Link{}, shared: projector.New()}
	start := time.Now()
	f.publish(f.shared, network("web", "public", "10.0.0.0/8"))
	f.homed("hv-own", 1<<22, ownGuests/2)
	f.spread(total - 2*ownGuests)
	f.homed("hv-own", 1<<22+ownGuests/2, ownGuests/2)
	f.wait()
	b.Logf("%d events in %d messages filled in %s", total, f.next-1, time.Since(start).Round(time.Second))
	nc.Close()
	stop()

	s, _ = startServer(b, ServerOptions{Store: dir})
	l := &lab{t: b, ctx: b.Context(), server: s, nc: connect(b, s)}
	if l.ledger, err = Open(l.ctx, l.nc, Options{}); err != nil {
		b.Fatal(err)
	}
	if last, err := l.ledger.LastSequence(l.ctx); err != nil || last != f.next-1 {
		b.Fatalf("the log ends at %d and was filled to %d: %v", last, f.next-1, err)
	}
	return l, f
}

// fresh is an agent's first snapshot.
func (l *lab) fresh(b *testing.B) {
	follower := NewFollower(l.nc, "hv-own", FollowerOptions{})
	if _, err := follower.catchUp(l.ctx); err != nil {
		b.Fatal(err)
	}
	if n := len(projector.Desired(follower.State(), "hv-own").Announcements); n != ownGuests {
		b.Fatalf("%d announcements, want %d", n, ownGuests)
	}
}

var questions = []struct {
	name string
	ask  func(l *lab, b *testing.B, f *filler, guest int)
}{
	{"ip", func(l *lab, b *testing.B, f *filler, i int) { l.askAddress(b, f, i, audit.Always()) }},
	{"ip-at", func(l *lab, b *testing.B, f *filler, i int) { l.askAddress(b, f, i, audit.At(f.next)) }},
	{"ip6-nobody", func(l *lab, b *testing.B, f *filler, i int) { l.askNobody(b, i) }},
	{"vm", (*lab).askGuest},
	{"time-to-sequence", (*lab).askTime},
}

func (l *lab) askAddress(b *testing.B, f *filler, i int, w audit.Window) {
	p := f.groups[i].prefix
	h := ask(l, func(b *audit.Book) (audit.AddressHistory, error) { return b.Address(p, "", w) })
	if len(h.Tenures) == 0 || len(h.Damaged) > 0 {
		b.Fatalf("%s: %+v", p, h)
	}
}

func (l *lab) askNobody(b *testing.B, i int) {
	p := netip.MustParsePrefix(fmt.Sprintf("2001:db8:1::%x/128", i%0xffff))
	h := ask(l, func(b *audit.Book) (audit.AddressHistory, error) { return b.Address(p, "", audit.Always()) })
	if len(h.Tenures) > 0 {
		b.Fatalf("%+v", h)
	}
}

func (l *lab) askGuest(b *testing.B, f *filler, i int) {
	vm := f.groups[i].vm
	h := ask(l, func(b *audit.Book) (audit.GuestHistory, error) { return b.Guest(vm, audit.Always()) })
	if len(h.Lives) != 1 || len(h.Damaged) > 0 {
		b.Fatalf("%+v", h)
	}
}

func (l *lab) askHypervisor(b *testing.B, f *filler) {
	hv := f.groups[0].hypervisors[0]
	h := ask(l, func(b *audit.Book) (audit.HypervisorHistory, error) { return b.Hypervisor(hv, audit.Always()) })
	if len(h.Guests) == 0 {
		b.Fatalf("%+v", h)
	}
	b.ReportMetric(float64(len(h.Guests)), "stays")
}

func (l *lab) askTime(b *testing.B, f *filler, _ int) {
	n, err := l.ledger.SequenceBefore(l.ctx, f.halfway)
	if err != nil || n == 0 || n >= f.next {
		b.Fatalf("%d of %d: %v", n, f.next, err)
	}
}

// once measures what is done once, however often it is asked for.
func once(b *testing.B, do func()) {
	start := time.Now()
	do()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "ms")
}

// spread fills the log with so many events of guests of others, of which ten are
// one guest's. No hypervisor of theirs is called hv-own.
func (f *filler) spread(total int) {
	for from := 0; from < total/eventsEach; from += atOnce {
		f.alternate(from, min(atOnce, total/eventsEach-from))
	}
}

func (f *filler) alternate(from, guests int) {
	hv := func(i int) string { return fmt.Sprintf("hv%d", i/100) }
	for i := from; i < from+guests+200; i += 100 {
		if f.shared.Hypervisor(hv(i)) == nil {
			f.publish(f.shared, &events.HypervisorRegistered{Hypervisor: hv(i)})
		}
	}
	for i := from; i < from+guests; i++ {
		f.groups = append(f.groups, &group{vm: fmt.Sprintf("vm%d", i), prefix: numbered(i), hypervisors: [2]string{hv(i), hv(i + 100)}})
	}
	for round := range eventsEach {
		for _, g := range f.groups[from:] {
			f.publish(g.partial(f.shared), g.event(round))
		}
		if from == 0 && round == eventsEach/2 {
			f.wait()
			f.halfway = time.Now()
		}
	}
	for _, g := range f.groups[from:] {
		g.state = nil // hundreds of thousands of them take gigabytes
	}
}
