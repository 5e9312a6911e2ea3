package audit

import (
	"net/netip"
	"slices"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// GuestHistory is what happened to a guest.
type GuestHistory struct {
	VM      string   `json:"vm"`
	Lives   []Life   `json:"lives"`
	Before  *Life    `json:"before,omitempty"` // the last one that ended before the window, where none is in it
	After   *Life    `json:"after,omitempty"`  // the first one that began behind it
	Damaged []Damage `json:"damaged,omitempty"`
}

// Life is a guest from its creation to its end. Ids may be used again.
type Life struct {
	Span
	Hostname     string        `json:"hostname,omitempty"`
	Interfaces   []Port        `json:"interfaces"`
	Homes        []Home        `json:"homes"`
	Preparations []Preparation `json:"preparations,omitempty"`
	Addresses    []Holding     `json:"addresses,omitempty"`
}

// Port is an interface of a guest, without its tap, which changes with the
// home.
type Port struct {
	Network string `json:"network"`
	VRF     string `json:"vrf"`
	MAC     string `json:"mac"`
}

// Home is a hypervisor on which a guest lived.
type Home struct {
	Hypervisor string   `json:"hypervisor"`
	Epoch      uint64   `json:"epoch"`
	Taps       []string `json:"taps"` // in the order of the guest's interfaces
	Span
	Fenced []Mark `json:"fenced,omitempty"` // while the guest was there
}

// Preparation is a hypervisor that was ready for a guest to come.
type Preparation struct {
	Hypervisor string   `json:"hypervisor"`
	Taps       []string `json:"taps"`
	Span
}

// Holding is a prefix that a guest held.
type Holding struct {
	Prefix    netip.Prefix `json:"prefix"`
	VRF       string       `json:"vrf"`
	Role      events.Role  `json:"role"`
	Interface int          `json:"interface"` // index into the guest's interfaces
	Span
}

// Guest tells what happened to a guest within a window. A guest that was never
// created has no life, and none before or after either.
func (b *Book) Guest(vm string, w Window) (GuestHistory, error) {
	subject := events.SubjectVM(vm)
	if err := b.need(subject); err != nil {
		return GuestHistory{}, err
	}
	h := GuestHistory{VM: vm, Lives: []Life{}}
	all := lives(b.histories[subject])
	subjects := []string{subject}
	for _, l := range all {
		if l.In(w) {
			l.narrow(w)
			h.Lives = append(h.Lives, l)
			for _, home := range l.Homes {
				subjects = append(subjects, events.SubjectHV(home.Hypervisor))
			}
		}
	}
	if err := b.need(subjects...); err != nil {
		return GuestHistory{}, err
	}
	for i := range h.Lives {
		for j := range h.Lives[i].Homes {
			home := &h.Lives[i].Homes[j]
			home.Fenced = b.fenced(home.Hypervisor, home.Span, w)
		}
	}
	if len(h.Lives) == 0 {
		h.Before, h.After = neighbours(all, w)
	}
	h.Damaged = b.damage(subjects...)
	return h, nil
}

// narrow leaves of a life what has a moment in common with a window.
func (l *Life) narrow(w Window) {
	l.Homes = within(l.Homes, w)
	l.Preparations = within(l.Preparations, w)
	l.Addresses = within(l.Addresses, w)
}

// lives reads the lives of a guest off its register.
func lives(history []Change) []Life {
	var all []Life
	var last *projector.Guest // nil: the guest doesn't exist
	for c, g := range values[*projector.Guest](history) {
		if last != nil && (!g.Exists() || c.Type == events.TypeVMCreated) {
			all[len(all)-1].end(c.Origin)
			last = nil
		}
		if !g.Exists() {
			continue
		}
		if last == nil {
			all = append(all, begin(c.Origin, g))
		}
		all[len(all)-1].turn(history, c.Origin, last, g)
		last = g
	}
	return all
}

func begin(from Origin, g *projector.Guest) Life {
	l := Life{Span: Span{From: from}, Hostname: g.Hostname}
	for _, f := range g.Interfaces {
		l.Interfaces = append(l.Interfaces, Port{f.Network, f.VRF, f.MAC.String()})
	}
	return l
}

// turn notes what is different about the guest from an event on.
func (l *Life) turn(history []Change, at Origin, last, g *projector.Guest) {
	if last == nil || last.Epoch != g.Epoch {
		from := at
		if g.Epoch != at.Sequence { // the event that moved it can't be read
			from = originOf(history, g.Epoch)
		}
		if n := len(l.Homes); n > 0 {
			l.Homes[n-1].Until = &from
		}
		l.Homes = append(l.Homes, Home{Hypervisor: g.Hypervisor, Epoch: g.Epoch, Taps: taps(g), Span: Span{From: from}})
	}
	l.prepare(at, last, g)
	l.hold(at, last, g)
}

func taps(g *projector.Guest) []string {
	list := make([]string, len(g.Interfaces))
	for i, f := range g.Interfaces {
		list[i] = f.Tap
	}
	return list
}

func (l *Life) prepare(at Origin, last, g *projector.Guest) {
	if last != nil && last.Next != nil && (g.Next == nil || !samePlace(last.Next, g.Next)) {
		l.Preparations[len(l.Preparations)-1].Until = &at
	}
	if g.Next != nil && (last == nil || last.Next == nil || !samePlace(last.Next, g.Next)) {
		l.Preparations = append(l.Preparations, Preparation{g.Next.Hypervisor, g.Next.Taps, Span{From: at}})
	}
}

func samePlace(a, b *projector.Place) bool {
	return a.Hypervisor == b.Hypervisor && slices.Equal(a.Taps, b.Taps)
}

// hold notes which prefixes the guest has got and which it has lost. It may hold
// hundreds, and its history may be long.
func (l *Life) hold(at Origin, last, g *projector.Guest) {
	had, has := held(last), held(g)
	if last != nil {
		for _, a := range last.Addresses {
			if !has[a] {
				l.drop(at, a)
			}
		}
	}
	for _, a := range g.Addresses {
		if !had[a] {
			l.Addresses = append(l.Addresses, Holding{a.Prefix, g.Interfaces[a.Interface].VRF, a.Role, a.Interface, Span{From: at}})
		}
	}
}

func held(g *projector.Guest) map[projector.Address]bool {
	set := map[projector.Address]bool{}
	if g != nil {
		for _, a := range g.Addresses {
			set[a] = true
		}
	}
	return set
}

func (l *Life) drop(at Origin, a projector.Address) {
	for i := range l.Addresses {
		h := &l.Addresses[i]
		if h.Until == nil && h.Prefix == a.Prefix && h.Interface == a.Interface && h.Role == a.Role {
			h.Until = &at
		}
	}
}

// end closes whatever is open in a life.
func (l *Life) end(at Origin) {
	l.Until = &at
	l.Homes[len(l.Homes)-1].Until = &at
	if n := len(l.Preparations); n > 0 && l.Preparations[n-1].Until == nil {
		l.Preparations[n-1].Until = &at
	}
	for i := range l.Addresses {
		if l.Addresses[i].Until == nil {
			l.Addresses[i].Until = &at
		}
	}
}
