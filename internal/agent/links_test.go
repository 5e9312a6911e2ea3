package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostroute/hostroute/vrf/kernel"
)

type watched struct{ journal *[]string }

func (w watched) note(format string, args ...any) {
	*w.journal = append(*w.journal, fmt.Sprintf(format, args...))
}
func (w watched) UplinkChanged(name string, up bool) { w.note("sessions %s %v", name, up) }

type watchedFIB struct {
	watched
	refuse *error
}

func (w watchedFIB) UplinkChanged(_ context.Context, name string, up bool) error {
	w.note("fib %s %v", name, up)
	return *w.refuse
}
func (w watchedFIB) Repair(context.Context) error { w.note("repair"); return *w.refuse }

// watchbed is a linkWatch of two uplinks whose doings are in a journal.
type watchbed struct {
	*linkWatch
	journal []string
	lost    map[string]bool
	unknown error // what asking for the carrier fails with
	refuse  error // what the FIB fails with
}

func newWatchbed() *watchbed {
	b := &watchbed{lost: map[string]bool{}}
	note := watched{&b.journal}
	b.linkWatch = &linkWatch{
		uplinks: []string{"a", "b"}, up: map[string]bool{"a": true, "b": true}, lost: map[string]bool{},
		fib: watchedFIB{note, &b.refuse}, sessions: note,
		changed: func(kernel.Notice) { note.note("wake") },
		routes: func(n kernel.Notice) {
			if len(n.Routes) > 0 || n.AllRoutes {
				note.note("routes")
			}
		},
		running: func(name string) (bool, error) { return !b.lost[name], b.unknown },
		failed:  make(chan struct{}, 1),
		log:     slog.New(slog.DiscardHandler),
	}
	return b
}

func TestNotices(t *testing.T) {
	b := newWatchbed()
	for _, step := range []struct {
		name   string
		notice kernel.Notice
		lost   []string
		want   []string
	}{
		{"a tap", kernel.Notice{Links: []string{"tap1"}}, nil, []string{"wake"}},
		{"a tap's neighbour", kernel.Notice{Neighbours: []string{"tap1"}}, nil, []string{"wake"}},
		{"an uplink's neighbour", kernel.Notice{Neighbours: []string{"a"}}, nil, nil},
		{"an uplink falls", kernel.Notice{Links: []string{"b"}}, []string{"b"}, []string{"wake", "sessions b false", "fib b false"}},
		{"the same again", kernel.Notice{Links: []string{"b"}}, []string{"b"}, []string{"wake", "repair"}},
		{"next hops deleted", kernel.Notice{NextHops: true}, []string{"b"}, []string{"wake", "repair"}},
		{"a route deleted", kernel.Notice{Routes: []kernel.Route{{}}}, []string{"b"}, []string{"routes"}},
		{"many deleted, and a tap", kernel.Notice{AllRoutes: true, Links: []string{"tap1"}}, []string{"b"}, []string{"routes", "wake"}},
		{"messages lost", kernel.Notice{Resync: true}, nil, []string{"wake", "sessions b true", "fib b true"}},
		{"both fall", kernel.Notice{Links: []string{"a", "b"}}, []string{"a", "b"},
			[]string{"wake", "sessions a false", "sessions b false", "fib a false", "fib b false"}},
	} {
		b.journal = nil
		clear(b.lost)
		for _, name := range step.lost {
			b.lost[name] = true
		}
		b.notice(t.Context(), step.notice)
		if !slices.Equal(b.journal, step.want) {
			t.Errorf("%s: got %q, want %q", step.name, b.journal, step.want)
		}
	}
}

// TestAnUplinkThatCantBeAskedAbout is not taken for lost, and is asked about
// again, as is a FIB that failed.
func TestAnUplinkThatCantBeAskedAbout(t *testing.T) {
	b := newWatchbed()
	b.unknown = errors.New("too many open files")
	b.lost["a"] = true
	b.notice(t.Context(), kernel.Notice{Resync: true})
	if want := []string{"wake", "repair"}; !slices.Equal(b.journal, want) || len(b.failed) != 1 {
		t.Errorf("got %q, want %q; %d to try again", b.journal, want, len(b.failed))
	}
	<-b.failed
	b.unknown, b.refuse = nil, errors.New("no buffer space")
	b.look(t.Context(), b.uplinks)
	if len(b.failed) != 1 {
		t.Error("a loss that the FIB didn't take is not tried again")
	}
}

func TestFailuresAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newWatchbed()
		ctx, cancel := context.WithCancel(t.Context())
		b.watch = func(ctx context.Context, _ func(kernel.Notice)) error { <-ctx.Done(); return nil }
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		attempts := func(refuse error, during time.Duration) int {
			b.mu.Lock()
			b.refuse, b.journal = refuse, nil
			b.mu.Unlock()
			<-time.After(during) // of the bubble, not of the wall
			synctest.Wait()
			b.mu.Lock()
			defer b.mu.Unlock()
			return len(b.journal)
		}
		if n := attempts(errors.New("no buffer space"), resyncInterval+2*retryInterval+retryInterval/2); n != 3 {
			t.Errorf("%d attempts in a minute and two retries of failures, want 3", n)
		}
		if n := attempts(nil, retryInterval+resyncInterval); n != 2 {
			t.Errorf("%d attempts in a minute after one that succeeded, want 2", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestHasCarrier(t *testing.T) {
	for name, want := range map[string]bool{"lo": true, "hr-none": false} {
		if up, err := hasCarrier(name); up != want || err != nil {
			t.Errorf("%s: %v, %v", name, up, err)
		}
	}
}

// TestALostPathIsNoCarrier: what BFD says of an uplink lasts over what happens to
// its carrier, and changes only what the FIB is told.
func TestALostPathIsNoCarrier(t *testing.T) {
	b := newWatchbed()
	for _, step := range []struct {
		what   string
		change func()
		want   []string
	}{
		{"BFD reaches nobody", func() { b.pathChanged(t.Context(), "a", true) }, []string{"fib a false"}},
		{"it says so again", func() { b.pathChanged(t.Context(), "a", true) }, nil},
		{"the carrier goes", func() { b.carrier("a", true) }, []string{"wake", "sessions a false", "fib a false"}},
		{"the carrier is back", func() { b.carrier("a", false) }, []string{"wake", "sessions a true", "fib a false"}},
		{"BFD reaches somebody", func() { b.pathChanged(t.Context(), "a", false) }, []string{"fib a true"}},
	} {
		b.journal = nil
		step.change()
		if !slices.Equal(b.journal, step.want) {
			t.Errorf("%s: %q, want %q", step.what, b.journal, step.want)
		}
	}
}

// carrier changes a carrier and has it noticed.
func (b *watchbed) carrier(name string, lost bool) {
	b.lost[name] = lost
	b.notice(context.Background(), kernel.Notice{Links: []string{name}})
}
