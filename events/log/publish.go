package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/migrations"
)

// Stored says where an event is in the log.
type Stored struct {
	Sequence  uint64 `json:"sequence"` // of the first message of its batch
	ID        string `json:"id"`
	Duplicate bool   `json:"duplicate"` // it was there before
}

// maxAttempts is how often a decision that was overtaken is made again.
const maxAttempts = 60

// errChanged is a conflict that was noticed before anything was sent.
var errChanged = errors.New("a register changed while it was read")

// Publish stores one event, or says why not: an [*events.Error] for what is
// wrong with the event in the present state of the log, anything else for what
// is wrong with the log. An event without an id or a time gets them.
//
// Calling it again with the same id is safe at any time, also after an error
// that leaves open whether the event was stored: what the event's register has
// already is answered as a duplicate, however old. The same id with other data
// is an error.
func (l *Ledger) Publish(ctx context.Context, e events.Event) (Stored, error) {
	if err := e.Validate(); err != nil {
		return Stored{}, err
	}
	p := publication{ledger: l, given: e.ID != "", event: e}
	if !p.given {
		p.event.ID = nuid.Next()
	}
	if p.event.Time.IsZero() {
		p.event.Time = time.Now()
	}
	stored, err := p.run(ctx)
	var bad *events.Error
	switch {
	case err == nil:
	case !errors.As(err, &bad):
		err = fmt.Errorf("publishing %s %s: %w", p.event.Type(), p.event.ID, explain(l.nc, err))
	case bad.Held != nil:
		l.sinceWhen(ctx, bad)
	}
	return stored, err
}

// sinceWhen adds to an error that names a holder when the log stored that. The
// error is as right without.
func (l *Ledger) sinceWhen(ctx context.Context, bad *events.Error) {
	r, ok, err := l.get.one(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return l.ledger.GetMsg(ctx, bad.Held.Sequence)
	})
	if err != nil || !ok {
		return
	}
	held := *bad.Held
	held.Since = r.Time.UTC()
	bad.Held = &held
	bad.Reason += held.Since.Format(" (2006-01-02 15:04:05Z)")
}

// publication is one event on its way into the log.
type publication struct {
	ledger *Ledger
	event  events.Event
	given  bool  // the publisher chose the id, so it may be a retry
	whole  bool  // see view
	kept   *view // the one of the last attempt, if it was whole
	unsure bool  // a batch went out and may have been stored
}

// run publishes. Whatever ends it, a batch that may have been stored meanwhile
// is not passed over in silence.
func (p *publication) run(ctx context.Context) (Stored, error) {
	stored, err := p.attempts(ctx)
	var bad *events.Error
	if err != nil && p.unsure && !errors.As(err, &bad) && !errors.Is(err, ErrUnknownOutcome) {
		err = errors.Join(ErrUnknownOutcome, err)
	}
	return stored, err
}

// attempts goes on until the event is stored or refused. From the second
// attempt on, the publishers of this process take turns: those that lost a race
// don't race each other again.
func (p *publication) attempts(ctx context.Context) (Stored, error) {
	var last error
	for attempt := range maxAttempts {
		if attempt == 1 {
			select {
			case p.ledger.retries <- struct{}{}:
				defer func() { <-p.ledger.retries }()
			case <-ctx.Done():
				return Stored{}, errors.Join(ctx.Err(), last)
			}
		}
		stored, err := p.attempt(ctx)
		switch {
		case errors.Is(err, errWhole):
			p.whole = true
			continue
		case !errors.Is(err, ErrConflict) && !errors.Is(err, errChanged):
			return stored, err
		}
		last = err
		if err := pause(ctx, time.Millisecond*time.Duration(min(attempt, 20))); err != nil {
			return Stored{}, errors.Join(ctx.Err(), last)
		}
	}
	return Stored{}, fmt.Errorf("after %d attempts: %w", maxAttempts, last)
}

// view begins a view, or brings up to date what was read before.
func (p *publication) view(ctx context.Context) (v *view, err error) {
	if p.kept != nil {
		return p.kept, p.kept.refresh(ctx)
	}
	v, err = p.ledger.newView(ctx, p.whole)
	if p.whole {
		p.kept = v
	}
	return v, err
}

// attempt reads, decides and sends once.
func (p *publication) attempt(ctx context.Context) (Stored, error) {
	v, err := p.view(ctx)
	if err != nil {
		return Stored{}, err
	}
	d, decideErr := v.decide(ctx, p.event)
	var bad *events.Error
	if decideErr != nil && !errors.As(decideErr, &bad) {
		return Stored{}, decideErr
	}
	if p.given || p.unsure {
		// A prefix without a VRF may have been decided on in another one before.
		if stored, found, err := p.before(ctx, v, events.SubjectOf(p.event.Data)); found || err != nil {
			return stored, err
		}
	}
	if decideErr != nil {
		return Stored{}, decideErr
	}
	msgs, err := v.batch(ctx, d)
	if err != nil {
		return Stored{}, err
	}
	return p.send(ctx, msgs)
}

// send sends a batch, again where the server didn't take it or didn't say.
// Sending the same twice can't store it twice: the expectations of the second
// fail if the first was stored.
func (p *publication) send(ctx context.Context, msgs []*nats.Msg) (Stored, error) {
	var err error
	deadline := time.Now().Add(2 * p.ledger.timeout)
	for wait := 10 * time.Millisecond; time.Now().Before(deadline); wait = min(2*wait, 200*time.Millisecond) {
		var sequence uint64
		var o outcome
		sequence, o, err = p.ledger.send(ctx, msgs)
		switch o {
		case outcomeStored:
			return Stored{Sequence: sequence, ID: p.event.ID}, nil
		case outcomeConflict:
			return Stored{}, fmt.Errorf("%w (%v)", ErrConflict, err)
		case outcomeRefused:
			return Stored{}, err
		case outcomeUnknown:
			p.unsure = true
		}
		if err := pause(ctx, wait); err != nil {
			break
		}
	}
	return Stored{}, err
}

// before looks for the event's id in the history of its register.
func (p *publication) before(ctx context.Context, v *view, subject string) (Stored, bool, error) {
	subjects := []string{subject}
	if strings.Contains(subject, "*") {
		var err error
		if subjects, err = p.ledger.get.subjects(ctx, subject); err != nil {
			return Stored{}, false, err
		}
	} else if v.looked[subject] && v.sequence(subject) == 0 {
		return Stored{}, false, nil
	}
	for _, s := range subjects {
		m, found, err := p.ledger.find(ctx, s, p.event.ID)
		if err != nil {
			return Stored{}, false, err
		}
		if !found {
			continue
		}
		if !p.says(m) {
			return Stored{}, false, &events.Error{Code: events.CodeExists, Type: p.event.Type(), Field: "id", Value: p.event.ID,
				Reason: fmt.Sprintf("is the id of another event (%s, sequence %d); give every event an id of its own", m.Type, m.event())}
		}
		return Stored{Sequence: m.event(), ID: m.ID, Duplicate: !p.unsure}, true, nil
	}
	return Stored{}, false, nil
}

// find looks for an id in the history of a literal subject.
func (l *Ledger) find(ctx context.Context, subject, id string) (found message, ok bool, err error) {
	err = l.get.history(ctx, subject, func(r raw) bool {
		if r.Header.Get(headerID) != id {
			return true
		}
		m, err := decode(r)
		if err == nil {
			found, ok = m, true
		}
		return !ok
	})
	return found, ok, err
}

// says tells whether a stored message is of this event. What completing the
// event filled in may be missing here.
func (p *publication) says(m message) bool {
	if m.Type != p.event.Type() {
		return false
	}
	mine, err := json.Marshal(p.event.Data)
	if err != nil {
		return false
	}
	theirs, err := migrations.Upcast(string(m.Type), m.Version, m.Data)
	if err != nil {
		return false
	}
	var a, b map[string]any
	if json.Unmarshal(mine, &a) != nil || json.Unmarshal(theirs, &b) != nil {
		return false
	}
	for _, completed := range []string{"vrf", "interface", "role"} {
		if _, given := a[completed]; !given {
			delete(b, completed)
		}
	}
	return reflect.DeepEqual(a, b)
}

// pause waits between half of d and one and a half.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d/2 + rand.N(d+1))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
