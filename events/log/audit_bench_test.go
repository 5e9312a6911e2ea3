package log

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/audit"
	"github.com/hostroute/hostroute/migrations"
	"github.com/hostroute/hostroute/projector"
)

// BenchmarkAudit prints how long questions to history take in a log of a million
// events; HOSTROUTE_BENCH_EVENTS is another number. Each guest has ten events,
// spread evenly over the whole log, which is the worst case for a reader: no two
// of them are near each other. "cold" is the very first question to a server
// that has just started.
//
// A million is what can be filled in some minutes, at four messages an event.
func BenchmarkAudit(b *testing.B) {
	total := 1_000_000
	if s := os.Getenv("HOSTROUTE_BENCH_EVENTS"); s != "" {
		var err error
		if total, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	l, f := newFilledLab(b, total)
	middle := f.next / 2
	p := func(g int) netip.Prefix { return f.groups[g].prefix }
	ip := func(g int, w audit.Window) {
		if h := ask(l, func(b *audit.Book) (audit.AddressHistory, error) { return b.Address(p(g), "", w) }); len(h.Tenures) == 0 || len(h.Damaged) > 0 {
			b.Fatalf("%s: %+v", p(g), h)
		}
	}
	b.Run("cold/ip", func(b *testing.B) { once(b, func() { ip(0, audit.Always()) }) })
	b.Run("hypervisor", func(b *testing.B) {
		once(b, func() {
			hv := f.groups[0].hypervisors[0]
			h := ask(l, func(b *audit.Book) (audit.HypervisorHistory, error) { return b.Hypervisor(hv, audit.Always()) })
			if len(h.Guests) == 0 {
				b.Fatalf("%+v", h)
			}
			b.ReportMetric(float64(len(h.Guests)), "stays")
		})
	})
	for _, q := range []struct {
		name string
		ask  func(i int)
	}{
		{"ip", func(i int) { ip(i%len(f.groups), audit.Always()) }},
		{"ip-at", func(i int) { ip(i%len(f.groups), audit.At(f.next)) }},
		{"ip6-nobody", func(i int) {
			p := netip.MustParsePrefix(fmt.Sprintf("2001:db8:1::%x/128", i%0xffff))
			if h := ask(l, func(b *audit.Book) (audit.AddressHistory, error) { return b.Address(p, "", audit.Always()) }); len(h.Tenures) > 0 {
				b.Fatalf("%+v", h)
			}
		}},
		{"vm", func(i int) {
			vm := f.groups[i%len(f.groups)].vm
			if h := ask(l, func(b *audit.Book) (audit.GuestHistory, error) { return b.Guest(vm, audit.Always()) }); len(h.Lives) != 1 || len(h.Damaged) > 0 {
				b.Fatalf("%+v", h)
			}
		}},
		{"time-to-sequence", func(int) {
			if n, err := l.ledger.SequenceBefore(l.ctx, f.halfway); err != nil || n == 0 || n > middle+uint64(maxAsync) {
				b.Fatalf("%d of %d: %v", n, f.next, err)
			}
		}},
	} {
		b.Run(q.name, func(b *testing.B) {
			i := 0
			for b.Loop() {
				q.ask(i * 7919) // far from the one before
				i++
			}
		})
	}
}

// once measures what is done once, however often it is asked for.
func once(b *testing.B, do func()) {
	start := time.Now()
	do()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "ms")
}

// maxAsync is how many messages of a filler are under way at once.
const maxAsync = 4096

// filler writes a log as many commands would have, without asking for each
// whether it may: nobody else writes, so all sequences are known beforehand.
type filler struct {
	b       *testing.B
	js      jetstream.JetStream
	next    uint64 // sequence of the next message
	links   map[string]Link
	shared  *projector.State // networks and hypervisors
	groups  []*group
	halfway time.Time
}

// group is a guest that moves between two hypervisors, with an address that it
// gets and loses.
type group struct {
	vm          string
	prefix      netip.Prefix
	hypervisors [2]string
	state       *projector.State
}

// newFilledLab fills a log and restarts its server.
func newFilledLab(b *testing.B, total int) (*lab, *filler) {
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
	// The mirror isn't asked here, and would take half of the time to fill.
	if err := js.DeleteStream(b.Context(), migrations.Feeds); err != nil {
		b.Fatal(err)
	}
	f := &filler{b: b, js: js, next: 1, links: map[string]Link{}, shared: projector.New()}
	start := time.Now()
	f.fill(total)
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

const eventsEach = 10 // of a guest

func (f *filler) fill(total int) {
	f.publish(f.shared, network("web", "public", "10.0.0.0/8"))
	f.publish(f.shared, network("lan", "private", "10.0.0.0/8"))
	guests := max(total/eventsEach, 1)
	hv := func(i int) string { return fmt.Sprintf("hv%d", i/100) }
	for i := 0; i < guests+200; i += 100 {
		f.publish(f.shared, &events.HypervisorRegistered{Hypervisor: hv(i)})
	}
	for i := range guests {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		f.groups = append(f.groups, &group{
			vm: fmt.Sprintf("vm%d", i), prefix: netip.PrefixFrom(a, 32), hypervisors: [2]string{hv(i), hv(i + 100)},
		})
	}
	for round := range eventsEach {
		for _, g := range f.groups {
			f.publish(g.partial(f.shared), g.event(round))
		}
		if round == eventsEach/2-1 {
			f.wait()
			f.halfway = time.Now()
		}
	}
	f.wait()
}

func (f *filler) wait() {
	select {
	case <-f.js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		f.b.Fatal("the server doesn't answer")
	}
}

// partial is a state that has just what events of the group depend on.
func (g *group) partial(shared *projector.State) *projector.State {
	if g.state != nil {
		return g.state
	}
	g.state = projector.New()
	wanted := map[string]bool{events.SubjectNet("web"): true, events.SubjectHV(g.hypervisors[0]): true, events.SubjectHV(g.hypervisors[1]): true}
	for subject := range wanted {
		if r := registerOf(shared, subject); r != nil {
			g.state.Put(subject, r)
		}
	}
	return g.state
}

func registerOf(s *projector.State, subject string) projector.Register {
	parsed, err := events.ParseSubject(subject)
	switch {
	case err != nil:
		return nil
	case parsed.Kind == events.KindNet:
		return s.Network(parsed.Name)
	}
	return s.Hypervisor(parsed.Name)
}

// event is what happens to the group in a round.
func (g *group) event(round int) events.Data {
	switch round {
	case 0:
		return guest(g.vm, g.hypervisors[0], "web")
	case 2, 5, 8:
		return &events.VMMigrated{VM: g.vm, To: g.hypervisors[round/3%2^1]}
	case 1, 4, 7:
		return &events.IPAssigned{Prefix: events.PrefixFrom(g.prefix), VM: g.vm}
	case 3, 6:
		return &events.IPReleased{Prefix: events.PrefixFrom(g.prefix), VM: g.vm}
	}
	return &events.VMMigrationStarted{VM: g.vm, To: g.hypervisors[0]}
}

// publish writes the messages of one event, as a batch has them.
func (f *filler) publish(s *projector.State, data events.Data) {
	e := events.Event{ID: fmt.Sprintf("fill-%d", f.next), Source: "fill", Time: time.Now(), Data: data}
	d, err := projector.Decide(s, e)
	if err == nil {
		_, err = s.Apply(projector.Record{Sequence: f.next, Event: d.Event})
	}
	if err != nil {
		f.b.Fatalf("%+v: %v", data, err)
	}
	encoded, err := json.Marshal(d.Event.Data)
	if err != nil {
		f.b.Fatal(err)
	}
	hashes := map[string]string{} // of the feed messages
	for offset, m := range d.Messages {
		state, err := projector.EncodeRegister(m.State)
		if err != nil {
			f.b.Fatal(err)
		}
		b := body{Data: encoded, State: state}
		if m.Chained {
			prev := f.links[m.Subject]
			b.Prev = &prev
		}
		for _, vm := range m.Feed {
			b.Feed = append(b.Feed, covered{VM: vm, Hash: hashes[events.SubjectFeed(strings.TrimPrefix(m.Subject, events.SubjectTick("")), vm)]})
		}
		h := headersOf(d.Event)
		h[headerOffset] = []string{strconv.Itoa(offset)}
		hash := f.store(m.Subject, h, b)
		if m.Chained {
			f.links[m.Subject] = Link{Sequence: f.next, Hash: hash}
		} else {
			hashes[m.Subject] = hash
		}
		f.next++
	}
}

// store writes one message without waiting, and gives its hash.
func (f *filler) store(subject string, h nats.Header, b body) string {
	payload, err := json.Marshal(b)
	if err == nil {
		_, err = f.js.PublishMsgAsync(&nats.Msg{Subject: subject, Header: h, Data: payload}, jetstream.WithStallWait(time.Minute))
	}
	if err != nil {
		f.b.Fatal(err)
	}
	return hashOf(subject, h, payload)
}
