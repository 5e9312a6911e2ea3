package audit

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// AddressHistory is who held an address or prefix.
type AddressHistory struct {
	Prefix netip.Prefix `json:"prefix"`
	// Tenures are those of the prefix and of every prefix that contains it, by
	// VRF, then in the order of the log.
	Tenures []Tenure `json:"tenures"`
	Before  *Tenure  `json:"before,omitempty"` // the last one that ended before the window, where none is in it
	After   *Tenure  `json:"after,omitempty"`  // the first one that began behind it
	// Networks are those that had the prefix, where no guest ever held it.
	Networks []NetworkTerm `json:"networks,omitempty"`
	Damaged  []Damage      `json:"damaged,omitempty"`
}

// Tenure is one guest's hold on one prefix.
type Tenure struct {
	Prefix netip.Prefix `json:"prefix"` // what it held; contains what was asked for
	VRF    string       `json:"vrf"`
	VM     string       `json:"vm"`
	Role   events.Role  `json:"role"`
	Span
	Network string `json:"network,omitempty"`
	MAC     string `json:"mac,omitempty"`
	Stays   []Stay `json:"stays,omitempty"` // where the guest was meanwhile
}

// Stay is a hypervisor and the tap behind which a prefix was while a guest held
// it.
type Stay struct {
	Hypervisor string `json:"hypervisor"`
	Tap        string `json:"tap,omitempty"`
	Span
	Fenced []Mark `json:"fenced,omitempty"` // the hypervisor announced nothing
}

// NetworkTerm is how long a network had a prefix.
type NetworkTerm struct {
	Network string       `json:"network"`
	VRF     string       `json:"vrf"`
	Subnet  netip.Prefix `json:"subnet"`
	Gateway bool         `json:"gateway,omitempty"` // the prefix is, or holds, a gateway of the network at its end
	Span
}

// Address tells who held a prefix, or one that contains it, within a window.
// With a VRF it tells of that one only.
//
// Claims of any length are looked for, one register for each length and VRF,
// rather than of the lengths that networks allocate: networks come and go, and
// what was held in one that is gone, or whose definition is damaged, counts as
// well. It costs at most 32 or 128 questions that a server answers at once.
func (b *Book) Address(p netip.Prefix, vrf string, w Window) (AddressHistory, error) {
	patterns := covering(p, cmp.Or(vrf, "*"))
	if err := b.need(patterns...); err != nil {
		return AddressHistory{}, err
	}
	h := AddressHistory{Prefix: p, Tenures: []Tenure{}}
	all, subjects := b.tenures(p, vrf)
	h.Tenures = append(h.Tenures, within(all, w)...)
	if len(h.Tenures) == 0 {
		h.Before, h.After = neighbours(all, w)
	}
	if len(all) == 0 {
		if err := b.need(events.SubjectNetTick); err != nil {
			return AddressHistory{}, err
		}
		h.Networks = within(networks(b.histories[events.SubjectNetTick], p, vrf), w)
		subjects = append(subjects, events.SubjectNetTick)
	}
	more, err := b.settle(h.Tenures, w)
	h.Damaged = b.damage(append(subjects, more...)...)
	return h, err
}

// covering lists the registers of a prefix and of all that contain it.
func covering(p netip.Prefix, vrf string) []string {
	var list []string
	for bits := p.Bits(); bits > 0; bits-- {
		list = append(list, events.SubjectIP(vrf, netip.PrefixFrom(p.Addr(), bits).Masked()))
	}
	return list
}

// tenures reads who held what contains a prefix, and lists the registers that
// say so.
func (b *Book) tenures(p netip.Prefix, vrf string) ([]Tenure, []string) {
	var all []Tenure
	var subjects []string
	for subject, history := range b.histories {
		s, err := events.ParseSubject(subject)
		if err != nil || s.Kind != events.KindIP || vrf != "" && s.Name != vrf || s.Prefix.Bits() > p.Bits() || !s.Prefix.Contains(p.Addr()) {
			continue
		}
		subjects = append(subjects, subject)
		all = append(all, claims(history, s)...)
	}
	slices.SortFunc(all, func(a, b Tenure) int {
		return cmp.Or(strings.Compare(a.VRF, b.VRF), cmp.Compare(a.From.Sequence, b.From.Sequence),
			cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()), strings.Compare(a.VM, b.VM))
	})
	return all, subjects
}

// claims reads who held one prefix off its register.
func claims(history []Change, s events.Subject) []Tenure {
	var all []Tenure
	open := map[projector.Owner]int{} // index into all
	for c, claim := range values[*projector.Claim](history) {
		owners := claim.Owners
		if !claim.Exists() {
			owners = nil
		}
		for owner, i := range open {
			if !slices.Contains(owners, owner) {
				all[i].Until = &c.Origin
				delete(open, owner)
			}
		}
		for _, owner := range owners {
			if _, ok := open[owner]; ok {
				continue
			}
			from := c.Origin
			if owner.Since != c.Sequence { // the event that gave it can't be read
				from = originOf(history, owner.Since)
			}
			open[owner] = len(all)
			all = append(all, Tenure{Prefix: s.Prefix, VRF: s.Name, VM: owner.VM, Role: owner.Role, Span: Span{From: from}})
		}
	}
	return all
}

// settle finds where guests were while they held something. It lists what it
// read for that.
func (b *Book) settle(list []Tenure, w Window) ([]string, error) {
	var subjects []string
	for _, t := range list {
		subjects = append(subjects, events.SubjectVM(t.VM))
	}
	if err := b.need(subjects...); err != nil {
		return nil, err
	}
	for i := range list {
		list[i].settle(lives(b.histories[events.SubjectVM(list[i].VM)]), w)
		for _, s := range list[i].Stays {
			subjects = append(subjects, events.SubjectHV(s.Hypervisor))
		}
	}
	if err := b.need(subjects...); err != nil {
		return nil, err
	}
	for i := range list {
		for j := range list[i].Stays {
			s := &list[i].Stays[j]
			s.Fenced = b.fenced(s.Hypervisor, s.Span, w)
		}
	}
	slices.Sort(subjects)
	return slices.Compact(subjects), nil
}

// settle fills in what the guest's own history says of a tenure.
func (t *Tenure) settle(guest []Life, w Window) {
	t.Stays = nil
	for _, l := range guest {
		if _, ok := l.overlap(t.Span); !ok {
			continue
		}
		port := -1
		for _, a := range l.Addresses {
			if _, ok := a.overlap(t.Span); ok && a.Prefix == t.Prefix && a.VRF == t.VRF {
				port = a.Interface
				t.Network, t.MAC = l.Interfaces[port].Network, l.Interfaces[port].MAC
			}
		}
		for _, home := range l.Homes {
			if common, ok := home.overlap(t.Span); ok && common.In(w) {
				s := Stay{Hypervisor: home.Hypervisor, Span: common}
				if port >= 0 {
					s.Tap = home.Taps[port]
				}
				t.Stays = append(t.Stays, s)
			}
		}
	}
}

// networks reads off the ticks of all networks which of them had a prefix.
func networks(history []Change, p netip.Prefix, vrf string) []NetworkTerm {
	var all []NetworkTerm
	open := map[string]int{} // index into all
	for i := range history {
		switch d := history[i].Data.(type) {
		case *events.NetworkDefined:
			n := projector.Network{NetworkDefined: *d}
			subnet, ok := n.Subnet(p)
			if !ok || vrf != "" && d.VRF != vrf {
				continue
			}
			at, known := open[d.Network]
			if !known {
				at = len(all)
				open[d.Network] = at
				all = append(all, NetworkTerm{Network: d.Network, VRF: d.VRF, Subnet: subnet.Prefix.Prefix, Span: Span{From: history[i].Origin}})
			}
			all[at].Gateway = slices.ContainsFunc(d.Gateways, func(g events.Addr) bool { return p.Contains(g.Addr) })
		case *events.NetworkRemoved:
			if at, known := open[d.Network]; known {
				all[at].Until = &history[i].Origin
				delete(open, d.Network)
			}
		}
	}
	return all
}
