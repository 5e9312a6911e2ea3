package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/pace"
	"github.com/hostroute/hostroute/migrations"
	"github.com/hostroute/hostroute/projector"
)

// FollowerOptions of a [Follower].
type FollowerOptions struct {
	// State and Cursor are what was kept from an earlier run; none by default.
	// A State without its Cursor is compared with a whole snapshot first.
	State  *projector.State
	Cursor Cursor
	// Interval is how often the follower asks whether it missed anything, give
	// or take a fifth; 15 s by default.
	Interval time.Duration
	// Timeout is how long an answer may pause; 5 s by default.
	Timeout time.Duration
	// Received, if set, is told of each live message that changes State, before Changes
	// signals it, and when the log stored that. It must not wait. What a snapshot brings
	// isn't told of.
	Received func(stored time.Time)
	Logger   *slog.Logger
}

// Cursor says how far a State has come. The ticks are those of the hypervisor
// and of all networks.
type Cursor struct {
	Ledger  string `json:"ledger"` // see Ledger.Identity
	Tick    Link   `json:"tick"`
	NetTick Link   `json:"net_tick"`
}

// FollowerStatus is what a follower says about itself.
type FollowerStatus struct {
	Connected   bool      `json:"connected"`
	Server      string    `json:"server,omitempty"`
	InSync      bool      `json:"in_sync"`
	Since       time.Time `json:"in_sync_since,omitzero"`
	Registered  bool      `json:"registered"` // somebody registered this hypervisor
	Tick        uint64    `json:"tick"`       // sequence of the last command that concerned it
	NetTick     uint64    `json:"net_tick"`   // and of the last change of a network
	Gaps        uint64    `json:"gaps"`       // noticed in the chains of ticks
	Snapshots   uint64    `json:"snapshots"`  // taken, for whatever reason
	Quarantined int       `json:"quarantined"`
	LastError   string    `json:"last_error,omitempty"`
}

// Follower keeps the State of one hypervisor up to date. It never gives up
// what it knows for lack of a connection.
type Follower struct {
	nc         *nats.Conn
	hypervisor string
	interval   time.Duration
	timeout    time.Duration
	received   func(stored time.Time)
	asker      string // tells its requests from those of others
	log        *slog.Logger
	changes    chan struct{}
	inSync     chan struct{}
	once       sync.Once

	mu     sync.Mutex // guards what is below
	state  *projector.State
	cursor Cursor
	status FollowerStatus
	ended  map[string]bool // subjects of what messages ended since the last Handover
	doubts []chan struct{} // closed by the next answer to a question that is asked from now on

	doubted chan struct{}     // capacity 1
	said    seldom            // what was logged of catching up
	pending map[string]staged // by guest; feed messages whose tick is to come
	behind  bool              // a gap was noticed and no snapshot taken since
}

// staged is a feed message that waits for its tick, so that a command is seen
// whole or not at all.
type staged struct {
	raw      raw
	link     Link
	register projector.Register // nil: it can't be read
}

const liveBuffer = 8192

// NewFollower makes a follower; Run starts it.
func NewFollower(nc *nats.Conn, hypervisor string, o FollowerOptions) *Follower {
	if o.State == nil {
		o.State, o.Cursor = projector.New(), Cursor{}
	}
	if o.Interval <= 0 {
		o.Interval = pace.Interval
	}
	if o.Timeout <= 0 {
		o.Timeout = pace.AnswerTimeout
	}
	if o.Received == nil {
		o.Received = func(time.Time) {}
	}
	return &Follower{
		nc: nc, hypervisor: hypervisor, interval: o.Interval, timeout: o.Timeout,
		log:   orDiscard(o.Logger).With("hypervisor", hypervisor),
		asker: nuid.Next(), received: o.Received,
		changes: make(chan struct{}, 1), inSync: make(chan struct{}),
		state: o.State.Clone(), cursor: o.Cursor, pending: map[string]staged{},
		ended: map[string]bool{}, doubted: make(chan struct{}, 1),
	}
}

// Changes signals that State has changed; several changes may be one signal.
func (f *Follower) Changes() <-chan struct{} { return f.changes }

// InSync is closed when the follower has caught up for the first time.
func (f *Follower) InSync() <-chan struct{} { return f.inSync }

// State is a copy of what is known.
func (f *Follower) State() *projector.State {
	state, _ := f.Checkpoint()
	return state
}

// Checkpoint is a copy of what is known with the cursor that belongs to it, to
// be kept and given to the next follower.
func (f *Follower) Checkpoint() (*projector.State, Cursor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.Clone(), f.cursor
}

// Handover is a Checkpoint with the subjects of what a message has ended since
// the last one. Nothing else is left of it, and what merely is missing from
// State may have been lost.
func (f *Follower) Handover() (state *projector.State, cursor Cursor, ended []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ended = slices.Collect(maps.Keys(f.ended))
	clear(f.ended)
	return f.state.Clone(), f.cursor, ended
}

// Doubt has the follower ask at once whether it missed anything, and not count as
// in sync before. The channel is closed when the log has answered that. It is for a
// process that was stopped for a while.
func (f *Follower) Doubt() <-chan struct{} {
	answered := make(chan struct{})
	f.mu.Lock()
	f.doubts = append(f.doubts, answered)
	f.status.InSync, f.status.Since = false, time.Time{}
	f.mu.Unlock()
	select {
	case f.doubted <- struct{}{}:
	default:
	}
	return answered
}

// Status says how the follower is doing.
func (f *Follower) Status() FollowerStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	s.Connected = f.nc.IsConnected()
	if s.Connected {
		s.Server = f.nc.ConnectedUrlRedacted()
	} else {
		s.InSync, s.Since = false, time.Time{}
	}
	s.Tick, s.NetTick = f.cursor.Tick.Sequence, f.cursor.NetTick.Sequence
	s.Quarantined = len(f.state.Quarantined())
	return s
}

// Run follows until the context ends. Live messages are subscribed to before
// the first snapshot is asked for, and wait while one is taken.
func (f *Follower) Run(ctx context.Context) error {
	if err := events.CheckName("hypervisor", f.hypervisor); err != nil {
		return fmt.Errorf("following the log: %w", err)
	}
	connection := f.nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	defer f.nc.RemoveStatusListener(connection)
	live := make(chan *nats.Msg, liveBuffer)
	for _, subject := range []string{
		events.SubjectTick(f.hypervisor), events.SubjectFeed(f.hypervisor, "*"), events.SubjectNetTick,
	} {
		sub, err := f.nc.ChanSubscribe(liveSubject(subject), live)
		if err != nil {
			return fmt.Errorf("following %s: %w", subject, err)
		}
		defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone
	}
	return f.loop(ctx, live, connection)
}

// liveSubject is where the ledger republishes a subject.
func liveSubject(subject string) string { return migrations.Live + subject[len("hr"):] }

func (f *Follower) loop(ctx context.Context, live <-chan *nats.Msg, connection <-chan nats.Status) error {
	due := time.NewTimer(0)
	defer due.Stop()
	var backoff pace.Backoff
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-live:
			if f.handle(m) {
				due.Reset(draw(20 * time.Millisecond))
			}
		case s := <-connection:
			switch s {
			case nats.CLOSED:
				return errors.New("following the log: the connection was closed")
			case nats.CONNECTED:
				due.Reset(draw(pace.FirstQuestion))
			default:
				f.lost(errNotConnected)
			}
		case <-f.doubted:
			due.Reset(0)
		case <-due.C:
			next, err := f.catchUp(ctx)
			if errors.Is(err, nats.ErrConnectionClosed) {
				return fmt.Errorf("following the log: %w", err)
			}
			if err != nil {
				next = backoff.Failed(draw)
			} else {
				backoff.Succeeded()
			}
			due.Reset(next)
		}
	}
}

// catchUp asks for what is newer than what is known and tells when to ask next.
func (f *Follower) catchUp(ctx context.Context) (time.Duration, error) {
	f.mu.Lock()
	cursor, doubts := f.cursor, f.doubts
	f.doubts = nil
	f.mu.Unlock()
	s, err := f.ask(ctx, cursor)
	if err == nil {
		err = f.take(s, doubts)
	}
	if err != nil {
		f.mu.Lock()
		f.doubts = append(doubts, f.doubts...)
		f.mu.Unlock()
	}
	switch {
	case err == nil:
		f.said = seldom{}
	case ctx.Err() == nil:
		f.lost(err)
		if !errors.Is(err, errNotConnected) && f.said.due(err.Error()) { // of that the connection tells
			f.log.Warn("catching up with the log; trying again until it succeeds", "error", err)
		}
	}
	return pace.Around(f.interval, 5, draw), err
}

// errNotConnected is why nothing is asked for. The connection comes back by
// itself and says so.
var errNotConnected = errors.New("not connected to NATS at the moment; serving on from what is known")

// draw draws a duration from 0 to below n.
func draw(n time.Duration) time.Duration { return rand.N(n) }

// lost notes that the follower isn't known to be up to date.
func (f *Follower) lost(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.InSync, f.status.Since = false, time.Time{}
	f.status.LastError = err.Error()
}

// signal says that something changed, once for all that nobody looked at yet.
func (f *Follower) signal() {
	select {
	case f.changes <- struct{}{}:
	default:
	}
}
