package log

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/projector"
)

// TestASnapshotIsOfOneMoment moves an address between two guests of one
// hypervisor all the time: whenever a snapshot is taken, one of them has it.
func TestASnapshotIsOfOneMoment(t *testing.T) {
	l := newLab(t)
	l.base()
	l.publish(guest("vm9", "hv1", "web"), assign("203.0.113.7/32", "vm1"))
	ctx, cancel := context.WithCancel(l.ctx)
	done := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			to := []string{"vm9", "vm1"}[i%2]
			if _, err := l.ledger.Publish(ctx, events.Event{Data: &events.IPMoved{Prefix: pfx("203.0.113.7/32"), To: to}}); err != nil {
				done <- err
				return
			}
		}
	}()
	defer func() { cancel(); <-done }()
	for round := range 60 {
		holders := map[string]bool{}
		var newest uint64
		end, err := l.ledger.snapshot(l.ctx, "hv1", Cursor{}, func(r raw) error {
			_, register, err := readRegister(r)
			if g, ok := register.(*projector.Guest); ok {
				newest = max(newest, r.Sequence)
				for _, a := range g.Addresses {
					if a.Prefix == pfx("203.0.113.7/32").Prefix {
						holders[g.VM] = true
					}
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(holders) != 1 || newest > end.Tick.Sequence {
			t.Fatalf("round %d: the address is with %v; newest message %d, tick %d", round, holders, newest, end.Tick.Sequence)
		}
	}
}

// TestALogThatWentBackIsNoticed has a follower know what the log doesn't have
// any more: its sequences mean something else now.
func TestALogThatWentBackIsNoticed(t *testing.T) {
	for name, change := range map[string]func(*Cursor){
		"another tick there":               func(c *Cursor) { c.Tick.Hash = "lost" },
		"another network's tick there":     func(c *Cursor) { c.NetTick.Hash = "lost" },
		"something else there":             func(c *Cursor) { c.Tick = Link{Sequence: 1, Hash: "lost"} },
		"something else where it's behind": func(c *Cursor) { c.Tick.Sequence++; c.Tick.Hash = "lost" },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.base()
			l.serve()
			f := l.still()
			l.publish(&events.HypervisorDrained{Hypervisor: "hv2"}) // takes the sequence behind hv1's
			l.publish(assign("203.0.113.7/32", "vm1"))
			if _, err := f.catchUp(l.ctx); err != nil {
				t.Fatal(err)
			}
			l.publish(&events.HypervisorUndrained{Hypervisor: "hv2"})
			lost, err := projector.DecodeRegister("hr.vm.vm1", []byte("null"), 1<<40)
			if err != nil || !f.state.Put("hr.vm.vm1", lost) {
				t.Fatal("the follower doesn't take what it shall have known")
			}
			change(&f.cursor)
			if _, err := f.catchUp(l.ctx); err != nil {
				t.Fatal(err)
			}
			l.same(f)
		})
	}
}

// TestWhatEndedIsForgotten wants nothing left of guests and networks that are
// gone, or a follower would grow for as long as it runs.
func TestWhatEndedIsForgotten(t *testing.T) {
	l := newLab(t)
	l.base()
	l.serve()
	f := l.follow("hv1", FollowerOptions{})
	l.publish(network("brief", "private", "192.168.0.0/24"), guest("brief", "hv1", "brief"))
	testenv.Eventually(t, "the guest is known", func() bool { return f.State().Guest("brief") != nil && f.State().Network("brief") != nil })
	l.publish(&events.VMDeleted{VM: "brief"}, &events.NetworkRemoved{Network: "brief"})
	testenv.Eventually(t, "it is gone", func() bool { return f.State().Guest("brief") == nil && f.State().Network("brief") == nil })
	for _, subject := range []string{"hr.vm.brief", "hr.net.brief"} {
		oldest, err := projector.DecodeRegister(subject, []byte("null"), 1)
		if err != nil {
			t.Fatal(err)
		}
		if !f.State().Put(subject, oldest) {
			t.Errorf("%s is still remembered", subject)
		}
	}
	if n := f.Status().Gaps; n != 0 {
		t.Errorf("%d gaps", n)
	}
}

// TestAGoodMessageEndsAQuarantine for the guest that it is about, live and by a
// snapshot, and only for that one.
func TestAGoodMessageEndsAQuarantine(t *testing.T) {
	l := newLab(t)
	l.base()
	l.publish(guest("vm9", "hv1", "web"))
	l.serve()
	f := l.follow("hv1", FollowerOptions{})
	late := l.still()
	for _, vm := range []string{"vm1", "vm9"} {
		l.raw("hr.feed.hv1."+vm, nil, "rubbish")
	}
	testenv.Eventually(t, "both are noticed", func() bool { return f.Status().Quarantined == 2 })
	if _, err := late.catchUp(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.publish(assign("203.0.113.7/32", "vm1"))
	testenv.Eventually(t, "one is well again", func() bool { return f.Status().Quarantined == 1 })
	if _, err := late.catchUp(l.ctx); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*Follower{f, late} {
		if q := f.State().Quarantined(); len(q) != 1 || q[0].Subject != "hr.vm.vm9" {
			t.Errorf("in quarantine: %+v", q)
		}
		l.same(f)
	}
	if q := l.replay().Quarantined(); len(q) != 2 {
		t.Errorf("replay forgets what changed nothing: %+v", q)
	}
}

// TestAnEmptyLogWithdrawsNothing gives a follower a log that was made anew, and
// registers its hypervisor there later.
func TestAnEmptyLogWithdrawsNothing(t *testing.T) {
	old := newLab(t)
	old.base()
	old.publish(assign("203.0.113.7/32", "vm1"))
	old.serve()
	state, cursor := old.still().Checkpoint()
	l := newLab(t)
	l.serve()
	f := NewFollower(l.nc, "hv1", FollowerOptions{State: state, Cursor: cursor, Logger: testLogger()})
	if _, err := f.catchUp(l.ctx); err == nil || !strings.Contains(err.Error(), "doesn't know it") {
		t.Errorf("catching up with an empty log: %v", err)
	}
	old.same(f)
	if st := f.Status(); st.InSync || st.LastError == "" {
		t.Errorf("status %+v", st)
	}
	l.publish(hypervisor("hv1"))
	if _, err := f.catchUp(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.same(f)
	select {
	case <-f.Changes():
	default:
		t.Error("nobody was told that everything changed")
	}
}

// TestWithoutAConnectionEverybodySaysSo and nobody hangs.
func TestWithoutAConnectionEverybodySaysSo(t *testing.T) {
	s, stop := startServer(t, ServerOptions{Store: t.TempDir()})
	l := &lab{t: t, ctx: testContext(t), server: s, nc: connect(t, s)}
	var err error
	if l.ledger, err = Open(l.ctx, l.nc, Options{Timeout: time.Second}); err != nil {
		t.Fatal(err)
	}
	l.base()
	f := NewFollower(l.nc, "hv1", FollowerOptions{Logger: testLogger()})
	stop()
	testenv.Eventually(t, "the connection is gone", func() bool { return !l.nc.IsConnected() })
	e := events.Event{Data: assign("203.0.113.7/32", "vm1")}
	for name, do := range map[string]func() error{
		"client":   func() error { _, err := NewClient(l.nc, 0).Publish(l.ctx, e); return err },
		"ledger":   func() error { _, err := l.ledger.Publish(l.ctx, e); return err },
		"follower": func() error { _, err := f.catchUp(l.ctx); return err },
		"history":  func() error { return l.ledger.Read(l.ctx, Filter{}, false, func(Entry) error { return nil }) },
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "not connected to NATS at the moment") {
			t.Errorf("%s says %v", name, err)
		}
	}
}
