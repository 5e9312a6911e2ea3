package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/internal/handover"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/fake"
)

// restarted is an agent on a kernel that a former run has left with 30 guests,
// and without a snapshot.
func restarted(t *testing.T, p *projection) (*testbed, *atomic.Bool) {
	k := fake.New()
	for i := range 30 {
		k.AddLink(fmt.Sprintf("tap%d", i))
	}
	bed := func(p *projection) *testbed {
		b := &testbed{kernel: k}
		b.applier = newApplier("hv1", vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 90}}}, p, planned{k, b}, &b.served, slog.New(slog.DiscardHandler))
		b.applier.moving.clock = func() time.Duration { return b.elapsed }
		b.announcer = announcer{&b.journal}
		return b
	}
	former := bed(&projection{state: p.state.Clone(), inSync: true})
	if _, err := former.round(t); err != nil {
		t.Fatal(err)
	}
	b := bed(p)
	unproven := &atomic.Bool{}
	unproven.Store(true)
	b.left.unproven = unproven
	return b, unproven
}

// counts gives how many prefixes are announced, how many of them as the last
// choice, and how many routes of guests the kernel has.
func (b *testbed) counts(t *testing.T) string {
	t.Helper()
	set, _ := b.current()
	last := 0
	for _, n := range set {
		if n.Preference == bgp.PreferenceDrained {
			last++
		}
	}
	actual, err := b.kernel.Read(t.Context(), b.fixed)
	if err != nil {
		t.Fatal(err)
	}
	routes := 0
	for _, r := range actual.Routes {
		if r.Metric == vrf.MetricGuest {
			routes++
		}
	}
	return fmt.Sprintf("%d announced, %d as the last choice, %d in the kernel", len(set), last, routes)
}

func TestWhatTheKernelHasAndTheLogHasNotStays(t *testing.T) {
	for _, c := range []struct {
		what        string
		lost        int
		before, all string // with the guests lost, and when they are back
		held        string
	}{
		{"many", 25, "30 announced, 25 as the last choice, 30 in the kernel", "30 announced, 0 as the last choice, 30 in the kernel", "25 of 30 routes of guests in the kernel are of no guest in the log (such as 203.0.113.1/32 in VRF public)"},
		{"few", 20, "10 announced, 0 as the last choice, 10 in the kernel", "30 announced, 0 as the last choice, 30 in the kernel", ""},
		{"none", 0, "30 announced, 0 as the last choice, 30 in the kernel", "30 announced, 0 as the last choice, 30 in the kernel", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			p := crowd(t, 30)
			p.inSync = true
			b, unproven := restarted(t, p)
			whole := p.state
			p.state = loses(whole, 0, c.lost)
			for range 2 { // a second round changes nothing
				journal, err := b.round(t)
				if err != nil || len(journal) > 1 {
					t.Fatalf("%q, %v", journal, err)
				}
				if got := b.counts(t); got != c.before {
					t.Errorf("%s, want %s", got, c.before)
				}
			}
			if held := b.snapshot().orphans.holding(); !strings.HasPrefix(held, c.held) || (held == "") != (c.held == "") || unproven.Load() != (c.held != "") {
				t.Errorf("it says %q, want %q; unproven: %t", held, c.held, unproven.Load())
			}
			p.state = loses(whole, 0, c.lost*4/5) // it is held to the last
			if _, err := b.round(t); err != nil {
				t.Fatal(err)
			}
			if c.held != "" && !unproven.Load() {
				t.Errorf("the rest was given up: %s", b.counts(t))
			}
			p.state = whole
			if _, err := b.round(t); err != nil {
				t.Fatal(err)
			}
			if got := b.counts(t); got != c.all || b.snapshot().orphans.holding() != "" || unproven.Load() {
				t.Errorf("with all of them back: %s, want %s", got, c.all)
			}
			p.publish(t, &events.VMDeleted{VM: vmName(3)})
			for range 2 { // it is announced on for a while
				if _, err := b.round(t); err != nil {
					t.Fatal(err)
				}
				b.elapsed += handover.Parting
			}
			if got := b.counts(t); got != "29 announced, 0 as the last choice, 29 in the kernel" {
				t.Errorf("after a deletion: %s", got)
			}
		})
	}
}

// TestAKernelThatCannotBeReadProvesNothing: neither that all is there nor that
// nothing is.
func TestAKernelThatCannotBeReadProvesNothing(t *testing.T) {
	p := crowd(t, 30)
	p.inSync = true
	b, unproven := restarted(t, p)
	p.state = projector.New()
	b.unreadable = errors.New("interrupted")
	journal, err := b.round(t)
	if err == nil || len(journal) > 0 || !unproven.Load() {
		t.Errorf("%q, %v", journal, err)
	}
	b.unreadable = nil
	if _, err := b.round(t); err != nil {
		t.Fatal(err)
	}
	if got := b.counts(t); got != "30 announced, 30 as the last choice, 30 in the kernel" {
		t.Error(got)
	}
}

// TestOnlyANewAgentIsUnproven: one with a snapshot, or that is told to believe
// the log, looks at nothing; and one that doubts writes no snapshot.
func TestOnlyANewAgentIsUnproven(t *testing.T) {
	task := &logTask{}
	if task.unproven() == nil || !task.doubted.Load() {
		t.Error("without a snapshot the log is believed")
	}
	if task := (&logTask{restored: projector.New()}); task.unproven() != nil || task.doubted.Load() {
		t.Error("in spite of a snapshot the log is doubted")
	}
	if task := (&logTask{guard: massGuard{allow: true}}); task.unproven() != nil {
		t.Error("a log that is to be believed isn't")
	}
}

// TestWhatIsHeldBackOutlivesARestart: an agent that holds guests back, and has
// heard of others since, is restarted without and with the log.
func TestWhatIsHeldBackOutlivesARestart(t *testing.T) {
	state, store := t.TempDir(), t.TempDir()
	task, stop := runLog(t, t.TempDir(), store)
	testenv.Eventually(t, "the log to be reached", func() bool { return task.status().InSync })
	nc, err := log.Connect(task.status().URL, log.ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range guestA() {
		if _, err := log.NewClient(nc, 0).Publish(t.Context(), events.Event{Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	nc.Close()
	stop()
	// What the agent knew is of another log, which somebody has replaced by this.
	former := log.Cursor{Ledger: "2026-01-01T00:00:00Z", Tick: log.Link{Sequence: 1, Hash: "x"}, NetTick: log.Link{Sequence: 1, Hash: "x"}}
	if err := save(state, "hv1", crowd(t, 30).state, former); err != nil {
		t.Fatal(err)
	}
	all := func(s *projector.State) bool { return s.Guest("a") != nil && len(s.Guests()) == 31 }
	held := func(task *logTask) func() bool {
		return func() bool { return all(task.State()) && task.status().HeldBackRoutes == 30 }
	}
	task, stop = runLog(t, state, store)
	testenv.Eventually(t, "it to be held back", func() bool { return task.InSync() && held(task)() })
	stop()

	alone := newOutageBed(state, &cable{cut: true})
	end := alone.run(t)
	testenv.Eventually(t, "all of it without the log", held(alone.task))
	end()
	task, stop = runLog(t, state, store)
	testenv.Eventually(t, "it to be held back again", func() bool { return task.InSync() && held(task)() })
	stop()

	task, stop = runLog(t, state, store, func(task *logTask) { task.guard.allow = true })
	defer stop()
	testenv.Eventually(t, "it to be given up when that is allowed", func() bool {
		return task.InSync() && len(task.State().Guests()) == 1 && task.status().HeldBackRoutes == 0
	})
	testenv.Eventually(t, "nothing to be left of it", func() bool {
		_, err := os.Stat(filepath.Join(state, heldName))
		return errors.Is(err, fs.ErrNotExist)
	})
}
