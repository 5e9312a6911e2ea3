package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/testenv"
)

// read lists the sequences and types that a filter selects.
func (l *lab) read(f Filter) []string {
	l.t.Helper()
	var list []string
	err := l.ledger.Read(l.ctx, f, false, func(e Entry) error {
		if e.Err != nil {
			list = append(list, fmt.Sprintf("%d !", e.Sequence))
			return nil
		}
		if e.ID == "" || e.Time.IsZero() || e.Stored.IsZero() || e.Source != "test" || string(e.Event.Type()) != e.Type {
			l.t.Errorf("entry %+v lacks something", e)
		}
		list = append(list, fmt.Sprintf("%d %s", e.Sequence, e.Type))
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return list
}

func TestReadSelects(t *testing.T) {
	l := newLab(t)
	l.base()
	stored := l.publish(assign("203.0.113.7/32", "vm1"), &events.VMMigrated{VM: "vm1", To: "hv2"},
		&events.IPMoved{Prefix: pfx("203.0.113.7/32"), To: "vm2"}, &events.VMDeleted{VM: "vm2"}, &events.HypervisorDrained{Hypervisor: "hv1"})
	poison := l.raw("hr.vm.vm1", nil, "rubbish")
	seq := func(i int, what string) string { return fmt.Sprintf("%d %s", stored[i].Sequence, what) }
	ip := pfx("203.0.113.7/32").Prefix
	for name, c := range map[string]struct {
		filter Filter
		want   []string
	}{
		"everything": {Filter{}, []string{"1 NetworkDefined", "4 NetworkDefined", "7 HypervisorRegistered", "9 HypervisorRegistered",
			"11 VMCreated", "14 VMCreated", seq(0, "IPAssigned"), seq(1, "VMMigrated"), seq(2, "IPMoved"), seq(3, "VMDeleted"),
			seq(4, "HypervisorDrained"), fmt.Sprintf("%d !", poison)}},
		"from the middle of an event": {Filter{From: 12, To: stored[0].Sequence}, []string{"14 VMCreated", seq(0, "IPAssigned")}},
		"from and to":                 {Filter{From: 11, To: 14}, []string{"11 VMCreated", "14 VMCreated"}},
		"a guest": {Filter{VM: "vm1"}, []string{"11 VMCreated", seq(0, "IPAssigned"), seq(1, "VMMigrated"), seq(2, "IPMoved"),
			fmt.Sprintf("%d !", poison)}},
		"a prefix":          {Filter{Prefix: ip}, []string{seq(0, "IPAssigned"), seq(2, "IPMoved"), seq(3, "VMDeleted")}},
		"an unknown prefix": {Filter{Prefix: pfx("203.0.113.8/32").Prefix}, nil},
		"a guest and a prefix": {Filter{VM: "vm1", Prefix: ip},
			[]string{seq(0, "IPAssigned"), seq(2, "IPMoved")}},
		"a guest and an unknown prefix": {Filter{VM: "vm1", Prefix: pfx("203.0.113.8/32").Prefix}, nil},
		"a hypervisor": {Filter{Hypervisor: "hv1"}, []string{"7 HypervisorRegistered", "11 VMCreated", seq(0, "IPAssigned"),
			seq(1, "VMMigrated"), seq(2, "IPMoved"), seq(4, "HypervisorDrained")}},
		"a network":         {Filter{Network: "lan"}, []string{"4 NetworkDefined"}},
		"an unknown guest":  {Filter{VM: "vm9"}, nil},
		"a guest, to":       {Filter{VM: "vm1", To: stored[0].Sequence}, []string{"11 VMCreated", seq(0, "IPAssigned")}},
		"a guest, from":     {Filter{VM: "vm1", From: stored[1].Sequence, To: stored[2].Sequence}, []string{seq(1, "VMMigrated"), seq(2, "IPMoved")}},
		"stored before all": {Filter{Until: testTime.AddDate(-20, 0, 0)}, nil},
		"stored after all":  {Filter{Since: time.Now().Add(time.Hour)}, nil},
	} {
		if have := l.read(c.filter); !slices.Equal(have, c.want) {
			t.Errorf("%s: got %q\nwant %q", name, have, c.want)
		}
	}
	if err := l.ledger.Read(l.ctx, Filter{VM: "vm.>"}, false, nil); err == nil {
		t.Error("a name with a wildcard is accepted")
	}
}

func TestReadSinceAndUntil(t *testing.T) {
	l := newLab(t)
	l.base()
	var times []time.Time
	if err := l.ledger.Read(l.ctx, Filter{}, false, func(e Entry) error { times = append(times, e.Stored); return nil }); err != nil {
		t.Fatal(err)
	}
	have := l.read(Filter{Since: times[1], Until: times[3]})
	if want := []string{"4 NetworkDefined", "7 HypervisorRegistered"}; !slices.Equal(have, want) {
		t.Errorf("got %q; want %q", have, want)
	}
}

func TestReadFollows(t *testing.T) {
	l := newLab(t)
	l.base()
	for _, f := range []Filter{{}, {VM: "vm1"}, {Prefix: pfx("203.0.113.7/32").Prefix}} {
		ctx, cancel := context.WithCancel(l.ctx)
		got := make(chan Entry, 100)
		done := make(chan error, 1)
		go func() {
			done <- l.ledger.Read(ctx, f, true, func(e Entry) error { got <- e; return nil })
		}()
		stored := l.publish(assign("203.0.113.7/32", "vm1"), &events.IPReleased{Prefix: pfx("203.0.113.7/32")})
		for e := range got {
			if e.Sequence == stored[1].Sequence {
				break
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// TestReadFollowsOverARestart of the server, and misses nothing.
func TestReadFollowsOverARestart(t *testing.T) {
	store := t.TempDir()
	s, stop := startServer(t, ServerOptions{Store: store, Listen: "127.0.0.1:0"})
	url := s.URL()
	nc, err := Connect(url, ConnectOptions{Name: t.Name(), Logger: testLogger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	l := &lab{t: t, ctx: testContext(t), server: s, nc: nc}
	if l.ledger, err = Open(l.ctx, nc, Options{Timeout: time.Second}); err != nil {
		t.Fatal(err)
	}
	l.base()
	got := make(chan Entry, 100)
	stopReading := task(t, func(ctx context.Context) error {
		return l.ledger.Read(ctx, Filter{VM: "vm1"}, true, func(e Entry) error { got <- e; return nil })
	})
	defer stopReading()
	next := func() Entry {
		select {
		case e := <-got:
			return e
		case <-time.After(patience):
			t.Fatal("the reader hears nothing")
			return Entry{}
		}
	}
	next()
	stop()
	testenv.Eventually(t, "the connection is gone", func() bool { return !nc.IsConnected() })
	startServer(t, ServerOptions{Store: store, Listen: strings.TrimPrefix(url, "nats://")})
	testenv.Eventually(t, "it is back", nc.IsConnected)
	stored := l.publish(&events.VMMigrated{VM: "vm1", To: "hv2"})
	if e := next(); e.Sequence != stored[0].Sequence {
		t.Errorf("heard of %d; want %d", e.Sequence, stored[0].Sequence)
	}
}

func TestReadEndsWithTheErrorOfItsReader(t *testing.T) {
	l := newLab(t)
	l.base()
	enough := errors.New("enough")
	n := 0
	err := l.ledger.Read(l.ctx, Filter{}, false, func(Entry) error {
		n++
		if n == 2 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 2 {
		t.Errorf("got %v after %d entries", err, n)
	}
}

func TestReadAnEmptyLog(t *testing.T) {
	l := newLab(t)
	if have := l.read(Filter{}); len(have) != 0 {
		t.Errorf("got %q", have)
	}
	state, done, err := l.ledger.Replay(l.ctx, Until{})
	if err != nil || done.Events != 0 || len(state.Guests()) != 0 {
		t.Errorf("got %+v, %v", done, err)
	}
}

// TestReplayEndsWhereItIsTold replays every prefix of a history.
func TestReplayEndsWhereItIsTold(t *testing.T) {
	l := newLab(t)
	l.base()
	stored := l.publish(assign("203.0.113.7/32", "vm1"), &events.VMMigrated{VM: "vm1", To: "hv2"}, &events.VMDeleted{VM: "vm1"})
	for i, hv := range []string{"hv1", "hv2", ""} {
		state, done, err := l.ledger.Replay(l.ctx, Until{Sequence: stored[i].Sequence})
		if err != nil || done.Sequence != stored[i].Sequence || done.Ledger != l.ledger.Identity() {
			t.Fatalf("got %+v, %v; want the end at %d", done, err, stored[i].Sequence)
		}
		have := ""
		if g := state.Guest("vm1"); g != nil {
			have = g.Hypervisor
		}
		if have != hv {
			t.Errorf("at %d the guest is on %q; want %q", done.Sequence, have, hv)
		}
	}
}
