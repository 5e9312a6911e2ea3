package log

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/internal/access"
	"github.com/hostroute/hostroute/migrations"
)

// Options of a [Ledger].
type Options struct {
	// Replicas of the streams, where they are made: 1 by default, 3 in a
	// cluster. Where they exist and Replicas isn't zero, it must be theirs.
	Replicas int
	// Timeout of one request to the server; 5 s by default.
	Timeout time.Duration
	// Migrate brings a log with an older layout up to date, as is right where
	// nobody else uses the server. Without it, such a log is served as it is.
	Migrate bool
	// Say is told what is migrated; nil: nobody is.
	Say func(string)
}

// Ledger is the log itself, for the log service, for trusted publishers and
// for readers of history. Its user needs the rights of JetStream's API. It is
// safe for concurrent use.
type Ledger struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	ledger  jetstream.Stream
	feeds   jetstream.Stream
	get     getter
	timeout time.Duration
	retries chan struct{} // held by the one publisher that tries again

	networks networks
	mirror   mirror
}

// Open finds the log or makes it, with the newest layout. A stream that is there
// and set as no layout of package migrations has it is a [*DriftError]; it is not
// altered.
func Open(ctx context.Context, nc *nats.Conn, o Options) (*Ledger, error) {
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	js, err := api(ctx, nc, o.Timeout)
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	l := &Ledger{
		nc: nc, js: js, timeout: o.Timeout, retries: make(chan struct{}, 1), mirror: mirror{make: o.Migrate},
	}
	for _, s := range migrations.Latest() {
		if s.Name != migrations.Ledger && s.Name != migrations.Feeds && !l.empty() {
			continue // nothing depends on it, and a Migrator makes it
		}
		stream, err := ensure(ctx, js, s, o)
		if err != nil {
			return nil, explain(nc, err)
		}
		switch s.Name {
		case migrations.Ledger:
			l.ledger, l.get = stream, getter{stream: stream, timeout: o.Timeout}
		case migrations.Feeds:
			l.feeds = stream
		}
	}
	if !o.Migrate || l.empty() {
		return l, nil
	}
	m, err := NewMigrator(nc, MigratorOptions{Timeout: o.Timeout})
	if err != nil {
		return nil, err
	}
	_, err = m.Up(ctx, UpOptions{Say: o.Say})
	return l, err
}

// api is JetStream as this user reaches it. An auditor's account has none of its
// own; what it may ask of the log's is imported there (see package access).
func api(ctx context.Context, nc *nats.Conn, timeout time.Duration) (jetstream.JetStream, error) {
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(timeout))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err = js.Stream(ctx, migrations.Ledger); !errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return js, nil // any other error comes up again
	}
	imported, err := jetstream.NewWithDomain(nc, access.Domain, jetstream.WithDefaultTimeout(timeout))
	if err != nil {
		return nil, err
	}
	if _, err := imported.Stream(ctx, migrations.Ledger); err != nil {
		return js, nil
	}
	return imported, nil
}

// empty says that nothing was in the log when it was opened.
func (l *Ledger) empty() bool { return l.ledger.CachedInfo().State.LastSeq == 0 }

// Identity tells this log from any other, also from one that was made anew
// under the same names: sequences of one mean nothing in the other.
func (l *Ledger) Identity() string {
	return l.ledger.CachedInfo().Created.UTC().Format(time.RFC3339Nano)
}

// LastSequence is the sequence of the last message of the log.
func (l *Ledger) LastSequence(ctx context.Context) (uint64, error) {
	info, err := patiently(ctx, l.timeout, func(ctx context.Context) (*jetstream.StreamInfo, error) { return l.ledger.Info(ctx) })
	if err != nil {
		return 0, fmt.Errorf("asking for the last sequence: %w", explain(l.nc, err))
	}
	return info.State.LastSeq, nil
}

// explain says what can be done about errors that a user meets.
func explain(nc *nats.Conn, err error) error {
	refused := nc.LastError()
	switch {
	case isUnavailable(err) && errors.Is(refused, nats.ErrPermissionViolation): // which is told apart from the answer
		return fmt.Errorf("%w; this user may not do it: %w", err, refused)
	case errors.Is(err, nats.ErrReconnectBufExceeded): // the buffer has no room at all, see connectOptions
		return fmt.Errorf("not connected to NATS at the moment, trying again all the time: %w", nats.ErrDisconnected)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("NATS at %s: turn JetStream on for this account: %w", nc.ConnectedUrlRedacted(), err)
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("NATS at %s has no JetStream for this user, or no leader at the moment: %w", nc.ConnectedUrlRedacted(), err)
	}
	return err
}

// isUnavailable tells errors of a server that is away for the moment.
func isUnavailable(err error) bool {
	for _, away := range []error{
		nats.ErrNoResponders, nats.ErrTimeout, nats.ErrConnectionReconnecting, nats.ErrDisconnected,
		nats.ErrReconnectBufExceeded,
		nats.ErrStaleConnection, nats.ErrNoServers, context.DeadlineExceeded,
	} {
		if errors.Is(err, away) {
			return true
		}
	}
	return false
}
