package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/projector"
)

// logTask follows the log: the one that the configuration names, or one that
// it serves itself, to others too.
type logTask struct {
	cfg     *config.Config
	log     *slog.Logger
	changes chan struct{} // capacity 1
	guard   massGuard
	order   sync.Mutex // states are admitted in the order in which they were
	outage  log.Outage
	dialer  nats.CustomDialer // nil: TCP
	prepare sync.Once         // restores
	doubted atomic.Bool       // see orphanage; while it is, no snapshot is written

	steps *steps // told of events that come; may be nil

	// connected works on the connection that the log is followed by; set before Run.
	connected func(context.Context, *nats.Conn, *logTask) error

	mu       sync.Mutex
	url      string
	follower *log.Follower    // nil before the log is connected to
	restored *projector.State // from the local snapshot; nil: there was none
	cursor   log.Cursor       // of restored
	damaged  string           // why there is no snapshot; empty: there is
	caughtUp bool
	waited   bool // long enough for the log: what was restored is served
	doubtful bool // this process was stopped, and has not heard from the log since
}

// snapshotGrace is how long a log is waited for before what was restored from
// the local snapshot is announced, since the log may say that a guest has
// moved. It is far below the time that reflectors keep announcements.
const snapshotGrace = 10 * time.Second

// saveInterval is the shortest time between two snapshots.
const saveInterval = time.Second

func newLogTask(cfg *config.Config, logger *slog.Logger) *logTask {
	return &logTask{
		cfg: cfg, log: logger.With("task", "log"), url: log.Redacted(cfg.Log.URL), changes: make(chan struct{}, 1),
		guard: massGuard{hypervisor: cfg.Hypervisor},
	}
}

// Changes signals that State or InSync changed; many changes may be one signal.
func (t *logTask) Changes() <-chan struct{} { return t.changes }

// State is what is known, with what vanished from it for no reason. It is for
// reading.
func (t *logTask) State() *projector.State {
	t.mu.Lock()
	f, restored := t.follower, t.restored
	t.mu.Unlock()
	switch {
	case f != nil:
		_, served, _ := t.admit(f)
		return served
	case restored != nil:
		return t.guard.admit(restored)
	}
	return projector.New()
}

// admit takes over what the follower has come to, and gives what is to be served.
func (t *logTask) admit(f *log.Follower) (known, served *projector.State, c log.Cursor) {
	t.order.Lock()
	defer t.order.Unlock()
	known, c, ended := f.Handover()
	return known, t.guard.admit(known, ended...), c
}

// Known tells whether State may be announced: the log was caught up with, or
// could not be reached for a while and a snapshot says what was served before.
func (t *logTask) Known() bool {
	t.mu.Lock()
	restored, doubtful := t.waited && t.restored != nil, t.doubtful
	t.mu.Unlock()
	return !doubtful && (restored || t.InSync())
}

// Current tells whether the log is being followed, with nothing known to be missing.
func (t *logTask) Current() bool {
	t.mu.Lock()
	f := t.follower
	t.mu.Unlock()
	if f == nil {
		return false
	}
	s := f.Status()
	return s.InSync && s.Registered
}

// Doubt has nothing announced until the log has been asked again; the channel is
// closed when it has answered. Trust ends that, answered or not.
func (t *logTask) Doubt() <-chan struct{} {
	t.mu.Lock()
	t.doubtful = true
	f := t.follower
	t.mu.Unlock()
	if f == nil {
		return make(chan struct{})
	}
	return f.Doubt()
}

// Trust has State announced again.
func (t *logTask) Trust() {
	t.mu.Lock()
	t.doubtful = false
	t.mu.Unlock()
	t.signal()
}

// InSync tells whether the log was caught up with once, and knows this
// hypervisor: under a name that it doesn't know, nothing to serve is not the
// log's word. A log that is away later takes nothing from what is known.
func (t *logTask) InSync() bool {
	t.mu.Lock()
	f, caughtUp := t.follower, t.caughtUp
	t.mu.Unlock()
	return caughtUp && f.Status().Registered
}

// Run works until the context ends.
func (t *logTask) Run(ctx context.Context) error {
	t.prepare.Do(t.restore)
	waiting := time.AfterFunc(snapshotGrace, t.giveUpWaiting)
	defer waiting.Stop()
	if t.cfg.Log.Embedded != nil {
		return t.serve(ctx)
	}
	nc, err := log.Connect(t.cfg.Log.URL, log.ConnectOptions{
		Name: "hostroute agent " + t.cfg.Hypervisor, Wait: true, Credentials: t.cfg.Log.Credentials, CA: t.cfg.Log.CA,
		Device: t.cfg.Log.VRF, Dialer: t.dialer, Outage: &t.outage, Logger: t.log,
	})
	if err != nil {
		return err
	}
	defer nc.Close()
	return t.follow(ctx, nc)
}

// restore takes what a former run knew.
func (t *logTask) restore() {
	s, c, err := restore(t.cfg.State, t.cfg.Hypervisor)
	t.mu.Lock()
	t.restored, t.cursor = s, c
	if err != nil {
		t.damaged = err.Error()
	}
	t.mu.Unlock()
	switch {
	case err != nil:
		t.log.Error("no local snapshot", "err", err)
	case s != nil:
		t.log.Info("local snapshot restored", "tick", c.Tick.Sequence, "guests", len(s.Guests()))
	}
	if s != nil {
		t.guard.admit(s)
	}
	switch served, _, err := restoreAs(heldName, t.cfg.State, t.cfg.Hypervisor); {
	case err != nil:
		t.log.Error("what a former run held back is lost", "err", err)
	case served != nil:
		t.guard.adopt(served)
	}
	t.signal()
}

// unproven is set if nothing tells what the log had before; nil: something does,
// or it is to be believed whatever it says.
func (t *logTask) unproven() *atomic.Bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.restored != nil || t.guard.allow {
		return nil
	}
	t.doubted.Store(true)
	return &t.doubted
}

// giveUpWaiting has what was restored announced, if the log wasn't reached.
func (t *logTask) giveUpWaiting() {
	t.mu.Lock()
	t.waited = true
	alone := !t.caughtUp && t.restored != nil
	t.mu.Unlock()
	if alone {
		t.log.Warn("the log is out of reach: serving from the local snapshot")
		t.signal()
	}
}

// serve runs the log inside this process, with its service, and follows it.
func (t *logTask) serve(ctx context.Context) error {
	e := t.cfg.Log.Embedded
	listen := ""
	if e.Listen.IsValid() {
		listen = e.Listen.String()
	}
	server := log.NewServer(log.ServerOptions{Store: e.Store, Listen: listen, SyncInterval: e.Sync, Logger: t.log})
	return server.While(ctx, func(ctx context.Context) error {
		t.mu.Lock()
		t.url = server.URL()
		t.mu.Unlock()
		nc, err := server.Connect(log.ConnectOptions{Name: "hostroute agent " + t.cfg.Hypervisor, Logger: t.log})
		if err != nil {
			return err
		}
		defer nc.Close()
		return t.onServer(ctx, nc)
	})
}

// onServer runs the log service and, when it answers, the follower.
func (t *logTask) onServer(ctx context.Context, nc *nats.Conn) error {
	ledger, err := log.Open(ctx, nc, log.Options{
		Replicas: 1, Migrate: true, Say: func(what string) { t.log.Info("migrating the log", "step", what) },
	})
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	service := log.NewService(ledger, t.log)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return service.Run(ctx) })
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-service.Ready():
		}
		return t.follow(ctx, nc)
	})
	return group.Wait()
}

// follow runs the follower and passes its signals on.
func (t *logTask) follow(ctx context.Context, nc *nats.Conn) error {
	t.mu.Lock()
	f := log.NewFollower(nc, t.cfg.Hypervisor, log.FollowerOptions{State: t.restored, Cursor: t.cursor, Received: t.steps.Received, Logger: t.log})
	t.follower = f
	t.mu.Unlock()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := f.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("following the log: %w", err)
		}
		return nil
	})
	group.Go(func() error { return t.pass(ctx, f) })
	if t.connected != nil {
		group.Go(func() error { return t.connected(ctx, nc, t) })
	}
	return group.Wait()
}

// pass passes the follower's signals on and keeps the snapshot up to date.
func (t *logTask) pass(ctx context.Context, f *log.Follower) error {
	inSync := f.InSync()
	due := time.NewTimer(saveInterval)
	defer due.Stop()
	dirty := false
	for {
		select {
		case <-ctx.Done():
			if dirty && inSync == nil && !t.doubted.Load() { // else the former snapshot knows more
				t.save(f)
			}
			return nil
		case <-inSync:
			inSync, dirty = nil, true
			t.mu.Lock()
			t.caughtUp = true
			t.mu.Unlock()
			t.log.Info("caught up with the log")
			t.signal()
		case <-f.Changes():
			dirty = true
			t.signal()
		case <-due.C:
			if dirty && inSync == nil && !t.doubted.Load() {
				t.save(f)
				dirty = false
			}
			due.Reset(saveInterval)
		}
	}
}

// save writes the snapshot for the next start.
func (t *logTask) save(f *log.Follower) {
	failure := ""
	if err := t.write(t.admit(f)); err != nil {
		failure = err.Error()
	}
	t.mu.Lock()
	before := t.damaged
	t.damaged = failure
	t.mu.Unlock()
	if failure != "" && failure != before {
		t.log.Error("no local snapshot for the next start", "err", failure)
	}
}

// write writes down what the log has, and what is served if that is more: first
// what is more, and off with it last, so that no crash makes a start forget it.
func (t *logTask) write(known, served *projector.State, c log.Cursor) error {
	if served != known {
		if err := saveAs(heldName, t.cfg.State, t.cfg.Hypervisor, served, log.Cursor{}); err != nil {
			return err
		}
		return save(t.cfg.State, t.cfg.Hypervisor, known, c)
	}
	if err := save(t.cfg.State, t.cfg.Hypervisor, known, c); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(t.cfg.State, heldName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing what was held back: %w", err)
	}
	return nil
}

func (t *logTask) signal() {
	select {
	case t.changes <- struct{}{}:
	default:
	}
}

func (t *logTask) status() LogStatus {
	t.mu.Lock()
	s := LogStatus{URL: t.url, InSync: t.caughtUp, Restored: t.restored != nil, SnapshotError: t.damaged}
	s.HeldBack, s.HeldBackRoutes = t.guard.holding()
	f := t.follower
	t.mu.Unlock()
	since, reason := t.outage.Now()
	s.OutOfReachSince, s.LastError = since, reason
	if f == nil {
		return s
	}
	of := f.Status()
	s.Connected, s.Tick, s.NetworkTick = of.Connected, of.Tick, of.NetTick
	s.Behind = of.Connected && !of.InSync
	s.Registered, s.Gaps, s.Snapshots = of.Registered, of.Gaps, of.Snapshots
	if s.Connected || reason == "" {
		s.LastError = of.LastError
	}
	for _, q := range f.State().Quarantined() {
		s.Quarantined = append(s.Quarantined, Quarantine{Sequence: q.Sequence, Type: q.Type, Subject: q.Subject, Reason: q.Reason})
	}
	return s
}
