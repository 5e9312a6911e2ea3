package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

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

	mu       sync.Mutex
	url      string
	follower *log.Follower // nil before the log is connected to
	caughtUp bool
}

func newLogTask(cfg *config.Config, logger *slog.Logger) *logTask {
	return &logTask{cfg: cfg, log: logger.With("task", "log"), url: log.Redacted(cfg.Log.URL), changes: make(chan struct{}, 1)}
}

// Changes signals that State or InSync changed; many changes may be one signal.
func (t *logTask) Changes() <-chan struct{} { return t.changes }

// State is a copy of what is known.
func (t *logTask) State() *projector.State {
	if f := t.following(); f != nil {
		return f.State()
	}
	return projector.New()
}

// InSync tells whether the log was caught up with once. A log that is away
// later takes nothing from what is known.
func (t *logTask) InSync() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.caughtUp
}

func (t *logTask) following() *log.Follower {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.follower
}

// Run works until the context ends.
func (t *logTask) Run(ctx context.Context) error {
	if t.cfg.Log.Embedded != nil {
		return t.serve(ctx)
	}
	nc, err := log.Connect(t.cfg.Log.URL, log.ConnectOptions{
		Name: "hostroute agent " + t.cfg.Hypervisor, Wait: true, Credentials: t.cfg.Log.Credentials,
		Device: t.cfg.Log.VRF, Logger: t.log,
	})
	if err != nil {
		return err
	}
	defer nc.Close()
	return t.follow(ctx, nc)
}

// serve runs the log inside this process, with its service, and follows it.
func (t *logTask) serve(ctx context.Context) error {
	e := t.cfg.Log.Embedded
	listen := ""
	if e.Listen.IsValid() {
		listen = e.Listen.String()
	}
	server := log.NewServer(log.ServerOptions{Store: e.Store, Listen: listen, SyncInterval: e.Sync, Logger: t.log})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Run(ctx) })
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-server.Ready():
		}
		t.mu.Lock()
		t.url = server.URL()
		t.mu.Unlock()
		nc, err := server.Connect(log.ConnectOptions{Name: "hostroute agent " + t.cfg.Hypervisor, Logger: t.log})
		if err != nil {
			return err
		}
		defer nc.Close()
		ledger, err := log.Open(ctx, nc, log.Options{Replicas: 1})
		if err != nil {
			return err
		}
		group.Go(func() error { return log.NewService(ledger, t.log).Run(ctx) })
		return t.follow(ctx, nc)
	})
	return group.Wait()
}

// follow runs the follower and passes its signals on.
func (t *logTask) follow(ctx context.Context, nc *nats.Conn) error {
	f := log.NewFollower(nc, t.cfg.Hypervisor, log.FollowerOptions{Logger: t.log})
	t.mu.Lock()
	t.follower = f
	t.mu.Unlock()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := f.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("following the log: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		inSync := f.InSync()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-inSync:
				inSync = nil
				t.mu.Lock()
				t.caughtUp = true
				t.mu.Unlock()
				t.log.Info("caught up with the log")
			case <-f.Changes():
			}
			t.signal()
		}
	})
	return group.Wait()
}

func (t *logTask) signal() {
	select {
	case t.changes <- struct{}{}:
	default:
	}
}

func (t *logTask) status() LogStatus {
	t.mu.Lock()
	s := LogStatus{URL: t.url, InSync: t.caughtUp}
	f := t.follower
	t.mu.Unlock()
	if f == nil {
		return s
	}
	of := f.Status()
	s.Connected, s.Tick, s.NetworkTick = of.Connected, of.Tick, of.NetTick
	s.Registered, s.Gaps, s.Snapshots, s.LastError = of.Registered, of.Gaps, of.Snapshots, of.LastError
	for _, q := range f.State().Quarantined() {
		s.Quarantined = append(s.Quarantined, Quarantine{Sequence: q.Sequence, Type: q.Type, Subject: q.Subject, Reason: q.Reason})
	}
	return s
}
