package projector

import (
	"fmt"

	"github.com/hostroute/hostroute/events"
)

func (t *transaction) hypervisorRegistered(d *events.HypervisorRegistered) error {
	subject := events.SubjectHV(d.Hypervisor)
	if err := t.need(subject); err != nil {
		return err
	}
	if old := get[*Hypervisor](t, subject); old != nil {
		return &events.Error{Code: events.CodeExists, Field: "hypervisor", Value: d.Hypervisor,
			Reason: fmt.Sprintf("registered already (sequence %d)", old.seq)}
	}
	t.put(subject, &Hypervisor{Name: d.Hypervisor})
	t.ticks = append(t.ticks, d.Hypervisor)
	return nil
}

func drained(h *Hypervisor) *bool { return &h.Drained }
func fenced(h *Hypervisor) *bool  { return &h.Fenced }

// hypervisorFlag sets or clears one of a hypervisor's two marks.
func (t *transaction) hypervisorFlag(name, word string, flag func(*Hypervisor) *bool, on bool, reason string) error {
	subject := events.SubjectHV(name)
	if err := t.need(subject); err != nil {
		return err
	}
	old := get[*Hypervisor](t, subject)
	if old == nil {
		return unknownHypervisor("hypervisor", name)
	}
	if *flag(old) == on {
		is := "is"
		if !on {
			is = "isn't"
		}
		return &events.Error{Code: events.CodeExists, Field: "hypervisor", Value: name,
			Reason: fmt.Sprintf("%s %s already (sequence %d)", is, word, old.seq)}
	}
	changed := *old
	*flag(&changed) = on
	changed.Reason = reason
	t.put(subject, &changed)
	t.ticks = append(t.ticks, name)
	return nil
}

func unknownHypervisor(field, name string) error {
	return &events.Error{Code: events.CodeUnknown, Field: field, Value: name,
		Reason: "no such hypervisor; register it first"}
}

// home finds why a guest can't be homed on a hypervisor; nil: it can.
func (t *transaction) home(field, name string) error {
	h := get[*Hypervisor](t, events.SubjectHV(name))
	switch {
	case h == nil:
		return unknownHypervisor(field, name)
	case h.Fenced:
		return &events.Error{Code: events.CodeRefused, Field: field, Value: name,
			Reason: fmt.Sprintf("is fenced since sequence %d; no guest can be homed there", h.seq)}
	}
	return nil
}

// newHome finds why nobody may plan to home a guest on a hypervisor; nil: go
// ahead. A guest that is on a drained one already is homed there all the same.
func (t *transaction) newHome(field, name string) error {
	if err := t.home(field, name); err != nil {
		return err
	}
	if h := get[*Hypervisor](t, events.SubjectHV(name)); h.Drained {
		return &events.Error{Code: events.CodeRefused, Field: field, Value: name,
			Reason: fmt.Sprintf("is drained (sequence %d) and takes no guests; undrain it first, or choose another", h.seq)}
	}
	return nil
}

func (t *transaction) isFenced(name string) bool {
	h := get[*Hypervisor](t, events.SubjectHV(name))
	return h != nil && h.Fenced
}
