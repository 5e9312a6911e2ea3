package projector

import (
	"iter"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hostroute/hostroute/events"
)

// guestIndex has the guests that exist, in the order of their subjects: sorting all
// of them whenever they are asked for costs more than all else that is done about
// one event.
type guestIndex struct {
	list   []indexed
	shared atomic.Bool // by clones, so that it is never written again
}

type indexed struct {
	subject string
	guest   *Guest
}

const guestPrefix = "hr.vm."

// index gives the index, made if nobody has asked for it yet. It is safe for
// concurrent readers of a State.
func (s *State) index() *guestIndex {
	if x := s.guests.Load(); x != nil {
		return x
	}
	x := &guestIndex{}
	for subject, r := range s.registers {
		if g, ok := r.(*Guest); ok && r.Exists() && strings.HasPrefix(subject, guestPrefix) {
			x.list = append(x.list, indexed{subject, g})
		}
	}
	slices.SortFunc(x.list, func(a, b indexed) int { return strings.Compare(a.subject, b.subject) })
	s.guests.Store(x)
	return x
}

// share gives the index to a clone, too.
func (s *State) share(clone *State) {
	if x := s.guests.Load(); x != nil {
		x.shared.Store(true)
		clone.guests.Store(x)
	}
}

// write replaces a register; nil: it is forgotten.
func (s *State) write(subject string, r Register) {
	if r == nil {
		delete(s.registers, subject)
	} else {
		s.registers[subject] = r
	}
	x := s.guests.Load()
	if x == nil || !strings.HasPrefix(subject, guestPrefix) {
		return
	}
	g, _ := r.(*Guest)
	if g != nil && g.gone {
		g = nil
	}
	i, found := slices.BinarySearchFunc(x.list, subject, func(e indexed, subject string) int { return strings.Compare(e.subject, subject) })
	if g == nil && !found {
		return
	}
	if x.shared.Load() {
		x = &guestIndex{list: slices.Clone(x.list)}
		s.guests.Store(x)
	}
	switch {
	case g == nil:
		x.list = slices.Delete(x.list, i, i+1)
	case found:
		x.list[i].guest = g
	default:
		x.list = slices.Insert(x.list, i, indexed{subject, g})
	}
}

// Guests lists the guests, sorted by id.
func (s *State) Guests() []*Guest {
	x := s.index()
	list := make([]*Guest, len(x.list))
	for i, e := range x.list {
		list[i] = e.guest
	}
	return list
}

// EachGuest yields the guests, sorted by id.
func (s *State) EachGuest() iter.Seq[*Guest] {
	return func(yield func(*Guest) bool) {
		for _, e := range s.index().list {
			if !yield(e.guest) {
				return
			}
		}
	}
}

// Accounts tells whether the State has a word of every guest that exists in another
// one, and of its networks: that they are, or that they have ended.
func (s *State) Accounts(other *State) bool {
	mine, i, network := s.index().list, 0, ""
	for _, e := range other.index().list {
		for i < len(mine) && mine[i].subject < e.subject {
			i++
		}
		if (i == len(mine) || mine[i].subject != e.subject) && !s.Told(e.subject) {
			return false
		}
		for _, f := range e.guest.Interfaces {
			if f.Network != network && !s.Told(events.SubjectNet(f.Network)) {
				return false
			}
			network = f.Network // as a rule that of the next one, too
		}
	}
	return true
}
