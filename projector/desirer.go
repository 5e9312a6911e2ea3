package projector

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/ipv6"
	"github.com/hostroute/hostroute/vrf"
)

// Desirer computes [DesiredWith] of one State after the other, at the cost of what has
// changed. Registers are never written again, so that what a guest makes of a host is the
// same as long as its register and the networks are the very same ones, and the hypervisor
// is drained or fenced or not as before. That holds for guests that share nothing; those that claim a tap or a prefix
// which another one claims too are computed together, by the rules of Desired.
//
// It is not safe for concurrent use. What it returned is never written again, and a part of a
// Host that is the same as in the one before is the very same slice.
type Desirer struct {
	hypervisor string
	drained    bool
	networks   []*Network
	parts      []*part // in the order of the index
	owners     map[claim][]*part
	contested  map[claim]bool // of several owners
	joint      []*part        // owners of any of these
	host       Host
	shared     Host // the part of host that joint makes together
}

// NewDesirer makes one for a hypervisor.
func NewDesirer(hypervisor string) *Desirer {
	return &Desirer{hypervisor: hypervisor, owners: map[claim][]*part{}, contested: map[claim]bool{}}
}

// part is a guest, and what it makes of a host alone.
type part struct {
	subject string
	given   *Guest
	guest   *Guest // as if it had arrived, if it has
	claims  []claim
	host    Host
	joint   bool // claims something that another one does, too
}

// claim is a tap, or a prefix in a VRF, that a guest may keep others from having, or be
// kept from.
type claim struct {
	tap    string
	vrf    string
	prefix netip.Prefix
}

func (c claim) compare(d claim) int {
	return cmp.Or(strings.Compare(c.tap, d.tap), strings.Compare(c.vrf, d.vrf), c.prefix.Compare(d.prefix))
}

// Desired is what [DesiredWith] of the State is.
func (d *Desirer) Desired(s *State, arrived func(vm string) bool) Host {
	b := newBuilder(s, d.hypervisor)
	networks := s.Networks()
	// The hypervisor's register is another one with each event that concerns it.
	if b.drained != d.drained || b.host.Fenced != d.host.Fenced || !slices.Equal(networks, d.networks) {
		*d = *NewDesirer(d.hypervisor)
		d.drained, d.networks, d.host.Fenced = b.drained, networks, b.host.Fenced
	}
	gone, come := d.look(s, b, arrived)
	if len(gone)+len(come) > 0 {
		d.change(s, gone, come)
	}
	return d.host
}

// look renews the list of parts, and gives those that went and came.
func (d *Desirer) look(s *State, b *builder, arrived func(vm string) bool) (gone, come []*part) {
	old, guests := d.parts, s.index().list
	renewed := make([]*part, 0, len(guests))
	for _, e := range guests {
		for len(old) > 0 && old[0].subject < e.subject {
			gone, old = append(gone, old[0]), old[1:]
		}
		early := arrived != nil && !b.host.Fenced && e.guest.Duty(d.hypervisor) == DutyPrepare && arrived(e.guest.VM)
		if len(old) > 0 && old[0].subject == e.subject {
			was := old[0]
			old = old[1:]
			if was.given == e.guest && early == (was.guest != was.given) {
				renewed = append(renewed, was)
				continue
			}
			gone = append(gone, was)
		}
		p := d.solo(s, e.subject, e.guest, arrived)
		come, renewed = append(come, p), append(renewed, p)
	}
	gone = append(gone, old...)
	d.parts = renewed
	return gone, come
}

// solo computes what a guest makes of a host that has no other.
func (d *Desirer) solo(s *State, subject string, g *Guest, arrived func(vm string) bool) *part {
	b := newBuilder(s, d.hypervisor)
	p := &part{subject: subject, given: g, guest: b.effective(g, arrived)}
	p.claims = b.claims(p.guest)
	p.host = b.build([]*Guest{p.guest})
	return p
}

// claims lists all that a guest may take, or want to know of whether it is taken.
func (b *builder) claims(g *Guest) (list []claim) {
	home := b.serves(g, DutyHome)
	switch {
	case home:
		for _, f := range g.Interfaces {
			list = append(list, claim{tap: f.Tap})
		}
	case b.serves(g, DutyPrepare):
		for _, tap := range g.Next.Taps {
			list = append(list, claim{tap: tap})
		}
	}
	if home || b.departed(g) {
		for _, a := range g.Addresses {
			list = append(list, claim{vrf: g.Interfaces[a.Interface].VRF, prefix: a.Prefix})
		}
	}
	slices.SortFunc(list, claim.compare)
	return slices.Compact(list)
}

// change replaces parts of the host by others.
func (d *Desirer) change(s *State, gone, come []*part) {
	for _, p := range gone {
		d.disown(p)
	}
	for _, p := range come {
		d.own(p)
	}
	joint := d.together()
	var out, in []Host
	for _, p := range gone {
		if !p.joint {
			out = append(out, p.host)
		}
	}
	// Who shares something from now on, or no more, is told from who did before.
	for _, p := range d.joint {
		if !slices.Contains(joint, p) && !slices.Contains(gone, p) {
			p.joint = false
			in = append(in, p.host)
		}
	}
	for _, p := range joint {
		if !p.joint && !slices.Contains(come, p) {
			out = append(out, p.host)
		}
		p.joint = true
	}
	for _, p := range come {
		if !p.joint {
			in = append(in, p.host)
		}
	}
	if !slices.Equal(joint, d.joint) {
		out = append(out, d.shared)
		d.joint, d.shared = joint, Host{}
		if len(joint) > 0 {
			d.shared = newBuilder(s, d.hypervisor).build(guestsOf(joint))
		}
		in = append(in, d.shared)
	}
	d.host.patch(out, in)
	d.order(out, in)
}

func guestsOf(parts []*part) []*Guest {
	list := make([]*Guest, len(parts))
	for i, p := range parts {
		list[i] = p.guest
	}
	return list
}

func (d *Desirer) own(p *part) {
	for _, c := range p.claims {
		d.owners[c] = append(d.owners[c], p)
		if len(d.owners[c]) > 1 {
			d.contested[c] = true
		}
	}
}

func (d *Desirer) disown(p *part) {
	for _, c := range p.claims {
		left := slices.DeleteFunc(d.owners[c], func(o *part) bool { return o == p })
		d.owners[c] = left
		if len(left) == 0 {
			delete(d.owners, c)
		}
		if len(left) < 2 {
			delete(d.contested, c)
		}
	}
}

// together lists the parts that share a claim, in the order of their subjects.
func (d *Desirer) together() (joint []*part) {
	for c := range d.contested {
		joint = append(joint, d.owners[c]...)
	}
	slices.SortFunc(joint, func(a, b *part) int { return strings.Compare(a.subject, b.subject) })
	return slices.Compact(joint)
}

// patch takes parts of a host out of it, and puts others in.
func (h *Host) patch(out, in []Host) {
	h.Taps = patched(h.Taps, out, in, func(h Host) []vrf.Tap { return h.Taps }, compareTaps)
	h.Announcements = patched(h.Announcements, out, in, func(h Host) []bgp.Announcement { return h.Announcements }, compareAnnouncements)
	h.Departures = patched(h.Departures, out, in, func(h Host) []Departure { return h.Departures }, compareDepartures)
	h.DHCP = patched(h.DHCP, out, in, func(h Host) []dhcp.Service { return h.DHCP }, compareDHCP)
	h.IPv6 = patched(h.IPv6, out, in, func(h Host) []ipv6.Service { return h.IPv6 }, compareIPv6)
}

// patched is a sorted list of a host without what is in those that go out, and with
// what is in those that come in; the very list, if that is the same.
func patched[E any](list []E, out, in []Host, of func(Host) []E, compare func(a, b E) int) []E {
	drop, add := gather(out, of, compare), gather(in, of, compare)
	if len(drop)+len(add) == 0 || reflect.DeepEqual(drop, add) {
		return list
	}
	renewed := make([]E, 0, len(list)+len(add)-len(drop))
	for len(drop)+len(add) > 0 {
		first := slices.Concat(drop[:min(1, len(drop))], add[:min(1, len(add))])
		next := slices.MinFunc(first, compare)
		i, found := slices.BinarySearchFunc(list, next, compare)
		renewed, list = append(renewed, list[:i]...), list[i:]
		if len(drop) > 0 && compare(drop[0], next) == 0 {
			drop = drop[1:]
			if found {
				list = list[1:]
			}
		}
		if len(add) > 0 && compare(add[0], next) == 0 {
			renewed, add = append(renewed, add[0]), add[1:]
		}
	}
	if renewed = append(renewed, list...); len(renewed) == 0 {
		return nil // as of a host that never had any
	}
	return renewed
}

// gather puts the lists of several hosts into one, sorted.
func gather[E any](hosts []Host, of func(Host) []E, compare func(a, b E) int) (all []E) {
	if len(hosts) == 1 {
		return of(hosts[0])
	}
	for _, h := range hosts {
		all = append(all, of(h)...)
	}
	slices.SortFunc(all, compare)
	return all
}

// order renews the problems, which are in the order in which guests are looked at.
func (d *Desirer) order(out, in []Host) {
	if !slices.ContainsFunc(slices.Concat(out, in), func(h Host) bool { return len(h.Problems) > 0 }) {
		return
	}
	b := builder{hypervisor: d.hypervisor, host: d.host}
	d.host.Problems = nil
	guests := make([]*part, 0, len(d.parts))
	for _, p := range d.parts {
		if p.joint || len(p.host.Problems) > 0 {
			guests = append(guests, p)
		}
	}
	slices.SortFunc(guests, func(p, q *part) int {
		return cmp.Or(-compareBools(b.serves(p.guest, DutyHome), b.serves(q.guest, DutyHome)),
			cmp.Compare(p.guest.Epoch, q.guest.Epoch), strings.Compare(p.guest.VM, q.guest.VM))
	})
	for _, p := range guests {
		if !p.joint {
			d.host.Problems = append(d.host.Problems, p.host.Problems...)
			continue
		}
		for _, problem := range d.shared.Problems {
			if problem.VM == p.guest.VM {
				d.host.Problems = append(d.host.Problems, problem)
			}
		}
	}
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
