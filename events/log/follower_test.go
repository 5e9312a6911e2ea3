package log

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
)

// ear hears what a follower of hv1 would.
type ear struct {
	lab  *lab
	live chan *nats.Msg
}

func (l *lab) listen() *ear {
	l.t.Helper()
	e := &ear{lab: l, live: make(chan *nats.Msg, 1000)}
	for _, s := range []string{"hrlive.feed.hv1", "hrlive.feed.hv1.*", "hrlive.net"} {
		if _, err := l.nc.ChanSubscribe(s, e.live); err != nil {
			l.t.Fatal(err)
		}
	}
	return e
}

// heard takes what was heard up to a sequence of the ledger.
func (e *ear) heard(events ...events.Data) []*nats.Msg {
	e.lab.t.Helper()
	e.lab.publish(events...)
	if err := e.lab.nc.Flush(); err != nil {
		e.lab.t.Fatal(err)
	}
	var list []*nats.Msg
	for {
		select {
		case m := <-e.live:
			list = append(list, m)
		default:
			return list
		}
	}
}

// still makes a follower of hv1 that has caught up and is told by the test
// what it hears.
func (l *lab) still() *Follower {
	l.t.Helper()
	f := NewFollower(l.nc, "hv1", FollowerOptions{Logger: testLogger()})
	if _, err := f.catchUp(l.ctx); err != nil {
		l.t.Fatal(err)
	}
	return f
}

func (l *lab) same(f *Follower) {
	l.t.Helper()
	if have, want := desired(l.t, f.State(), "hv1"), desired(l.t, l.replay(), "hv1"); have != want {
		l.t.Errorf("the follower has %s\nreplay has       %s", have, want)
	}
}

// TestEveryLostMessageShows loses each live message in turn.
func TestEveryLostMessageShows(t *testing.T) {
	l := newLab(t)
	l.base()
	l.serve()
	e := l.listen()
	lan := network("lan", "private", "10.0.0.0/16")
	lan.MTU = 1400
	for round := range 8 {
		f := l.still()
		lan.MTU++
		ip := func(n int) *events.IPAssigned { return assign(fmt.Sprintf("203.0.113.%d/32", 2*round+n), "vm1") }
		msgs := e.heard(ip(1), lan)
		if len(msgs) != 3 {
			t.Fatalf("heard %d messages; want a feed, a tick and a network's tick", len(msgs))
		}
		lost := -1
		if round < len(msgs) {
			lost = round
			msgs = slices.Delete(msgs, lost, lost+1)
		}
		lan.MTU++
		msgs = append(msgs, e.heard(ip(2), lan)...)
		gap := false
		for _, m := range msgs {
			gap = f.handle(m) || gap
			f.handle(m) // twice is once
		}
		if gap != (lost >= 0) || (f.Status().Gaps > 0) != gap {
			t.Errorf("lost message %d: gap is %v, status %+v", lost, gap, f.Status())
		}
		if gap {
			if _, err := f.catchUp(l.ctx); err != nil {
				t.Fatal(err)
			}
		}
		l.same(f)
		if next, err := f.catchUp(l.ctx); err != nil || f.Status().Gaps > 1 || next <= 0 {
			t.Errorf("afterwards: %v, %+v", err, f.Status())
		}
	}
}

// TestWhatIsMissedWithoutATraceIsFound loses the last messages there are: only
// asking helps.
func TestWhatIsMissedWithoutATraceIsFound(t *testing.T) {
	l := newLab(t)
	l.base()
	l.serve()
	f := l.still()
	before := f.Status().Snapshots
	l.publish(assign("203.0.113.7/32", "vm1"), &events.VMMigrated{VM: "vm2", To: "hv1"})
	if _, err := f.catchUp(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.same(f)
	l.publish(&events.VMMigrated{VM: "vm1", To: "hv2"})
	l.publish(&events.VMDeleted{VM: "vm1"}, &events.VMDeleted{VM: "vm2"}, &events.NetworkRemoved{Network: "lan"})
	if _, err := f.catchUp(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.same(f)
	if n := len(f.State().Guests()) + len(f.State().Networks()); n != 1 {
		t.Errorf("%d guests and networks are left; want one network", n)
	}
	if got := f.Status().Snapshots - before; got != 2 {
		t.Errorf("%d snapshots; want 2", got)
	}
}

// TestOldLiveMessagesDoNotBringGuestsBack delivers late what a snapshot covers.
func TestOldLiveMessagesDoNotBringGuestsBack(t *testing.T) {
	l := newLab(t)
	l.base()
	l.serve()
	e := l.listen()
	late := e.heard(assign("203.0.113.7/32", "vm1"), &events.VMDeleted{VM: "vm1"})
	f := l.still()
	for _, m := range late {
		if f.handle(m) {
			t.Error("an old message counts as a gap")
		}
	}
	l.same(f)
	if len(f.State().Guests()) != 0 {
		t.Error("the guest is back")
	}
}

// TestACommandIsSeenWhole moves an address between two guests of a hypervisor.
func TestACommandIsSeenWhole(t *testing.T) {
	l := newLab(t)
	l.base()
	l.publish(guest("vm3", "hv1", "web"), assign("203.0.113.7/32", "vm1"))
	l.serve()
	e := l.listen()
	f := l.still()
	msgs := e.heard(&events.IPMoved{Prefix: pfx("203.0.113.7/32"), To: "vm3"})
	if len(msgs) != 3 {
		t.Fatalf("heard %d messages; want two feeds and a tick", len(msgs))
	}
	before := desired(t, f.State(), "hv1")
	for i, m := range msgs {
		if now := desired(t, f.State(), "hv1"); now != before {
			t.Errorf("changed after %d of %d messages: %s", i, len(msgs), now)
		}
		f.handle(m)
	}
	l.same(f)
}

func TestFollowerIgnoresForgedLiveMessages(t *testing.T) {
	l := newLab(t)
	l.base()
	l.serve()
	f := l.follow("hv1", FollowerOptions{})
	before := f.Status()
	for _, m := range []*nats.Msg{
		{Subject: "hrlive.feed.hv1", Data: []byte("{}")},
		{Subject: "hrlive.feed.hv1", Header: nats.Header{nats.JSSequence: {"9999"}, nats.JSTimeStamp: {"2026-11-22T03:12:00Z"}, nats.JSSubject: {"hr.feed.hv2"}}},
		{Subject: "hrlive.feed.hv1.vm1", Header: nats.Header{nats.JSSequence: {"x"}}},
	} {
		if err := l.nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	l.publish(assign("203.0.113.7/32", "vm1"))
	testenv.Eventually(t, "the next event arrives", func() bool { return f.Status().Tick > before.Tick })
	l.same(f)
	if s := f.Status(); s.Gaps != 0 || s.Quarantined != 0 {
		t.Errorf("status %+v", s)
	}
}

// TestFollowerGoesOnFromWhatItKept restarts a follower with its checkpoint.
func TestFollowerGoesOnFromWhatItKept(t *testing.T) {
	l := newLab(t)
	l.base()
	l.serve()
	state, cursor := l.still().Checkpoint()
	f := l.follow("hv1", FollowerOptions{State: state, Cursor: cursor})
	if n := f.Status().Snapshots; n != 0 {
		t.Errorf("took %d snapshots, and nothing had changed", n)
	}
	l.publish(&events.VMDeleted{VM: "vm1"}, assign("203.0.113.9/32", "vm2"))
	f = l.follow("hv1", FollowerOptions{State: state, Cursor: cursor})
	if n := f.Status().Snapshots; n != 1 {
		t.Errorf("took %d snapshots; want 1", n)
	}
	l.same(f)
	// Without the cursor, or from another log, nothing of the old is left.
	cursor.Ledger = "another"
	for _, o := range []FollowerOptions{{State: state}, {State: state, Cursor: cursor}} {
		l.same(l.follow("hv1", o))
	}
}

// TestFollowerServesOnWithoutTheLog takes the server away and brings it back.
func TestFollowerServesOnWithoutTheLog(t *testing.T) {
	store := t.TempDir()
	s, stop := startServer(t, ServerOptions{Store: store, Listen: "127.0.0.1:0"})
	url := s.URL()
	dial := func() *nats.Conn {
		nc, err := Connect(url, ConnectOptions{Name: t.Name(), Logger: testLogger()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	l := &lab{t: t, ctx: testContext(t), server: s, nc: dial()}
	var err error
	if l.ledger, err = Open(l.ctx, l.nc, Options{}); err != nil {
		t.Fatal(err)
	}
	l.serve()
	l.base()
	f, _ := l.followFrom(dial(), "hv1", FollowerOptions{})
	before := desired(t, f.State(), "hv1")
	stop()
	testenv.Eventually(t, "the follower notices", func() bool { st := f.Status(); return !st.Connected && !st.InSync && st.LastError != "" })
	if now := desired(t, f.State(), "hv1"); now != before {
		t.Errorf("forgot something: %s", now)
	}
	startServer(t, ServerOptions{Store: store, Listen: strings.TrimPrefix(url, "nats://")})
	testenv.Eventually(t, "everybody is back", func() bool { return l.nc.IsConnected() && f.Status().InSync })
	l.publish(assign("203.0.113.7/32", "vm1"))
	testenv.Eventually(t, "the follower follows", func() bool {
		return desired(t, f.State(), "hv1") == desired(t, l.replay(), "hv1")
	})
	if st := f.Status(); st.LastError != "" || !st.InSync || st.Since.IsZero() {
		t.Errorf("status %+v", st)
	}
}

// TestAntiEntropy has the follower find by itself what it missed.
func TestAntiEntropy(t *testing.T) {
	l := newLab(t)
	l.base()
	l.serve()
	f := NewFollower(l.nc, "hv1", FollowerOptions{Interval: 50 * time.Millisecond, Logger: testLogger()})
	deaf := make(chan *nats.Msg) // hears nothing, as behind a broken route
	task(t, func(ctx context.Context) error { return f.loop(ctx, deaf, nil) })
	l.await("the first catch-up", f.InSync())
	l.publish(assign("203.0.113.7/32", "vm1"))
	want := desired(t, l.replay(), "hv1")
	testenv.Eventually(t, "the follower asks", func() bool { return desired(t, f.State(), "hv1") == want })
}

func TestChangesAreSignalledOnce(t *testing.T) {
	l := newLab(t)
	l.base()
	l.serve()
	f := l.follow("hv1", FollowerOptions{})
	<-f.Changes() // the first state
	l.publish(assign("203.0.113.7/32", "vm1"))
	select {
	case <-f.Changes():
	case <-time.After(patience):
		t.Fatal("no signal")
	}
	l.same(f)
	f.signal()
	f.signal()
	<-f.Changes()
	select {
	case <-f.Changes():
		t.Error("two signals wait")
	default:
	}
}

func TestFollowerRefusesABadName(t *testing.T) {
	l := newLab(t)
	if err := NewFollower(l.nc, "hv.>", FollowerOptions{}).Run(l.ctx); err == nil {
		t.Error("a name with a wildcard is accepted")
	}
}

// TestDoubt: who doubts what it knows is in sync again by an answer to a question
// that was asked after that.
func TestDoubt(t *testing.T) {
	l := newLab(t)
	l.base()
	l.serve()
	f := l.still()
	first := f.Doubt()
	is := func(answered <-chan struct{}) bool {
		select {
		case <-answered:
			return true
		default:
			return false
		}
	}
	if is(first) || f.Status().InSync {
		t.Error("in sync with nobody asked")
	}
	early, err := f.ask(l.ctx, Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.take(early, nil); err != nil { // asked before the doubt
		t.Fatal(err)
	}
	if is(first) || f.Status().InSync {
		t.Error("in sync by an answer to a question from before the doubt")
	}
	cancelled, cancel := context.WithCancel(l.ctx)
	cancel()
	if _, err := f.catchUp(cancelled); err == nil || is(first) {
		t.Errorf("answered by nobody: %v", err)
	}
	if _, err := f.catchUp(l.ctx); err != nil {
		t.Fatal(err)
	}
	if !is(first) || !f.Status().InSync {
		t.Error("not in sync though the log has answered")
	}
	<-l.follow("hv1", FollowerOptions{Interval: time.Hour}).Doubt() // one that runs asks at once
}
