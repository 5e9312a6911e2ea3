package projector

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/events"
)

// Effect is what an applied event did.
type Effect struct {
	Written []string // subjects of registers, that of the event itself first
	Read    []string // subjects of registers it depends on and didn't write, sorted
	Feeds   []Feed   // sorted by hypervisor and guest
	Ticks   []string // hypervisors that it concerns, sorted
	NetTick bool     // it concerns every hypervisor, as a change of a network does
}

// Feed is a guest's new state for one hypervisor; nil: nothing to do any more.
type Feed struct {
	Hypervisor string
	VM         string
	Guest      *Guest
}

// Apply changes the State as the event says. An event that can't be applied
// changes nothing and comes back as an [*events.Error]; a duplicate changes
// nothing and has an empty Effect.
func (s *State) Apply(r Record) (Effect, error) {
	if err := r.Event.Validate(); err != nil {
		return Effect{}, err
	}
	primary := events.SubjectOf(r.Event.Data)
	if strings.Contains(primary, "*") {
		return Effect{}, typed(r.Event, &events.Error{
			Code: events.CodeInvalid, Field: "vrf", Reason: "missing; the log service fills it in when it publishes"})
	}
	if old, ok := s.registers[primary]; ok && r.Sequence != 0 && old.Sequence() >= r.Sequence {
		return Effect{}, nil
	}
	t := &transaction{state: s, seq: r.Sequence, staged: map[string]Register{}, read: map[string]bool{}}
	if err := t.apply(r.Event.Data); err != nil {
		if t.missing != nil {
			return Effect{}, &MissingError{Subjects: t.missing}
		}
		return Effect{}, typed(r.Event, err)
	}
	effect := t.effect(primary)
	for subject, register := range t.staged {
		s.write(subject, register)
	}
	return effect, nil
}

// typed adds the event's type to an error that doesn't have it.
func typed(e events.Event, err error) error {
	if bad, ok := err.(*events.Error); ok {
		bad.Type = e.Type()
	}
	return err
}

// transaction stages the registers that one event writes, so that an event is
// applied whole or not at all.
type transaction struct {
	state   *State
	seq     uint64
	staged  map[string]Register
	read    map[string]bool
	missing []string
	ticks   []string
	netTick bool
}

func (t *transaction) apply(data events.Data) error {
	switch d := data.(type) {
	case *events.NetworkDefined:
		return t.networkDefined(d)
	case *events.NetworkRemoved:
		return t.networkRemoved(d)
	case *events.HypervisorRegistered:
		return t.hypervisorRegistered(d)
	case *events.HypervisorDrained:
		return t.hypervisorFlag(d.Hypervisor, "drained", drained, true, d.Reason)
	case *events.HypervisorUndrained:
		return t.hypervisorFlag(d.Hypervisor, "drained", drained, false, "")
	case *events.HypervisorFenced:
		return t.hypervisorFlag(d.Hypervisor, "fenced", fenced, true, d.Reason)
	case *events.HypervisorUnfenced:
		return t.hypervisorFlag(d.Hypervisor, "fenced", fenced, false, "")
	case *events.VMCreated:
		return t.vmCreated(d)
	case *events.VMDeleted:
		return t.vmDeleted(d)
	case *events.VMMigrationStarted:
		return t.vmMigrationStarted(d)
	case *events.VMMigrated:
		return t.vmMigrated(d)
	case *events.VMMigrationAborted:
		return t.vmMigrationAborted(d)
	case *events.IPAssigned:
		return t.ipAssigned(d)
	case *events.IPMoved:
		return t.ipMoved(d)
	case *events.IPReleased:
		return t.ipReleased(d)
	}
	return &events.Error{Code: events.CodeInvalid, Field: "type", Reason: fmt.Sprintf("%T can't be applied", data)}
}

// need names what an event depends on, all at once, so that a partial State
// is completed in few rounds. Subjects may be patterns such as "hr.vrf.*".
func (t *transaction) need(subjects ...string) error {
	for _, subject := range subjects {
		t.read[subject] = true
		if t.state.known != nil && !t.state.knows(subject) && !slices.Contains(t.missing, subject) {
			t.missing = append(t.missing, subject)
		}
	}
	if t.missing != nil {
		return &MissingError{Subjects: t.missing}
	}
	return nil
}

// knows tells whether a subject was looked up, itself or by its pattern.
func (s *State) knows(subject string) bool {
	if s.known[subject] {
		return true
	}
	if _, ok := s.registers[subject]; ok {
		return true
	}
	i := strings.LastIndexByte(subject, '.')
	return i > 0 && s.known[subject[:i+1]+"*"]
}

// get finds a register that exists, staged ones first; nil: none. What it
// reads must have been named by need.
func get[T interface {
	comparable
	Register
}](t *transaction, subject string) T {
	if r, ok := t.staged[subject].(T); ok {
		return live(r)
	}
	return live(lookup[T](t.state, subject))
}

// put stages a register.
func (t *transaction) put(subject string, r Register) {
	r.resolve(t.seq)
	t.staged[subject] = r
}

// end stages what is left of a register.
func (t *transaction) end(subject string, r Register) {
	t.staged[subject] = tombstone(r, t.seq)
}

// effect collects what was staged.
func (t *transaction) effect(primary string) Effect {
	e := Effect{Written: []string{primary}, NetTick: t.netTick}
	ticks := t.ticks
	for subject, r := range t.staged {
		if subject != primary {
			e.Written = append(e.Written, subject)
		}
		if g, ok := r.(*Guest); ok {
			feeds := t.feeds(subject, g)
			e.Feeds = append(e.Feeds, feeds...)
			for _, f := range feeds {
				ticks = append(ticks, f.Hypervisor)
			}
		}
	}
	slices.Sort(e.Written[1:])
	slices.SortFunc(e.Feeds, func(a, b Feed) int {
		return strings.Compare(a.Hypervisor+"."+a.VM, b.Hypervisor+"."+b.VM)
	})
	slices.Sort(ticks)
	e.Ticks = slices.Compact(ticks)
	for subject := range t.read {
		if _, written := t.staged[subject]; !written {
			e.Read = append(e.Read, subject)
		}
	}
	slices.Sort(e.Read)
	return e
}

// feeds tells every hypervisor that has or had a duty for a guest.
func (t *transaction) feeds(subject string, g *Guest) []Feed {
	before := lookup[*Guest](t.state, subject)
	hvs := slices.Concat(before.places(), g.places())
	slices.Sort(hvs)
	var feeds []Feed
	for _, hv := range slices.Compact(hvs) {
		f := Feed{Hypervisor: hv, VM: strings.TrimPrefix(subject, "hr.vm.")}
		if g.Duty(hv) != DutyNone {
			f.Guest = g
		}
		feeds = append(feeds, f)
	}
	return feeds
}
