package agent

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hostroute/hostroute/internal/bfd"
	"github.com/hostroute/hostroute/internal/bfd/control"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/internal/testenv"
)

// engine is BFD's process, without its peers.
type engine struct {
	mu       sync.Mutex
	sessions []bfd.Status
	set      uint64
	changed  chan struct{}
}

func (e *engine) Set(specs []bfd.Spec) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.set++
	e.sessions = make([]bfd.Status, len(specs))
	for i, s := range specs {
		e.sessions[i] = bfd.Status{Spec: s, Report: bfd.Report{State: bfd.Up}}
	}
	e.changed <- struct{}{}
	return nil
}

// fail has the first session fail.
func (e *engine) fail() {
	e.mu.Lock()
	s := slices.Clone(e.sessions)
	s[0].State, s[0].Failed = bfd.Down, true
	s[0].Revision++
	e.sessions = s
	e.mu.Unlock()
	e.changed <- struct{}{}
}

func (e *engine) Snapshot() ([]bfd.Status, uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sessions, e.set
}

func (e *engine) Changed() <-chan struct{} { return e.changed }

// watchOver runs the watch of paths with BFD's process on a socket; without an
// engine nobody answers there.
func watchOver(t *testing.T, e *engine) (*pathWatch, *pathLog) {
	t.Helper()
	dir, err := os.MkdirTemp("", "hrl") // short, for the limit of socket paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg, err := config.Parse(strings.NewReader(watchedPaths + "\nbfd: {socket: " + dir + "/bfd.sock}\n"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	t.Cleanup(func() { cancel(); tasks.Wait() })
	if e != nil {
		listener, err := control.Listen(ctx, cfg.BFD.Socket)
		if err != nil {
			t.Fatal(err)
		}
		server := &control.Server{Engine: e, Log: slog.New(slog.DiscardHandler)}
		tasks.Go(func() { _ = server.Run(ctx, listener) })
	}
	told := &pathLog{}
	w := newPathWatch(ctx, cfg, told, told.uplink, slog.New(slog.DiscardHandler))
	tasks.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return w, told
}

func TestBFDEndsInPeace(t *testing.T) {
	t.Parallel()
	e := &engine{changed: make(chan struct{}, 16)}
	w, told := watchOver(t, e)
	testenv.Eventually(t, "sessions", func() bool { s, _ := w.state(); return len(s.Sessions) == 3 })
	w.turnDeaf()
	e.fail() // as FRR ends what nobody asks for any more
	testenv.Eventually(t, "the end of a path", func() bool {
		s, _ := w.state()
		return s.Sessions[0].Failed
	})
	w.look(t.Context())
	if f := w.end(t.Context()); f == nil || *f != (Farewell{Sessions: 3, Confirmed: true}) {
		t.Errorf("%+v", f)
	}
	if sessions, set := e.Snapshot(); len(sessions) != 0 || set != 2 {
		t.Errorf("set %d is %+v", set, sessions)
	}
	if got := told.take(); len(got) > 0 {
		t.Errorf("taken for failures: %q", got)
	}
}

func TestBFDIsNotThereToEnd(t *testing.T) {
	t.Parallel()
	w, _ := watchOver(t, nil)
	testenv.Eventually(t, "a try", func() bool { s, _ := w.state(); return s.LastError != "" })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f := w.end(ctx); f == nil || f.Confirmed || !strings.Contains(f.Reason, "there is no such socket; start hostroute bfd") {
		t.Errorf("%+v", f)
	}
	if f := (&pathWatch{}).end(ctx); f != nil {
		t.Errorf("where none is watched: %+v", f)
	}
}
