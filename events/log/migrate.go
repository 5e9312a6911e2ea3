package log

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/migrations"
)

// ErrNoLog says that a server has no log to be migrated.
var ErrNoLog = errors.New("there is no log here; `hostroute log init` makes one")

// MigratorOptions of a [Migrator].
type MigratorOptions struct {
	// By is who migrates, as it is written down; the name of the connection by
	// default.
	By string
	// Timeout of one request to the server; 5 s by default.
	Timeout time.Duration
	// Lease is for how long one who migrates keeps others out, should it die;
	// a minute by default, a second at least.
	Lease time.Duration
}

// Migrator changes the layout of the log, the streams and how they are set, to
// what package migrations says. Its user needs the rights of JetStream's API.
//
// What is applied is told by the streams alone. Beside them it writes down who
// applied what and when, and takes a lock, in the key-value bucket
// hostroute-meta. The lock saves two who migrate at once from each other's
// messages; that they can't do harm rests on the steps: each makes one stream
// what the migration says, whoever does it and however often.
type Migrator struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	o    MigratorOptions
	all  []migrations.Migration
	step func(string) error // tests end a run before a step
}

// NewMigrator makes a migrator; it asks nobody yet.
func NewMigrator(nc *nats.Conn, o MigratorOptions) (*Migrator, error) {
	if o.By == "" {
		o.By = nc.Opts.Name
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Lease < time.Second {
		o.Lease = time.Minute
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(o.Timeout))
	if err != nil {
		return nil, fmt.Errorf("migrating the log: %w", err)
	}
	return &Migrator{nc: nc, js: js, o: o, all: migrations.All(), step: func(string) error { return nil }}, nil
}

// UpOptions of [Migrator.Up].
type UpOptions struct {
	// DryRun has it say what it would do, and do nothing.
	DryRun bool
	// Say is told each step before it is done; nil: nobody is.
	Say func(string)
}

// Up applies what is pending, in order, and returns the layout as it is then.
// It may be run again at any time: what an earlier run had done, when it was
// ended between any two steps, it finds done. Drift it leaves alone, and does
// nothing at all: the errors are [*DriftError].
func (m *Migrator) Up(ctx context.Context, o UpOptions) (Layout, error) {
	if o.Say == nil {
		o.Say = func(string) {}
	}
	layout, err := m.Status(ctx)
	if err != nil {
		return layout, err
	}
	if err := layout.refusal(); err != nil {
		return layout, err
	}
	if o.DryRun {
		for _, s := range layout.Migrations {
			for _, s := range s.steps {
				o.Say(s.text)
			}
		}
		return layout, nil
	}
	if layout.UpToDate() && !slices.ContainsFunc(layout.Migrations, MigrationStatus.unfinished) {
		return layout, nil
	}
	if err := m.locked(ctx, o.Say, func(hold func(context.Context) error) error {
		return m.apply(ctx, o.Say, hold)
	}); err != nil {
		return layout, fmt.Errorf("migrating the log: %w", explain(m.nc, err))
	}
	return m.Status(ctx)
}

// apply does, under the lock, what is pending now. The lock is looked at before
// every step.
func (m *Migrator) apply(ctx context.Context, say func(string), hold func(context.Context) error) error {
	for i, migration := range m.all {
		layout, err := m.Status(ctx)
		if err != nil {
			return err
		}
		if err := layout.refusal(); err != nil {
			return err
		}
		status := layout.Migrations[i]
		if len(status.steps) == 0 && !status.unfinished() {
			continue
		}
		do := func(what string, act func(context.Context) error) error {
			if err := errors.Join(hold(ctx), m.step(what)); err != nil {
				return err
			}
			if err := act(ctx); err != nil {
				return fmt.Errorf("migration %d: %s: %w", migration.Number, what, err)
			}
			return nil
		}
		if err := do("write down that it begins", func(ctx context.Context) error { return m.begin(ctx, migration) }); err != nil {
			return err
		}
		for _, s := range status.steps {
			say(s.text)
			if err := do(s.text, func(ctx context.Context) error { return m.do(ctx, s) }); err != nil {
				return err
			}
		}
		if err := do("write down that it is done", func(ctx context.Context) error { return m.finish(ctx, migration) }); err != nil {
			return err
		}
	}
	return nil
}

// step is one stream to be made or altered.
type step struct {
	text string
	want jetstream.StreamConfig
	make bool
}

// do makes a stream what it must be, and looks whether it is.
func (m *Migrator) do(ctx context.Context, s step) error {
	change := m.js.UpdateStream
	if s.make {
		change = m.js.CreateStream
	}
	_, err := change(ctx, s.want)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return err
	}
	have, ok, err := m.config(ctx, s.want.Name)
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("the server did it, and the stream isn't there")
	}
	return drift(have, s.want)
}

// config reads how a stream is set.
func (m *Migrator) config(ctx context.Context, name string) (c jetstream.StreamConfig, ok bool, err error) {
	s, err := patiently(ctx, m.o.Timeout, func(ctx context.Context) (jetstream.Stream, error) {
		s, err := m.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, nil
		}
		return s, err
	})
	if err != nil || s == nil {
		return c, false, err
	}
	return s.CachedInfo().Config, true, nil
}

// by says who does it and from where.
func (m *Migrator) by() string {
	host, err := os.Hostname()
	if err != nil {
		return m.o.By
	}
	return m.o.By + " on " + host
}
