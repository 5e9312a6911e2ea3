package audit

import (
	"cmp"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// HypervisorHistory is what happened to a hypervisor and who lived there.
type HypervisorHistory struct {
	Hypervisor string     `json:"hypervisor"`
	Registered *Origin    `json:"registered,omitempty"` // nil: never
	Drained    []Mark     `json:"drained,omitempty"`    // preferred less than others
	Fenced     []Mark     `json:"fenced,omitempty"`     // announced nothing, and took no guests
	Guests     []Resident `json:"guests"`               // in the order in which they came
	Damaged    []Damage   `json:"damaged,omitempty"`
}

// Mark is how long a hypervisor was drained or fenced, and why.
type Mark struct {
	Span
	Reason string `json:"reason,omitempty"`
}

// Resident is a guest while its home was on a hypervisor.
type Resident struct {
	VM       string   `json:"vm"`
	Taps     []string `json:"taps"`
	CameFrom string   `json:"came_from,omitempty"` // a hypervisor; empty: it was created here
	WentTo   string   `json:"went_to,omitempty"`   // a hypervisor; empty: it is here, or was deleted
	Span
	// Addresses are what it held here, as long as both lasted.
	Addresses []Holding `json:"addresses,omitempty"`
}

// Hypervisor tells what happened to a hypervisor within a window.
func (b *Book) Hypervisor(name string, w Window) (HypervisorHistory, error) {
	subjects := []string{events.SubjectHV(name), events.SubjectTick(name)}
	if err := b.need(subjects...); err != nil {
		return HypervisorHistory{}, err
	}
	h := HypervisorHistory{Hypervisor: name, Guests: []Resident{}}
	for c, v := range values[*projector.Hypervisor](b.histories[subjects[0]]) {
		if v.Exists() && c.Sequence <= w.Upto {
			h.Registered = &c.Origin
			break
		}
	}
	h.Drained = within(b.marks(name, func(v *projector.Hypervisor) bool { return v.Drained }), w)
	h.Fenced = within(b.marks(name, func(v *projector.Hypervisor) bool { return v.Fenced }), w)
	vms := visitors(b.histories[subjects[1]], w)
	for _, vm := range vms {
		subjects = append(subjects, events.SubjectVM(vm))
	}
	if err := b.need(subjects...); err != nil {
		return HypervisorHistory{}, err
	}
	for _, vm := range vms {
		h.Guests = append(h.Guests, b.residences(vm, name, w)...)
	}
	slices.SortStableFunc(h.Guests, func(a, b Resident) int {
		return cmp.Or(cmp.Compare(a.From.Sequence, b.From.Sequence), strings.Compare(a.VM, b.VM))
	})
	h.Damaged = b.damage(subjects...)
	return h, nil
}

// visitors lists the guests for which a hypervisor ever had a duty before the
// end of a window, sorted.
func visitors(ticks []Change, w Window) []string {
	var vms []string
	for _, c := range ticks {
		if c.Sequence <= w.Upto {
			vms = append(vms, c.Guests...)
		}
	}
	slices.Sort(vms)
	return slices.Compact(vms)
}

// residences lists how long a guest was at home on a hypervisor.
func (b *Book) residences(vm, hypervisor string, w Window) []Resident {
	var list []Resident
	for _, l := range lives(b.histories[events.SubjectVM(vm)]) {
		for i, home := range l.Homes {
			if home.Hypervisor != hypervisor || !home.In(w) {
				continue
			}
			r := Resident{VM: vm, Taps: home.Taps, Span: home.Span}
			if i > 0 {
				r.CameFrom = l.Homes[i-1].Hypervisor
			}
			if i+1 < len(l.Homes) {
				r.WentTo = l.Homes[i+1].Hypervisor
			}
			for _, a := range l.Addresses {
				if common, ok := a.overlap(home.Span); ok && common.In(w) {
					a.Span = common
					r.Addresses = append(r.Addresses, a)
				}
			}
			list = append(list, r)
		}
	}
	return list
}

// marks reads off a hypervisor's register how long it had a mark.
func (b *Book) marks(hypervisor string, marked func(*projector.Hypervisor) bool) []Mark {
	var all []Mark
	on := false
	for c, v := range values[*projector.Hypervisor](b.histories[events.SubjectHV(hypervisor)]) {
		switch now := v.Exists() && marked(v); {
		case now && !on:
			all = append(all, Mark{Span: Span{From: c.Origin}, Reason: v.Reason})
			on = true
		case !now && on:
			all[len(all)-1].Until = &c.Origin
			on = false
		}
	}
	return all
}

// fenced lists when a hypervisor was fenced while something held, within a
// window.
func (b *Book) fenced(hypervisor string, during Span, w Window) []Mark {
	var list []Mark
	for _, m := range b.marks(hypervisor, func(v *projector.Hypervisor) bool { return v.Fenced }) {
		if common, ok := m.overlap(during); ok && common.In(w) {
			list = append(list, m)
		}
	}
	return list
}
