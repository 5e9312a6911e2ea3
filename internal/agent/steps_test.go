package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/vrf"
)

// series is what is told of steps, to the sums of all times.
func series(t *testing.T, s *steps) string {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(s); err != nil {
		t.Fatal(err)
	}
	return exposed(t, r)
}

func wantSeries(t *testing.T, s *steps, list ...string) {
	t.Helper()
	text := series(t, s)
	for _, want := range list {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestStepsOfAnEvent takes events through a round, each step at a time of its own.
func TestStepsOfAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteps(nil)
		s.Received(time.Now().Add(-time.Second))
		time.Sleep(time.Second) // waits for the round
		s.Received(time.Now().Add(time.Hour))
		s.Taken()
		s.Received(time.Now()) // for the next round
		time.Sleep(2 * time.Second)
		s.Projected()
		time.Sleep(4 * time.Second)
		s.Applied(true)
		time.Sleep(8 * time.Second)
		s.Announced(true, true)
		wantSeries(t, s,
			`hostroute_event_age_seconds_count{step="received"} 3`, `hostroute_event_age_seconds_sum{step="received"} 1`,
			`hostroute_event_clock_ahead_total 1`,
			`hostroute_event_step_seconds_sum{step="projected"} 5`, `hostroute_event_step_seconds_sum{step="kernel"} 8`,
			`hostroute_event_step_seconds_sum{step="announced"} 16`, `hostroute_event_step_seconds_count{step="announced"} 2`,
			`hostroute_event_age_seconds_sum{step="kernel"} 14`, // 1+1+2+4, and 2+4
			`hostroute_event_age_seconds_bucket{step="kernel",le="5"} 0`, `hostroute_event_age_seconds_bucket{step="kernel",le="10"} 2`,
		)
	})
}

// TestStepsOfARoundThatCameToNothing: its events are those of the next one, and each
// passes each step once.
func TestStepsOfARoundThatCameToNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteps(nil)
		s.Received(time.Now())
		for _, planned := range []bool{false, true, true} {
			s.Taken()
			s.Projected()
			time.Sleep(time.Second)
			s.Applied(planned)
			s.Announced(planned, planned)
		}
		wantSeries(t, s, `hostroute_event_step_seconds_count{step="projected"} 1`, `hostroute_event_step_seconds_count{step="kernel"} 1`,
			`hostroute_event_step_seconds_sum{step="kernel"} 2`, `hostroute_event_step_seconds_count{step="announced"} 1`)
	})
}

// TestMoreEventsThanAreFollowed cost no more memory, and lose nothing but steps.
func TestMoreEventsThanAreFollowed(t *testing.T) {
	s := newSteps(nil)
	for range 3 * followedEvents {
		s.Received(time.Now())
	}
	s.Taken()
	s.Applied(true)
	if len(s.taken) != followedEvents || cap(s.taken) != followedEvents || cap(s.coming) != followedEvents {
		t.Errorf("%d of %d are followed, room for %d", len(s.taken), cap(s.taken), cap(s.coming))
	}
	wantSeries(t, s, `hostroute_event_age_seconds_count{step="received"} 3072`, `hostroute_event_step_seconds_count{step="kernel"} 1024`)
}

// TestARoundTellsItsSteps: the apply loop itself, on the fake kernel.
func TestARoundTellsItsSteps(t *testing.T) {
	b := newTestbed(t)
	b.steps = newSteps(nil)
	b.applier.kernel = timedKernel{b.applier.kernel, b.steps}
	round := func() {
		t.Helper()
		if _, err := b.applier.round(t.Context()); err != nil && b.unreadable == nil {
			t.Fatal(err)
		}
	}
	round()
	wantSeries(t, b.steps, `hostroute_event_step_seconds_count{step="kernel"} 0`, `hostroute_comparison_seconds_count{what="host"} 1`)
	b.projection.publish(t, &events.IPReleased{Prefix: events.PrefixFrom(netip.MustParsePrefix("203.0.113.10/32")), VM: "a"})
	b.steps.Received(time.Now())
	b.unreadable = errors.New("no buffer space")
	round()
	wantSeries(t, b.steps, `hostroute_event_step_seconds_count{step="projected"} 1`, `hostroute_event_step_seconds_count{step="kernel"} 0`)
	b.unreadable = nil
	round()
	wantSeries(t, b.steps, `hostroute_event_step_seconds_count{step="projected"} 1`,
		`hostroute_event_step_seconds_count{step="kernel"} 1`, `hostroute_event_step_seconds_count{step="announced"} 1`)
}

// nowhere is a FIB that takes everything.
type nowhere struct{}

func (nowhere) Apply(context.Context, string, []vrf.Change) error { return nil }

func TestABatchIsToldOnce(t *testing.T) {
	s := newSteps(nil)
	f := timedFIB{nowhere{}, s}
	for range 2 {
		if err := f.Apply(t.Context(), "public", make([]vrf.Change, 100)); err != nil {
			t.Fatal(err)
		}
	}
	wantSeries(t, s, `hostroute_learned_step_seconds_count{step="written"} 2`, `hostroute_learned_batch_routes_sum 200`)
}

// TestStepsDontAllocate: they are told where the work is done. A late one, too.
func TestStepsDontAllocate(t *testing.T) {
	s := newSteps(newFlightRecorder(lateFrom(time.Second), t.TempDir(), slog.New(slog.DiscardHandler)))
	stored, fib, changes := time.Now(), timedFIB{nowhere{}, s}, make([]vrf.Change, 10)
	if n := testing.AllocsPerRun(1000, func() {
		s.Received(stored)
		s.Taken()
		s.Projected()
		s.Applied(true)
		s.Announced(true, true)
		s.Sent(time.Millisecond)
		s.Decided(time.Minute)
		s.Walked(time.Millisecond)
		s.Settled(time.Millisecond)
		_ = fib.Apply(context.Background(), "public", changes)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestStepsOfNobody: what has no steps works as well.
func TestStepsOfNobody(t *testing.T) {
	var s *steps
	s.Received(time.Now())
	s.Taken()
	s.Projected()
	s.Applied(true)
	s.Announced(true, true)
	s.Sent(1)
	s.Decided(1)
	s.Walked(1)
	s.Settled(1)
	if err := (timedFIB{nowhere{}, s}).Apply(t.Context(), "public", nil); err != nil {
		t.Error(err)
	}
}

// BenchmarkSteps is what an event costs, and what an UPDATE does.
func BenchmarkSteps(b *testing.B) {
	s := newSteps(newFlightRecorder(lateFrom(time.Minute), b.TempDir(), slog.New(slog.NewTextHandler(io.Discard, nil))))
	stored := time.Now()
	b.Run("event", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Received(stored)
			s.Taken()
			s.Projected()
			s.Applied(true)
			s.Announced(true, true)
		}
	})
	b.Run("update", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			began := time.Now()
			s.Decided(time.Since(began))
		}
	})
}
