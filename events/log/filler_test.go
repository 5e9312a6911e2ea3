package log

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/projector"
)

// filler writes a log as many commands would have, without asking for each
// whether it may: nobody else writes, so all sequences are known beforehand.
type filler struct {
	b       *testing.B
	js      jetstream.JetStream
	next    uint64 // sequence of the next message
	links   map[string]Link
	shared  *projector.State // networks and hypervisors
	groups  []*group
	halfway time.Time // in the fill
}

// group is a guest that moves between two hypervisors, with an address that it
// gets and loses.
type group struct {
	vm          string
	prefix      netip.Prefix
	hypervisors [2]string
	state       *projector.State
}

// maxAsync is how many messages of a filler are under way at once.
const maxAsync = 4096

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

func (f *filler) wait() {
	select {
	case <-f.js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		f.b.Fatal("the server doesn't answer")
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
