package projector

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hostroute/hostroute/events"
)

// Record is an event with its place in the log. Sequence is zero for an event
// that is about to be published.
type Record struct {
	Sequence uint64
	Event    events.Event
}

// Quarantined is a message of the log that changes nothing, and why.
type Quarantined struct {
	Sequence uint64 `json:"sequence"`
	ID       string `json:"id"`
	Type     string `json:"type"`
	Subject  string `json:"subject"`
	Reason   string `json:"reason"`
}

// State is the projection of a log, or of the part of it that its user needs.
// It is not safe for concurrent use; [State.Clone] is cheap.
type State struct {
	registers   map[string]Register
	quarantined []Quarantined
	// known is set for a partial State: the subjects and patterns that were
	// looked up. Without it the State is the whole truth.
	known  map[string]bool
	guests atomic.Pointer[guestIndex] // nil: nobody has asked for it yet
}

// New is the State of an empty log.
func New() *State { return &State{registers: map[string]Register{}} }

// NewPartial is a State that knows nothing yet, for [Decide].
func NewPartial() *State {
	s := New()
	s.known = map[string]bool{}
	return s
}

// Clone copies the State; registers are shared, since nobody writes them.
func (s *State) Clone() *State {
	clone := &State{
		registers:   maps.Clone(s.registers),
		quarantined: slices.Clone(s.quarantined),
		known:       maps.Clone(s.known),
	}
	s.share(clone)
	return clone
}

// Put replaces a register, unless the State has it as new or newer. It tells
// whether anything changed.
func (s *State) Put(subject string, r Register) bool {
	if s.known != nil {
		s.known[subject] = true
	}
	if r == nil {
		return false
	}
	if old, ok := s.registers[subject]; ok && old.Sequence() >= r.Sequence() {
		return false
	}
	s.write(subject, r)
	return true
}

// Looked tells a partial State that everything under a pattern was put.
func (s *State) Looked(pattern string) { s.known[pattern] = true }

// Forget drops a register as if it had never been there.
func (s *State) Forget(subject string) { s.write(subject, nil) }

// Quarantine notes a message that can't be applied. Noting it twice is once.
func (s *State) Quarantine(q Quarantined) {
	i, found := slices.BinarySearchFunc(s.quarantined, q, func(a, b Quarantined) int {
		return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), strings.Compare(a.Subject, b.Subject))
	})
	if !found {
		s.quarantined = slices.Insert(s.quarantined, i, q)
	}
}

// Release drops the quarantine of what a later message of the same subject has
// made good, everything before a sequence.
func (s *State) Release(subject string, before uint64) {
	s.quarantined = slices.DeleteFunc(s.quarantined, func(q Quarantined) bool {
		return q.Subject == subject && q.Sequence < before
	})
}

// Quarantined lists what changed nothing, in the order of the log.
func (s *State) Quarantined() []Quarantined { return slices.Clone(s.quarantined) }

// Fold applies an event of the log; one that can't be applied is quarantined.
func (s *State) Fold(r Record) {
	if _, err := s.Apply(r); err != nil {
		s.Quarantine(Quarantined{
			Sequence: r.Sequence, ID: r.Event.ID, Type: string(r.Event.Type()),
			Subject: events.SubjectOf(r.Event.Data), Reason: err.Error(),
		})
	}
}

// lookup finds a register by subject, gone or not; nil: never written.
func lookup[T Register](s *State, subject string) (r T) {
	r, _ = s.registers[subject].(T)
	return r
}

// existing lists the registers of a type that exist, in the order of their
// subjects.
func existing[T Register](s *State, prefix string) []T {
	var subjects []string
	for subject, r := range s.registers {
		if _, ok := r.(T); ok && r.Exists() && strings.HasPrefix(subject, prefix) {
			subjects = append(subjects, subject)
		}
	}
	slices.Sort(subjects)
	list := make([]T, len(subjects))
	for i, subject := range subjects {
		list[i] = s.registers[subject].(T)
	}
	return list
}

// Guest finds a guest; nil: there is none.
func (s *State) Guest(vm string) *Guest { return live(lookup[*Guest](s, events.SubjectVM(vm))) }

// Network finds a network; nil: there is none.
func (s *State) Network(name string) *Network {
	return live(lookup[*Network](s, events.SubjectNet(name)))
}

// Hypervisor finds a hypervisor; nil: there is none.
func (s *State) Hypervisor(name string) *Hypervisor {
	return live(lookup[*Hypervisor](s, events.SubjectHV(name)))
}

// Networks lists the networks, sorted by name.
func (s *State) Networks() []*Network { return existing[*Network](s, "hr.net.") }

// Hypervisors lists the hypervisors, sorted by name.
func (s *State) Hypervisors() []*Hypervisor { return existing[*Hypervisor](s, "hr.hv.") }

// live is nil for a register that isn't there or has ended.
func live[T interface {
	comparable
	Register
}](r T) T {
	var none T
	if r == none || !r.Exists() {
		return none
	}
	return r
}

// MissingError lists what must be put into a partial State, as subjects or
// patterns, before the question can be answered.
type MissingError struct{ Subjects []string }

func (e *MissingError) Error() string {
	return fmt.Sprintf("not looked up yet: %s", strings.Join(e.Subjects, ", "))
}

// Told tells whether the State has a register, if only what is left of it after
// its end: a guest that was deleted has one, a guest that nobody mentions none.
func (s *State) Told(subject string) bool { return s.registers[subject] != nil }

// Registers yields every register with its subject, ended ones too, in the
// order of the subjects: all that a State knows, to be kept and put again.
func (s *State) Registers() iter.Seq2[string, Register] {
	return func(yield func(string, Register) bool) {
		for _, subject := range slices.Sorted(maps.Keys(s.registers)) {
			if !yield(subject, s.registers[subject]) {
				return
			}
		}
	}
}
