package log

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/migrations"
	"github.com/hostroute/hostroute/projector"
)

// mirror is what is known of the mirror of the feeds: whether it can be read in
// place of the ledger. It can't once the ledger has lost its end, by a power
// failure or a file put back, and the mirror hasn't: it remembers what is no
// more, and hears of nothing new until the ledger is as long again. What was
// written meanwhile it never hears of.
type mirror struct {
	make bool // it may be made anew: nobody else uses the server

	mu      sync.Mutex
	looked  bool
	session uint64 // the number of the connection in which it was looked at
	ahead   uint64 // what it has reached of a history that the ledger hasn't; 0: nothing
}

// caughtUp is how long a leader that was just elected has to get as far as the
// mirror that another one filled.
const caughtUp = time.Second

// source is where feed messages are read: the mirror, or where that is of
// another history the ledger, which takes longer.
func (l *Ledger) source(ctx context.Context) (jetstream.Stream, error) {
	ahead, err := l.mirrorAhead(ctx)
	if err != nil || ahead == 0 {
		return l.feeds, err
	}
	return l.ledger, nil
}

// mirrorAhead tells which sequence of another history the mirror has reached; 0:
// none. A log goes back only while its server is away, so it is looked at once a
// connection.
func (l *Ledger) mirrorAhead(ctx context.Context) (uint64, error) {
	m := &l.mirror
	m.mu.Lock()
	defer m.mu.Unlock()
	session := l.nc.Stats().Reconnects
	if m.ahead > 0 || m.looked && m.session == session {
		return m.ahead, nil
	}
	ahead, err := l.compareMirror(ctx)
	if err != nil {
		return 0, fmt.Errorf("comparing the mirror of the feeds with the log: %w", err)
	}
	m.looked, m.session, m.ahead = true, session, ahead
	return ahead, nil
}

// compareMirror holds the last message of the mirror against the ledger.
func (l *Ledger) compareMirror(ctx context.Context) (ahead uint64, err error) {
	info, err := patiently(ctx, l.timeout, func(ctx context.Context) (*jetstream.StreamInfo, error) { return l.feeds.Info(ctx) })
	if err != nil || info.State.LastSeq == 0 {
		return 0, err
	}
	reached := info.State.LastSeq
	for deadline := time.Now().Add(caughtUp); ; {
		last, err := l.LastSequence(ctx)
		switch {
		case err != nil:
			return 0, err
		case last >= reached:
			return l.comparePlace(ctx, reached)
		case time.Now().After(deadline):
			return reached, nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// comparePlace tells whether both have the same message at a sequence. One that
// either has lost says nothing about the others. The mirror is read as always,
// through a consumer: the log service has no other right to it.
func (l *Ledger) comparePlace(ctx context.Context, sequence uint64) (ahead uint64, err error) {
	have, ok, err := l.get.one(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) { return l.ledger.GetMsg(ctx, sequence) })
	if err != nil || !ok {
		return 0, err
	}
	s := scan{stream: l.feeds, from: sequence, timeout: l.timeout}
	err = s.run(ctx, func(r raw) error {
		if r.Sequence == sequence && (r.Subject != have.Subject || r.link() != have.link()) {
			ahead = sequence
		}
		return errStop
	})
	return ahead, err
}

// renewMirror makes the mirror anew before the ledger grows past what it has
// reached: from then on it would go on, and nothing would show any more what it
// never heard of. Until then `audit verify` tells by it what was lost.
func (l *Ledger) renewMirror(ctx context.Context, written uint64) error {
	m := &l.mirror
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.make || m.ahead == 0 || written+projector.MaxBatch < m.ahead {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	if err := l.js.DeleteStream(ctx, migrations.Feeds); err != nil {
		return fmt.Errorf("making the mirror of the feeds anew: %w", err)
	}
	for _, s := range migrations.Latest() {
		if s.Name != migrations.Feeds {
			continue
		}
		if _, err := ensure(ctx, l.js, s, Options{Replicas: 1, Timeout: l.timeout}); err != nil {
			return fmt.Errorf("making the mirror of the feeds anew: %w", err)
		}
	}
	m.looked, m.ahead = false, 0
	return nil
}
