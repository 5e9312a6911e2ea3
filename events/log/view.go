package log

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// view is what one attempt to publish has read: the partial State to decide
// on, and the last message of every subject that it comes from.
type view struct {
	ledger *Ledger
	state  *projector.State
	last   map[string]raw // subjects without a message are in looked only
	looked map[string]bool
	// whole says that the decision must hold against every other write, and
	// before is the last sequence of the ledger, from before anything was read.
	whole    bool
	before   uint64
	witness  raw // the message there
	loaded   map[string]bool
	patterns []string
}

// errWhole says that a decision needs a view that began with the ledger's last
// sequence.
var errWhole = errors.New("the decision rests on more than expectations on subjects can say")

func (l *Ledger) newView(ctx context.Context, whole bool) (*view, error) {
	v := &view{ledger: l, state: projector.NewPartial(), last: map[string]raw{}, looked: map[string]bool{}, whole: whole, loaded: map[string]bool{}}
	if !whole {
		return v, nil
	}
	return v, v.begin(ctx)
}

// begin notes where the ledger ends.
func (v *view) begin(ctx context.Context) (err error) {
	if v.before, err = v.ledger.LastSequence(ctx); err != nil || v.before == 0 {
		return err
	}
	v.witness, _, err = v.ledger.get.one(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return v.ledger.ledger.GetMsg(ctx, v.before)
	})
	return err
}

// refresh brings a whole view that was overtaken up to date: of a pattern it
// reads what came since, which is little. Reading all of it again would take so
// long that somebody else is always faster.
func (v *view) refresh(ctx context.Context) error {
	since := v.before
	if err := v.begin(ctx); err != nil {
		return err
	}
	v.looked = map[string]bool{} // what has a pattern stays in last
	if v.before > since {
		for _, pattern := range v.patterns {
			if err := v.loadPattern(ctx, pattern, since+1); err != nil {
				return err
			}
		}
	}
	return v.load(ctx, slices.Collect(maps.Keys(v.loaded)))
}

// decide asks the projector and reads what it misses, until it has an answer.
func (v *view) decide(ctx context.Context, e events.Event) (projector.Decision, error) {
	e, err := answer(ctx, v.load, func() (events.Event, error) { return projector.Complete(v.state, e) })
	if err != nil {
		return projector.Decision{}, err
	}
	// What isn't there can't be guarded by subject, and a pattern asks just that.
	guarded := func(ctx context.Context, subjects []string) error {
		if !v.whole && slices.ContainsFunc(subjects, isPattern) {
			return errWhole
		}
		return v.load(ctx, subjects)
	}
	return answer(ctx, guarded, func() (projector.Decision, error) { return projector.Decide(v.state, e) })
}

func isPattern(subject string) bool { return strings.HasSuffix(subject, "*") }

// answer repeats a question to a partial State until nothing is missing.
func answer[T any](ctx context.Context, load func(context.Context, []string) error, ask func() (T, error)) (T, error) {
	for {
		result, err := ask()
		var missing *projector.MissingError
		if !errors.As(err, &missing) {
			return result, err
		}
		if err := load(ctx, missing.Subjects); err != nil {
			return result, err
		}
	}
}

// load puts registers into the State, by literal subject or by pattern.
func (v *view) load(ctx context.Context, subjects []string) error {
	var literal []string
	for _, s := range subjects {
		if isPattern(s) {
			if err := v.loadPattern(ctx, s, 0); err != nil {
				return err
			}
			v.patterns = append(v.patterns, s)
			continue
		}
		literal = append(literal, s)
		v.loaded[s] = true
	}
	if err := v.look(ctx, literal); err != nil {
		return err
	}
	for _, s := range literal {
		if err := v.put(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// loadPattern reads what has a message since a sequence; 0: everything.
func (v *view) loadPattern(ctx context.Context, pattern string, from uint64) error {
	list, err := v.ledger.lastUnder(ctx, v.ledger.ledger, pattern, from, v.witness)
	if err != nil {
		return err
	}
	for _, r := range list {
		v.last[r.Subject], v.looked[r.Subject] = r, true
	}
	for _, r := range list {
		if err := v.put(ctx, r.Subject); err != nil {
			return err
		}
	}
	v.state.Looked(pattern)
	return nil
}

// look reads the last messages of literal subjects, unless it has them.
func (v *view) look(ctx context.Context, subjects []string) error {
	var fresh []string
	for _, s := range subjects {
		if !v.looked[s] {
			fresh = append(fresh, s)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	found, err := v.ledger.get.last(ctx, fresh...)
	if err != nil {
		return err
	}
	for _, s := range fresh {
		v.looked[s] = true
		if r, ok := found[s]; ok {
			v.last[s] = r
		} else {
			delete(v.last, s)
		}
	}
	return nil
}

// put decodes the register under a subject into the State. Where the last
// message is damaged, the one before it holds, as it does for readers.
func (v *view) put(ctx context.Context, subject string) error {
	r, ok := v.last[subject]
	if !ok {
		v.state.Put(subject, nil)
		return nil
	}
	_, register, err := readRegister(r)
	if err != nil {
		if register, err = v.ledger.lastGood(ctx, subject); err != nil {
			return err
		}
	}
	v.state.Put(subject, register)
	return nil
}

// lastGood finds the newest register under a subject that can be read; nil:
// there is none.
func (l *Ledger) lastGood(ctx context.Context, subject string) (projector.Register, error) {
	var good projector.Register
	err := l.get.history(ctx, subject, func(r raw) bool {
		if _, register, err := readRegister(r); err == nil {
			good = register
		}
		return true
	})
	return good, err
}

// sequence is that of the last message of a subject; 0: there is none.
func (v *view) sequence(subject string) uint64 { return v.last[subject].Sequence }

// prev names the last message of a subject, for the one that will follow.
func (v *view) prev(subject string) *Link {
	r, ok := v.last[subject]
	if !ok {
		return &Link{}
	}
	prev := r.link()
	return &prev
}
