package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/projector"
)

func TestServiceRoundTrip(t *testing.T) {
	l := newLab(t)
	l.serve()
	nc := connect(t, l.server)
	c := NewClient(nc, patience)
	for _, d := range []events.Data{network("web", "public", "203.0.113.0/24"), hypervisor("hv1"), guest("vm1", "hv1", "web")} {
		if _, err := c.Publish(l.ctx, events.Event{Data: d}); err != nil {
			t.Fatal(err)
		}
	}
	e := events.Event{ID: "one", Data: assign("203.0.113.7/32", "vm1")}
	first, err := c.Publish(l.ctx, e)
	if err != nil || first.ID != "one" || first.Sequence == 0 || first.Duplicate {
		t.Fatalf("got %+v, %v", first, err)
	}
	again, err := c.Publish(l.ctx, e)
	if err != nil || again.Sequence != first.Sequence || !again.Duplicate {
		t.Errorf("again: got %+v, %v", again, err)
	}
	_, err = c.Publish(l.ctx, events.Event{Data: assign("198.51.100.7/32", "vm1")})
	wantError(t, err, events.CodeInvalid, "IPAssigned", "prefix", "198.51.100.7/32")
}

// TestServiceAnswersAnyLanguage sends what a publisher without this package would.
func TestServiceAnswersAnyLanguage(t *testing.T) {
	l := newLab(t)
	l.serve()
	for _, c := range []struct{ request, want, status string }{
		{`{"type":"HypervisorRegistered","id":"a","data":{"hypervisor":"hv1"}}`, `{"sequence":1,"id":"a","duplicate":false}`, ""},
		{`{"type":"HypervisorRegistered","id":"a","data":{"hypervisor":"hv1"}}`, `{"sequence":1,"id":"a","duplicate":true}`, ""},
		{`{"type":"HypervisorRegistered","data":{"hypervisor":"HV 1"}}`, `"field":"hypervisor","value":"HV 1"`, "400"},
		{`{"type":"HypervisorExploded","data":{}}`, `"field":"type","value":"HypervisorExploded"`, "400"},
		{`{"type":"IPAssigned","data":{"prefix":"203.0.113.7/24","vm":"a"}}`, `"value":"203.0.113.7/24"`, "400"},
		{`rubbish`, `"code":"invalid"`, "400"},
		{``, `"code":"invalid"`, "400"},
	} {
		m, err := l.nc.Request(SubjectPublish, []byte(c.request), patience)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(m.Data), c.want) || m.Header.Get("Nats-Service-Error-Code") != c.status {
			t.Errorf("%s answers %s with status %q; want %s and %q", c.request, m.Data, m.Header.Get("Nats-Service-Error-Code"), c.want, c.status)
		}
	}
}

func TestWithoutAServiceTheClientSaysSo(t *testing.T) {
	l := newLab(t)
	_, err := NewClient(l.nc, patience).Publish(l.ctx, events.Event{Data: hypervisor("hv1")})
	if !errors.Is(err, ErrNoService) || !strings.Contains(err.Error(), "is `hostroute log serve` running?") {
		t.Errorf("got %v", err)
	}
}

// ask takes a snapshot as a follower does.
func (l *lab) ask(hypervisor string, have Cursor) snapshot {
	l.t.Helper()
	s, err := NewFollower(l.nc, hypervisor, FollowerOptions{}).ask(l.ctx, have)
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

func TestSnapshotOfAnUnknownHypervisor(t *testing.T) {
	l := newLab(t)
	l.base()
	l.serve()
	s := l.ask("hv9", Cursor{})
	if s.end.Registered || len(s.messages) != 2 || s.end.Tick != (Link{}) {
		t.Errorf("got %+v with %d messages; want both networks, no tick, not registered", s.end, len(s.messages))
	}
	f := l.follow("hv9", FollowerOptions{})
	if st := f.Status(); st.Registered || !st.InSync {
		t.Errorf("status %+v; want in sync and not registered", st)
	}
	l.publish(hypervisor("hv9"))
	testenv.Eventually(t, "the follower notices its registration", func() bool { return f.Status().Registered })
}

func TestSnapshotUnchanged(t *testing.T) {
	l := newLab(t)
	l.base()
	l.serve()
	s := l.ask("hv1", Cursor{})
	have := Cursor{Ledger: s.end.Ledger, Tick: s.end.Tick, NetTick: s.end.NetTick}
	if again := l.ask("hv1", have); !again.end.Unchanged || len(again.messages) != 0 {
		t.Errorf("got %+v; want unchanged", again.end)
	}
	have.Ledger = "another"
	if again := l.ask("hv1", have); again.end.Unchanged {
		t.Error("unchanged, though the asker knows another log")
	}
	l.publish(assign("203.0.113.7/32", "vm2")) // nothing to do with hv1
	have.Ledger = s.end.Ledger
	if again := l.ask("hv1", have); !again.end.Unchanged {
		t.Error("changed by what doesn't concern it")
	}
	l.publish(&events.VMDeleted{VM: "vm1"})
	if again := l.ask("hv1", have); again.end.Unchanged || again.end.Tick.Sequence <= s.end.Tick.Sequence || len(again.messages) != 4 {
		t.Errorf("got %+v with %d messages; want the tick, two networks, and the end of the guest", again.end, len(again.messages))
	}
	if fresh := l.ask("hv1", Cursor{}); len(fresh.messages) != 3 {
		t.Errorf("who never knew the guest is told of %d messages; want the tick and two networks", len(fresh.messages))
	}
}

// fill writes a hypervisor with many guests in few large batches, as it would
// be after many commands.
func (l *lab) fill(hv string, guests int) {
	l.t.Helper()
	l.publish(network("web", "public", "10.0.0.0/8"), hypervisor(hv))
	ticks, err := l.ledger.get.last(l.ctx, events.SubjectTick(hv))
	if err != nil {
		l.t.Fatal(err)
	}
	prev := ticks[events.SubjectTick(hv)].link()
	for done := 0; done < guests; done += 400 {
		prev = l.fillBatch(hv, done, min(400, guests-done), prev)
	}
}

func TestSnapshotOfManyGuestsComesInParts(t *testing.T) {
	l := newLab(t)
	l.serve()
	const guests = 2000
	l.fill("hv1", guests)
	s := l.ask("hv1", Cursor{})
	if len(s.messages) != guests+2 {
		t.Errorf("%d messages; want %d guests, the tick and a network", len(s.messages), guests)
	}
	parts := 0
	c := newChunker(l.nc.MaxPayload(), func(payload []byte) error {
		parts++
		if int64(len(payload)) > l.nc.MaxPayload()/2 {
			t.Errorf("part %d has %d bytes", parts, len(payload))
		}
		return nil
	})
	for _, r := range s.messages {
		if err := c.add(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.finish(s.end); err != nil || parts < 4 {
		t.Errorf("%d parts, %v; want several", parts, err)
	}
	f := l.follow("hv1", FollowerOptions{})
	if n := len(f.State().Guests()); n != guests {
		t.Errorf("the follower has %d guests; want %d", n, guests)
	}
}

func TestASnapshotThatIsNotWholeIsRefused(t *testing.T) {
	l := newLab(t)
	l.base()
	l.serve()
	for name, damage := range map[string]func(*snapshot){
		"a message is missing":  func(s *snapshot) { s.messages = s.messages[1:] },
		"a body was altered":    func(s *snapshot) { s.messages[0].Body = append([]byte(" "), s.messages[0].Body...) },
		"a subject was altered": func(s *snapshot) { s.messages[0].Subject = "hr.feed.hv1.other" },
	} {
		s := l.ask("hv1", Cursor{})
		damage(&s)
		if s.check() == nil {
			t.Errorf("%s, and the snapshot passes", name)
		}
	}
}

func TestTooLargeAMessageDoesNotBlockASnapshot(t *testing.T) {
	var chunks []snapshotChunk
	c := newChunker(1<<20, func(payload []byte) error {
		if len(payload) > 1<<20 {
			t.Errorf("a part of %d bytes", len(payload))
		}
		var chunk snapshotChunk
		chunks = append(chunks, chunk)
		return json.Unmarshal(payload, &chunks[len(chunks)-1])
	})
	for _, r := range []raw{{Subject: "hr.feed.hv1.a", Sequence: 1, Body: []byte("x")},
		{Subject: "hr.feed.hv1.b", Sequence: 2, Body: make([]byte, 1<<20)}} {
		if err := c.add(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.finish(snapshotEnd{}); err != nil {
		t.Fatal(err)
	}
	var s snapshot
	for _, c := range chunks {
		for _, w := range c.Messages {
			s.messages = append(s.messages, w.raw())
		}
		if c.End != nil {
			s.end = *c.End
		}
	}
	if err := s.check(); err != nil || len(s.messages) != 2 {
		t.Errorf("%d messages, %v", len(s.messages), err)
	}
}

// TestWhatIsStoredFitsIntoASnapshot carries the longest message there can be,
// with the longest headers.
func TestWhatIsStoredFitsIntoASnapshot(t *testing.T) {
	const maxPayload = 1 << 20
	name := strings.Repeat("n", events.MaxNameLength)
	subject := events.SubjectFeed(name, name)
	h := headersOf(events.Event{ID: strings.Repeat("<", 255), Source: strings.Repeat("&", 255), Time: testTime, Data: &events.NetworkDefined{}})
	h[headerOffset] = []string{"999"}
	carried := 0
	c := newChunker(maxPayload, func(payload []byte) error {
		if len(payload) > maxPayload {
			t.Errorf("a part of %d bytes", len(payload))
		}
		var chunk snapshotChunk
		err := json.Unmarshal(payload, &chunk)
		for _, m := range chunk.Messages {
			carried += len(m.Body)
		}
		return err
	})
	size := int(largest(subject, maxPayload))
	if err := errors.Join(c.add(raw{Subject: subject, Sequence: 1 << 60, Header: h, Body: make([]byte, size)}), c.finish(snapshotEnd{})); err != nil {
		t.Fatal(err)
	}
	if carried != size {
		t.Errorf("%d bytes of %d are carried", carried, size)
	}
}

// TestServiceStopsWithItsContext publishes right up to the stop.
func TestServiceStopsWithItsContext(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithCancel(l.ctx)
	s := NewService(l.ledger, nil)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	l.await("the service", s.Ready())
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("it doesn't stop")
	}
	if _, err := NewClient(l.nc, patience).Publish(l.ctx, events.Event{Data: hypervisor("hv1")}); !errors.Is(err, ErrNoService) {
		t.Errorf("got %v; want that nobody answers", err)
	}
}

// fillBatch writes guests and one tick that covers them, and names the tick.
func (l *lab) fillBatch(hv string, from, n int, prev Link) Link {
	l.t.Helper()
	d := projector.Decision{Event: events.Event{ID: fmt.Sprintf("fill-%d", from), Time: testTime,
		Data: guest(fmt.Sprintf("vm-%d", from), hv, "web")}}
	v, err := l.ledger.newView(l.ctx, false)
	if err != nil {
		l.t.Fatal(err)
	}
	var vms []string
	for i := range n {
		e := guest(fmt.Sprintf("vm-%d", from+i), hv, "web")
		g := &projector.Guest{VM: e.VM, Hypervisor: hv, Interfaces: []projector.Interface{{Interface: e.Interfaces[0], VRF: "public"}}}
		if i == 0 {
			d.Messages = append(d.Messages, projector.Message{Subject: events.SubjectVM(e.VM), State: g, Chained: true})
		}
		d.Messages = append(d.Messages, projector.Message{Subject: events.SubjectFeed(hv, e.VM), State: g})
		vms = append(vms, e.VM)
	}
	tick := projector.Message{Subject: events.SubjectTick(hv), State: &projector.Hypervisor{Name: hv}, Feed: vms, Chained: true}
	d.Messages = append(d.Messages, tick)
	msgs, err := v.batch(l.ctx, d)
	if err != nil {
		l.t.Fatal(err)
	}
	sequence, o, err := l.ledger.send(l.ctx, msgs)
	if o != outcomeStored {
		l.t.Fatal(err)
	}
	last := msgs[len(msgs)-1]
	return Link{Sequence: sequence + uint64(len(msgs)) - 1, Hash: hashOf(last.Subject, last.Header, last.Data)}
}

// TestAStopLosesNoAnswer stops one of two services under load: every request
// is answered, and what was answered as stored is stored.
func TestAStopLosesNoAnswer(t *testing.T) {
	l := newLab(t)
	l.base()
	first := NewService(l.ledger, nil)
	stop := task(t, first.Run)
	l.await("the first service", first.Ready())
	l.serve()
	c := NewClient(connect(t, l.server), patience)
	var stored sync.Map
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 5 {
				e := events.Event{ID: fmt.Sprintf("%d-%d", i, n), Data: assign(fmt.Sprintf("203.0.113.%d/32", 10*i+n+1), "vm2")}
				s, err := c.Publish(l.ctx, e)
				if err != nil && !strings.Contains(err.Error(), stoppingReason) {
					t.Error(err)
				}
				if err == nil {
					stored.Store(e.ID, s.Sequence)
				}
				if i == 0 && n == 2 {
					stop()
				}
			}
		})
	}
	wg.Wait()
	have := map[string]uint64{}
	if err := l.ledger.Read(l.ctx, Filter{VM: "vm2"}, false, func(e Entry) error { have[e.ID] = e.Sequence; return nil }); err != nil {
		t.Fatal(err)
	}
	count := 0
	stored.Range(func(id, sequence any) bool {
		count++
		if have[id.(string)] != sequence.(uint64) {
			t.Errorf("%s was answered as stored at %d, and the log has it at %d", id, sequence, have[id.(string)])
		}
		return true
	})
	if count < 30 {
		t.Errorf("%d of 40 were stored", count)
	}
}
