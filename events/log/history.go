package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/migrations"
)

// Filter selects events. What is zero selects everything; what is named must
// all be concerned by an event.
type Filter struct {
	From, To     uint64    // sequences of events, both included
	Since, Until time.Time // when they were stored; until is excluded
	VM           string
	Prefix       netip.Prefix // exactly this one, in any VRF
	Hypervisor   string
	Network      string
}

// Entry is an event as it is in the log. Where it can't be decoded, Err says
// why and Event is empty. Where a message is lost or altered an Entry says so,
// with an Err and nothing else but its sequence, and the subject and time of the
// message that shows it.
type Entry struct {
	Sequence uint64
	Stored   time.Time
	Subject  string // of the message that was read
	ID       string
	Type     string
	Source   string
	Time     time.Time // as the publisher gave it
	// Data and Version are as they are stored, where Err is set; else as the
	// newest version of the schema has it, whatever is stored.
	Data    json.RawMessage
	Version int
	Event   events.Event
	Err     error
}

// Read calls fn for each event once, in the order of the log. Without follow
// it ends at what was there when it began; with it, it waits for more until
// the context ends, and then returns nil. It reads no more of the log than the
// filter needs. An error of fn ends it and is returned.
func (l *Ledger) Read(ctx context.Context, filter Filter, follow bool, fn func(Entry) error) error {
	r := reader{filter: filter, fn: fn, chain: newChain(filter.From <= 1 && filter.Since.IsZero())}
	var err error
	if r.wanted, err = l.subjectsOf(ctx, filter, follow); err != nil {
		return err
	}
	s := scan{stream: l.ledger, from: filter.From, since: filter.Since, follow: follow, timeout: l.timeout}
	for _, set := range r.wanted {
		s.subjects = append(s.subjects, set...)
	}
	if len(r.wanted) > 0 && len(s.subjects) == 0 {
		return nil // nothing was ever written there
	}
	err = s.run(ctx, r.message)
	if follow && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	if r.failed != nil {
		return r.failed
	}
	return explain(l.nc, err)
}

// subjectsOf lists for each thing that the filter names the subjects on which
// its events are.
func (l *Ledger) subjectsOf(ctx context.Context, f Filter, follow bool) ([][]string, error) {
	var wanted [][]string
	for _, n := range []struct {
		field, name string
		subjects    []string
	}{
		{"vm", f.VM, []string{events.SubjectVM(f.VM)}},
		{"network", f.Network, []string{events.SubjectNet(f.Network)}},
		{"hypervisor", f.Hypervisor, []string{events.SubjectHV(f.Hypervisor), events.SubjectTick(f.Hypervisor)}},
	} {
		if n.name == "" {
			continue
		}
		if err := events.CheckName(n.field, n.name); err != nil {
			return nil, err
		}
		wanted = append(wanted, n.subjects)
	}
	if !f.Prefix.IsValid() {
		return wanted, nil
	}
	pattern := events.SubjectIP("*", f.Prefix)
	if follow {
		return append(wanted, []string{pattern}), nil
	}
	// A pattern would have the server look at every message of the log; the
	// subjects that there are, it knows.
	subjects, err := l.get.subjects(ctx, pattern)
	if err != nil {
		return nil, err
	}
	if len(subjects) == 0 && len(wanted) > 0 {
		return [][]string{nil}, nil
	}
	return append(wanted, subjects), nil
}

// reader makes events of the messages of one scan.
type reader struct {
	filter Filter
	wanted [][]string
	fn     func(Entry) error
	failed error
	chain  *chain

	// The batch that is being read: messages of one batch are neighbours.
	current uint64
	id      string
	seen    []bool // which of wanted it is concerned by
	done    bool   // it was handed on
}

func (r *reader) message(m raw) error {
	if r.filter.To > 0 && m.Sequence > r.filter.To && m.Sequence-offsetOf(m) > r.filter.To {
		return errStop
	}
	if !r.filter.Until.IsZero() && !m.Time.Before(r.filter.Until) {
		return errStop
	}
	d, err := decode(m)
	if wrong := r.chain.follow(m, d); wrong != nil {
		if err := r.hand(Entry{Sequence: wrong.Sequence, Stored: m.Time, Subject: m.Subject,
			Err: fmt.Errorf("the log is damaged (%s): %s; see `hostroute audit verify`", wrong.Kind, wrong.Reason)}); err != nil {
			return err
		}
	}
	sequence := m.Sequence
	switch {
	case err != nil:
	case len(r.wanted) == 0 && d.Offset > 0:
		if d.event() == r.current && d.ID == r.id || d.event() < r.filter.From || r.current == 0 {
			return nil
		}
		err = fmt.Errorf("it says that it belongs to the event at sequence %d, and that is another", d.event())
	default:
		sequence = d.event()
	}
	if sequence < r.filter.From {
		return nil
	}
	if sequence != r.current || err != nil {
		r.current, r.id, r.done, r.seen = sequence, d.ID, false, make([]bool, len(r.wanted))
	}
	if err != nil {
		r.id = "" // nothing belongs to it
	}
	if r.done || !r.concerned(m.Subject) {
		return nil
	}
	r.done = true
	return r.hand(entryOf(m, d, sequence, err))
}

func (r *reader) hand(e Entry) error {
	if err := r.fn(e); err != nil {
		r.failed = err
		return errStop
	}
	return nil
}

// offsetOf is the offset that a message claims; 0 where it claims none.
func offsetOf(r raw) uint64 {
	m, err := decode(r)
	if err != nil {
		return 0
	}
	return m.Offset
}

// concerned notes a subject of the current batch and tells whether everything
// that the filter names was met.
func (r *reader) concerned(subject string) bool {
	all := true
	for i, set := range r.wanted {
		r.seen[i] = r.seen[i] || slices.ContainsFunc(set, func(want string) bool { return matches(want, subject) })
		all = all && r.seen[i]
	}
	return all
}

// matches compares a subject with a literal one or with that of a prefix in
// any VRF.
func matches(want, subject string) bool {
	if want == subject {
		return true
	}
	w, err := events.ParseSubject(want)
	if err != nil || w.Name != "*" {
		return false
	}
	s, err := events.ParseSubject(subject)
	return err == nil && s.Kind == w.Kind && s.Prefix == w.Prefix
}

func entryOf(m raw, d message, sequence uint64, err error) Entry {
	e := Entry{
		Sequence: sequence, Stored: m.Time, Subject: m.Subject,
		ID: d.ID, Type: string(d.Type), Source: d.Source, Time: d.Time, Data: d.Data, Version: d.Version, Err: err,
	}
	if err != nil {
		return e
	}
	if e.Event, e.Err = d.firstOf(m.Subject); e.Err != nil {
		return e
	}
	if up, err := migrations.Upcast(e.Type, e.Version, e.Data); err == nil {
		e.Data, e.Version = up, d.Type.Version()
	}
	return e
}
