package audit

import (
	"slices"
	"strings"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// Origin is an event as evidence: who published what, when, from where.
type Origin struct {
	Sequence uint64      `json:"sequence"`
	Type     events.Type `json:"type,omitempty"` // empty: it can't be read
	Source   string      `json:"source,omitempty"`
	Stored   time.Time   `json:"stored"` // by the clock of the log
	Time     time.Time   `json:"time"`   // by the clock of the publisher
	ID       string      `json:"id,omitempty"`
}

// Tolerance is how far a publisher's clock may be from the log's before that is
// worth telling. An event takes a moment from one to the other.
const Tolerance = time.Second

// Skew is how much the publisher's clock was ahead of the log's, 0 within the
// [Tolerance]. A publisher may also have meant to say when something happened
// that it publishes later.
func (o Origin) Skew() time.Duration {
	if o.Time.IsZero() || o.Stored.IsZero() {
		return 0
	}
	if d := o.Time.Sub(o.Stored); d > Tolerance || d < -Tolerance {
		return d
	}
	return 0
}

// Change is one message of a register, as it was read from the log.
type Change struct {
	Origin
	Data   events.Data        // nil: it can't be read
	Value  projector.Register // what the register says from then on; nil: it can't be read
	Guests []string           // on the tick of a hypervisor, whose duties there changed
	Damage string             // why it can't be read, or doesn't follow on the one before it
}

// Damage is a change that can't be read or doesn't follow on the one before it.
type Damage struct {
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"sequence"`
	Stored   time.Time `json:"stored"`
	Reason   string    `json:"reason"`
}

// Window is the part of the log that a question is about: what held at some
// place in it behind After, up to Upto. A window with both the same is the one
// moment at which everything up to there had happened and nothing else.
type Window struct{ After, Upto uint64 }

// Always is the window over all of the log.
func Always() Window { return Window{Upto: ^uint64(0)} }

// At is the window of one moment.
func At(sequence uint64) Window { return Window{After: sequence, Upto: sequence} }

// Span is how long something held. The event at its end is no part of it.
type Span struct {
	From  Origin  `json:"from"`
	Until *Origin `json:"until,omitempty"` // nil: to this day
}

// In tells whether the span has a moment in common with the window.
func (s Span) In(w Window) bool {
	return s.From.Sequence <= w.Upto && (s.Until == nil || s.Until.Sequence > w.After)
}

// overlap is what two spans have in common; not ok: nothing.
func (s Span) overlap(o Span) (Span, bool) {
	if o.From.Sequence > s.From.Sequence {
		s.From = o.From
	}
	if s.Until == nil || o.Until != nil && o.Until.Sequence < s.Until.Sequence {
		s.Until = o.Until
	}
	return s, s.Until == nil || s.From.Sequence < s.Until.Sequence
}

func (s Span) span() Span { return s }

// spanned is what embeds a Span.
type spanned interface{ span() Span }

// within keeps what has a moment in common with a window.
func within[T spanned](list []T, w Window) []T {
	return slices.DeleteFunc(slices.Clone(list), func(v T) bool { return !v.span().In(w) })
}

// neighbours finds what is closest to a window on either side of it, among
// things of which none is in it; nil: nothing.
func neighbours[T spanned](list []T, w Window) (before, after *T) {
	for i := range list {
		s := list[i].span()
		switch {
		case s.Until != nil && s.Until.Sequence <= w.After:
			if before == nil || (*before).span().Until.Sequence < s.Until.Sequence {
				before = &list[i]
			}
		case after == nil || (*after).span().From.Sequence > s.From.Sequence:
			after = &list[i]
		}
	}
	return before, after
}

// Book holds the histories that were read so far. It isn't safe for concurrent
// use.
type Book struct {
	histories map[string][]Change
	looked    map[string]bool
}

// NewBook is a Book without a history.
func NewBook() *Book {
	return &Book{histories: map[string][]Change{}, looked: map[string]bool{}}
}

// Put enters the history of a literal subject, oldest first.
func (b *Book) Put(subject string, history []Change) {
	b.histories[subject], b.looked[subject] = history, true
}

// Looked says that all there is under a subject or pattern was put.
func (b *Book) Looked(subject string) { b.looked[subject] = true }

// need names the subjects and patterns that weren't read yet, all at once.
func (b *Book) need(subjects ...string) error {
	var missing []string
	for _, s := range subjects {
		if !b.looked[s] && !slices.Contains(missing, s) {
			missing = append(missing, s)
		}
	}
	if missing == nil {
		return nil
	}
	return &projector.MissingError{Subjects: missing}
}

// values yields the changes of a register that can be read, each with its
// value.
func values[T projector.Register](history []Change) func(func(Change, T) bool) {
	return func(yield func(Change, T) bool) {
		for _, c := range history {
			if v, ok := c.Value.(T); ok && !yield(c, v) {
				return
			}
		}
	}
}

// originOf finds the event with a sequence in a history. Where what it wrote
// can't be read, all there is to know of it may be its place.
func originOf(history []Change, sequence uint64) Origin {
	for _, c := range history {
		if c.Sequence == sequence {
			return c.Origin
		}
	}
	return Origin{Sequence: sequence}
}

// damage lists what is damaged in the histories of subjects, in the order of
// the log.
func (b *Book) damage(subjects ...string) []Damage {
	var list []Damage
	for _, subject := range subjects {
		for _, c := range b.histories[subject] {
			if c.Damage != "" {
				list = append(list, Damage{subject, c.Sequence, c.Stored, c.Damage})
			}
		}
	}
	slices.SortFunc(list, func(a, b Damage) int {
		if a.Sequence != b.Sequence {
			return int(a.Sequence) - int(b.Sequence)
		}
		return strings.Compare(a.Subject, b.Subject)
	})
	return slices.Compact(list)
}
