package projector

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hostroute/hostroute/events"
)

// MaxBatch is how many messages one atomic batch of the log may have.
const MaxBatch = 1000

// Message is one message of the batch that publishes an event.
type Message struct {
	Subject string
	State   Register // what the subject says from now on; nil: nothing any more
	Feed    []string // of a tick: the guests whose feed messages it covers
	Chained bool     // names its predecessor, and is refused if that isn't the last
}

// Decision is a published event: the event as it is stored and the messages of
// its one batch. The first message is the event's own register.
type Decision struct {
	Event    events.Event
	Messages []Message
	Guards   []string // registers that must not change meanwhile and aren't written
}

// Complete fills in what an event may leave out and the log never does: the
// VRF and the interface of a prefix. On a partial State it may return a
// [*MissingError]; an event that can't be completed is an [*events.Error].
func Complete(s *State, e events.Event) (events.Event, error) {
	if err := e.Validate(); err != nil {
		return e, err
	}
	t := &transaction{state: s, staged: map[string]Register{}, read: map[string]bool{}}
	data, err := t.complete(e.Data)
	if t.missing != nil {
		return e, &MissingError{Subjects: t.missing}
	}
	if err != nil {
		return e, typed(e, err)
	}
	e.Data = data
	return e, nil
}

func (t *transaction) complete(data events.Data) (events.Data, error) {
	switch d := data.(type) {
	case *events.IPAssigned:
		c := *d
		if c.Role == "" {
			c.Role = events.RolePrimary
		}
		err := t.completePort(c.VM, "vm", c.Prefix, &c.Interface, &c.VRF)
		return &c, err
	case *events.IPMoved:
		c := *d
		err := t.completePort(c.To, "to", c.Prefix, &c.Interface, &c.VRF)
		return &c, err
	case *events.IPReleased:
		c := *d
		err := t.completeRelease(&c)
		return &c, err
	}
	return data, nil
}

func (t *transaction) completePort(vm, field string, p events.Prefix, tap, vrf *string) error {
	g, err := t.guest(field, vm)
	if err != nil {
		return err
	}
	i, err := t.port(g, *tap, *vrf, p.Prefix)
	if err != nil {
		return err
	}
	*tap, *vrf = g.Interfaces[i].Tap, g.Interfaces[i].VRF
	return nil
}

// completeRelease finds the VRF of a prefix: that of the guest's interface, or
// the only VRF with a network that has the prefix.
func (t *transaction) completeRelease(d *events.IPReleased) error {
	if d.VRF != "" {
		return nil
	}
	var vrfs []string
	if d.VM != "" {
		g, err := t.guest("vm", d.VM)
		if err != nil {
			return err
		}
		for _, a := range g.Addresses {
			if a.Prefix == d.Prefix.Prefix {
				vrfs = append(vrfs, g.Interfaces[a.Interface].VRF)
			}
		}
	}
	if len(vrfs) == 0 {
		if err := t.need("hr.vrf.*"); err != nil {
			return err
		}
		vrfs = t.state.vrfsWith(d.Prefix)
	}
	switch len(vrfs) {
	case 1:
		d.VRF = vrfs[0]
		return nil
	case 0:
		return &events.Error{Code: events.CodeUnknown, Field: "prefix", Value: d.Prefix.String(), Reason: "no network has it"}
	}
	return &events.Error{Code: events.CodeInvalid, Field: "vrf",
		Reason: fmt.Sprintf("%s is in the VRFs %s: say which", d.Prefix, strings.Join(vrfs, ", "))}
}

// vrfsWith lists the VRFs with a network that has the prefix, sorted.
func (s *State) vrfsWith(p events.Prefix) []string {
	var names []string
	for subject, r := range s.registers {
		name, ok := strings.CutPrefix(subject, "hr.vrf.")
		if v, isVRF := r.(*VRF); ok && isVRF && v.Exists() && v.contains(p.Prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Decide computes what publishing an event writes, or why it is refused. The
// State isn't changed. On a partial State it may return a [*MissingError]: put
// what that names, or nil for what isn't there, and ask again.
func Decide(s *State, e events.Event) (Decision, error) {
	e, err := Complete(s, e)
	if err != nil {
		return Decision{}, err
	}
	after := s.Clone()
	effect, err := after.Apply(Record{Event: e})
	if err != nil {
		return Decision{}, err
	}
	d := Decision{Event: e, Messages: after.messages(e, effect)}
	if n := len(d.Messages); n > MaxBatch {
		return Decision{}, typed(e, &events.Error{Code: events.CodeTooLarge, Value: strconv.Itoa(n),
			Reason: fmt.Sprintf("messages needed; one atomic batch has at most %d", MaxBatch)})
	}
	for _, subject := range effect.Read {
		if !strings.HasSuffix(subject, "*") {
			d.Guards = append(d.Guards, subject)
		}
	}
	return d, nil
}

// Batch applies an event of the log as Apply does, and lists the messages that
// must have published it: who reads them can tell whether they are those.
func (s *State) Batch(r Record) ([]Message, error) {
	effect, err := s.Apply(r)
	if err != nil || len(effect.Written) == 0 {
		return nil, err
	}
	return s.messages(r.Event, effect), nil
}

// messages lists the batch of an applied event: registers, feeds, then ticks,
// so that whoever reads a tick has everything that it covers.
func (s *State) messages(e events.Event, effect Effect) []Message {
	var list []Message
	for _, subject := range effect.Written {
		list = append(list, Message{Subject: subject, State: s.registers[subject], Chained: true})
	}
	covered := map[string][]string{}
	for _, f := range effect.Feeds {
		m := Message{Subject: events.SubjectFeed(f.Hypervisor, f.VM)}
		if f.Guest != nil {
			m.State = f.Guest
		}
		list = append(list, m)
		covered[f.Hypervisor] = append(covered[f.Hypervisor], f.VM)
	}
	for _, hv := range effect.Ticks {
		m := Message{Subject: events.SubjectTick(hv), Feed: covered[hv], Chained: true}
		if h := s.Hypervisor(hv); h != nil {
			m.State = h
		}
		list = append(list, m)
	}
	if effect.NetTick {
		list = append(list, Message{Subject: events.SubjectNetTick, State: s.registers[events.SubjectOf(e.Data)], Chained: true})
	}
	return list
}
