package agent

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/ipv6"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
)

// guestRoute is a guest's route on its tap.
type guestRoute struct {
	tap    string
	prefix netip.Prefix
}

// guestRoute finds the route of a VRF to a guest whose tap is here.
func (f explainFacts) guestRoute(vrfName string) (best guestRoute, ok bool) {
	for _, t := range f.host.Taps {
		p := longestRoute(t, f.address)
		if t.VRF == vrfName && f.present[t.Name] && p.IsValid() && (!ok || p.Bits() > best.prefix.Bits()) {
			best, ok = guestRoute{t.Name, p}, true
		}
	}
	return best, ok
}

// longestRoute is the longest prefix of a tap's routes that has the address;
// invalid: none has.
func longestRoute(t vrf.Tap, address netip.Addr) (best netip.Prefix) {
	for _, r := range t.Routes {
		if r.Prefix.Contains(address) && (!best.IsValid() || r.Prefix.Bits() > best.Bits()) {
			best = r.Prefix
		}
	}
	return best
}

// holder is a guest that this hypervisor has a duty for and that has a prefix
// with the address.
type holder struct {
	guest *projector.Guest
	duty  projector.Duty
	held  projector.Address
	tap   string
}

// holders lists the guests that have the address in a VRF, as far as this
// hypervisor is told of them.
func (f explainFacts) holders(vrfName string) (list []holder) {
	for _, g := range f.state.Guests() {
		duty := g.Duty(f.hypervisor)
		if duty == projector.DutyNone {
			continue
		}
		for _, a := range g.Addresses {
			i := g.Interfaces[a.Interface]
			if i.VRF != vrfName || !a.Prefix.Contains(f.address) {
				continue
			}
			tap := i.Tap
			switch duty {
			case projector.DutyPrepare:
				tap = g.Next.Taps[a.Interface]
			case projector.DutyForward:
				tap = g.Previous.Taps[a.Interface]
			}
			list = append(list, holder{g, duty, a, tap})
		}
	}
	return list
}

// explainGuest words a packet that a guest of this hypervisor gets.
func (f explainFacts) explainGuest(d *Destination, v vrfFacts, r guestRoute) {
	d.To, d.Prefix, d.Tap = ToGuest, &r.prefix, r.tap
	holders := f.holders(v.name)
	at := slices.IndexFunc(holders, func(h holder) bool {
		return h.duty == projector.DutyHome && h.tap == r.tap && h.held.Prefix == r.prefix
	})
	if at < 0 { // the log has gone on since the last round
		d.say("%s in VRF %s goes by tap %s, by the route of %s; the log says otherwise by now, and that is being applied.", f.address, v.name, r.tap, r.prefix)
		return
	}
	h := holders[at]
	d.VM = h.guest.VM
	d.say("%s in VRF %s goes to guest %s on this hypervisor, by tap %s%s.", f.address, v.name, h.guest.VM, r.tap, behind(r.prefix))
	d.say("The log has %s hold %s as %s: its last word on the guest is at sequence %d, and its home is %s since sequence %d (the epoch).",
		h.guest.VM, r.prefix, h.held.Role, h.guest.Sequence(), h.guest.Hypervisor, h.guest.Epoch)
	f.explainTold(d, h)
	f.explainAnnounced(d, v, r.prefix)
	for _, other := range holders {
		if other.guest.VM != h.guest.VM {
			f.explainHolder(d, other)
		}
	}
	for _, l := range v.learned {
		if l.Prefix == r.prefix {
			d.say("%s is learned over %s too; a guest of this hypervisor always comes first.", r.prefix, plural(len(l.Paths), "path"))
		}
	}
	if len(f.errs) > 0 {
		d.say("The last comparison with the kernel failed in part: see `hostroute status`.")
	}
}

func behind(p netip.Prefix) string {
	if p.IsSingleIP() {
		return ""
	}
	return " with all of " + p.String()
}

// explainTold says how the guest comes to know of its address.
func (f explainFacts) explainTold(d *Destination, h holder) {
	how := f.toldBy(h)
	if how == "" {
		d.say("Nobody tells the guest of it: it must be configured there.")
		return
	}
	facts, known := ServiceFacts{}, f.services != nil
	if known {
		if facts, known = f.services(h.tap); !known {
			d.say("The guest is to be told of it by %s, which doesn't run on tap %s now.", how, h.tap)
			return
		}
	}
	when := func(verb string, at time.Time) string {
		switch {
		case !known:
			return ""
		case at.IsZero():
			return ": not " + verb + " since the agent started"
		}
		return ": " + verb + " " + ago(f.now.Sub(at))
	}
	switch how {
	case toldByDHCPv4:
		d.say("The guest has it by DHCPv4%s.", when("acknowledged", facts.DHCPv4))
	case toldByDHCPv6:
		d.say("The guest has it by DHCPv6%s.", when("answered", facts.DHCPv6))
	case toldByDelegation:
		d.say("%s is delegated to the guest by DHCPv6%s.", h.held.Prefix, when("answered", facts.DHCPv6))
	case toldByRA:
		d.say("The guest forms addresses in %s by itself, as router advertisements say%s.", h.held.Prefix, when("sent", facts.Advertised))
	}
}

// How a guest comes to know of an address.
const (
	toldByDHCPv4     = "DHCPv4"
	toldByDHCPv6     = "DHCPv6"
	toldByDelegation = "DHCPv6 (delegation)"
	toldByRA         = "router advertisements"
)

// toldBy finds what tells the guest of the address; empty: nothing does.
func (f explainFacts) toldBy(h holder) string {
	for _, s := range f.host.DHCP {
		if s.Tap == h.tap && s.Address == f.address {
			return toldByDHCPv4
		}
	}
	for _, s := range f.host.IPv6 {
		if s.Tap != h.tap {
			continue
		}
		switch {
		case slices.Contains(s.Lease.Addresses, f.address):
			return toldByDHCPv6
		case slices.Contains(s.Lease.Delegated, h.held.Prefix):
			return toldByDelegation
		case slices.ContainsFunc(s.Router.Prefixes, func(o ipv6.OnLink) bool { return o.Autonomous && o.Prefix == h.held.Prefix }):
			return toldByRA
		}
	}
	return ""
}

// explainAnnounced says to whom the prefix is announced, or why not.
func (f explainFacts) explainAnnounced(d *Destination, v vrfFacts, p netip.Prefix) {
	for _, n := range f.announced {
		if n.VRF == v.name && n.Prefix == p {
			d.Announced, d.Preference = true, n.Preference
		}
	}
	to := 0
	for _, r := range v.reflectors {
		if r.established && r.announces {
			to++
		}
	}
	drained, fenced := false, false
	if h := f.state.Hypervisor(f.hypervisor); h != nil {
		drained, fenced = h.Drained, h.Fenced
	}
	switch {
	case !d.Announced && fenced:
		d.say("It isn't announced: the log has this hypervisor fenced.")
	case !d.Announced && !f.said:
		d.say("It isn't announced: nothing is before the log has been caught up with.")
	case !d.Announced:
		d.say("It isn't announced: its route isn't known to stand in the kernel; see `hostroute status`.")
	case len(v.reflectors) == 0:
		d.say("It isn't announced to anybody: VRF %s has no reflector.", v.name)
	case drained:
		d.say("Announced to %d of %s, with preference %d since this hypervisor is drained.", to, plural(len(v.reflectors), "reflector"), d.Preference)
	default:
		d.say("Announced to %d of %s, with preference %d.", to, plural(len(v.reflectors), "reflector"), d.Preference)
	}
}

// explainHeld says which guests this hypervisor knows to have the address,
// where none of them gets the packet here.
func (f explainFacts) explainHeld(d *Destination, v vrfFacts) {
	for _, h := range f.holders(v.name) {
		f.explainHolder(d, h)
	}
}

func (f explainFacts) explainHolder(d *Destination, h holder) {
	vm, p := h.guest.VM, h.held.Prefix
	switch {
	case h.duty == projector.DutyPrepare:
		d.say("Guest %s, which has %s, is expected here on tap %s and still lives on %s: all is prepared, and nothing is routed to it or announced before it has moved.", vm, p, h.tap, h.guest.Hypervisor)
	case h.duty == projector.DutyForward:
		d.say("Guest %s, which has %s, lived here on tap %s before; its home is %s since sequence %d.", vm, p, h.tap, h.guest.Hypervisor, h.guest.Epoch)
	case f.problemOf(vm, h.tap) != "":
		d.say("Guest %s of this hypervisor has %s and isn't served: %s.", vm, p, f.problemOf(vm, h.tap))
	case slices.Contains(f.leftOut, h.tap):
		d.say("Guest %s of this hypervisor has %s, but its tap %s can't be put into VRF %s, so it is neither routed nor announced; see `hostroute status`.", vm, p, h.tap, d.VRF)
	case !f.present[h.tap]:
		d.say("Guest %s of this hypervisor has %s, but its tap %s is not on this host, so it is neither routed nor announced.", vm, p, h.tap)
	case h.held.Role == events.RoleAnycast && d.To == ToGuest:
		d.say("Guest %s here holds %s as anycast as well, on tap %s; one of them gets what comes to this hypervisor.", vm, p, h.tap)
	default:
		d.say("Guest %s of this hypervisor has %s on tap %s; a longer prefix is in its way, or the log is being applied.", vm, p, h.tap)
	}
}

// problemOf is why a guest of this hypervisor has no tap of its own here.
func (f explainFacts) problemOf(vm, tap string) string {
	if slices.ContainsFunc(f.host.Taps, func(t vrf.Tap) bool { return t.Name == tap && f.hasTap(vm, t) }) {
		return ""
	}
	for _, p := range f.host.Problems {
		if p.VM == vm && p.Tap == tap {
			return p.Reason
		}
	}
	return ""
}

// hasTap tells whether a tap here is the guest's.
func (f explainFacts) hasTap(vm string, t vrf.Tap) bool {
	g := f.state.Guest(vm)
	return g != nil && slices.ContainsFunc(g.Interfaces, func(i projector.Interface) bool { return i.MAC.Octets == t.MAC })
}

// explainNetwork says which network of the log the address is in, where no
// guest that this hypervisor knows has it.
func (f explainFacts) explainNetwork(d *Destination, v vrfFacts) {
	if len(f.holders(v.name)) > 0 || f.gatewayOf(v.name) != "" {
		return
	}
	for _, n := range f.state.Networks() {
		subnet, ok := n.Subnet(netip.PrefixFrom(f.address, f.address.BitLen()))
		switch {
		case n.VRF != v.name || !ok:
		case slices.ContainsFunc(v.learned, func(r bgp.Route) bool { return r.Prefix.Bits() >= subnet.Prefix.Bits() }):
			d.say("It is in %s of network %s, and no guest of this hypervisor holds it.", subnet.Prefix, n.Network)
		default:
			d.say("It is in %s of network %s; no guest of this hypervisor holds it and nobody announces it, so as far as is known here no guest has it.", subnet.Prefix, n.Network)
		}
	}
}

// ago words how long something is past.
func ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	}
	return fmt.Sprintf("%d days ago", d/(24*time.Hour))
}

// named adds what a default route is.
func named(p netip.Prefix) string {
	if p.Bits() == 0 {
		return p.String() + " (the default: nothing longer is known)"
	}
	return p.String()
}

// listed writes names after what they are, a few of many.
func listed(noun string, names []string) string {
	const most = 4
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %d more", len(names)-most)
		names = names[:most]
	}
	if len(names) != 1 {
		noun += "s"
	}
	return noun + " " + strings.Join(names, ", ") + more
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func sortedNames(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
