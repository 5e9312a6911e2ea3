package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/vrf"
)

// explain words the facts.
func explain(f explainFacts) Explanation {
	e := Explanation{Address: f.address, VRFs: []Destination{}}
	never := neverRouted(f.address)
	if never != "" {
		e.say("%s", never)
	}
	var to []string
	for _, v := range f.vrfs {
		d := f.explainVRF(v)
		if never != "" && d.To != ToGateway {
			continue
		}
		e.VRFs = append(e.VRFs, d)
		if d.To != ToNowhere {
			to = append(to, v.name)
		}
	}
	e.Routed = len(to) > 0
	if len(to) > 1 {
		e.say("Several VRFs lead somewhere: %s. Which one a packet takes is decided by the tap or uplink by which it comes in.", strings.Join(to, ", "))
	}
	f.explainElsewhere(&e)
	return e
}

// explainElsewhere names VRFs that were not looked at and have a guest with
// the address.
func (f explainFacts) explainElsewhere(e *Explanation) {
	for _, t := range f.host.Taps {
		switch {
		case slices.ContainsFunc(f.vrfs, func(v vrfFacts) bool { return v.name == t.VRF }) || !longestRoute(t, f.address).IsValid():
		case slices.Contains(f.configured, t.VRF):
			e.say("In VRF %s, a guest has it on tap %s.", t.VRF, t.Name)
		default:
			e.say("In VRF %s, a guest has it on tap %s, but that VRF is not in the configuration of this hypervisor, so nothing is routed there.", t.VRF, t.Name)
		}
	}
}

func (e *Explanation) say(format string, args ...any) {
	e.Sentences = append(e.Sentences, fmt.Sprintf(format, args...))
}

func (d *Destination) say(format string, args ...any) {
	d.Sentences = append(d.Sentences, fmt.Sprintf(format, args...))
}

// neverRouted says why an address leads nowhere in any table.
func neverRouted(a netip.Addr) string {
	switch {
	case a.IsUnspecified():
		return fmt.Sprintf("%s is no address of anybody: no packet is for it.", a)
	case a.IsLoopback():
		return fmt.Sprintf("%s is a loopback address: a packet for it never leaves the host that sends it.", a)
	case a.IsMulticast():
		return fmt.Sprintf("%s is a multicast address: hostroute routes unicast only.", a)
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Sprintf("%s is the broadcast address of the link: it is never routed.", a)
	case a.Is6() && a.IsLinkLocalUnicast():
		return fmt.Sprintf("%s is link-local: it means something on one link only, and is never routed.", a)
	}
	return ""
}

// gatewayOn tells whether a tap has the address as a gateway.
func (f explainFacts) gatewayOn(t vrf.Tap) bool {
	return slices.Contains(t.Gateways, f.address) || f.address == everyTapsGateway
}

// everyTapsGateway is on every tap, whatever the log says.
var everyTapsGateway = netip.MustParseAddr("fe80::1")

// explainVRF asks in the order in which the kernel decides: the longest prefix
// first, and of equal ones what is the hypervisor's own, then a guest's, then
// what was learned.
func (f explainFacts) explainVRF(v vrfFacts) Destination {
	d := Destination{VRF: v.name, To: ToNowhere, Sentences: []string{}}
	local, served := f.guestRoute(v.name)
	learned, usable := firstUsable(v.learned)
	uplink, subnet := f.uplinkOf(v.name)
	switch {
	case f.explainGateway(&d):
	case uplink != nil && slices.ContainsFunc(uplink.Addresses, func(p netip.Prefix) bool { return p.Addr() == f.address }):
		d.To = ToHypervisor
		d.say("%s in VRF %s is this hypervisor's own address on uplink %s, in plane %s.", f.address, v.name, uplink.Interface, uplink.Plane)
	case served && (!usable || local.prefix.Bits() >= learned.Prefix.Bits()):
		f.explainGuest(&d, v, local)
	case uplink != nil && (!usable || subnet.Bits() >= learned.Prefix.Bits()):
		d.To, d.Prefix = ToPlane, &subnet
		d.Hops = []DestinationHop{{f.address, uplink.Interface, uplink.Plane}}
		d.say("%s in VRF %s is in %s, the subnet of uplink %s, so it goes straight to that neighbour in plane %s.", f.address, v.name, subnet, uplink.Interface, uplink.Plane)
	case usable:
		f.explainLearned(&d, v, learned)
	default:
		f.explainNowhere(&d, v)
	}
	for _, text := range v.handover {
		d.say("%s.", text)
	}
	f.explainAbsentGateway(&d)
	f.explainInterconnect(&d)
	return d
}

// explainGateway words an address that the hypervisor answers for as a gateway.
func (f explainFacts) explainGateway(d *Destination) bool {
	on, _ := f.tapsOf(d.VRF)
	if len(on) == 0 {
		return false
	}
	d.To = ToGateway
	if network := f.gatewayOf(d.VRF); network != "" {
		d.say("%s in VRF %s is a gateway of network %s: this hypervisor answers for it itself, on %s.", f.address, d.VRF, network, listed("tap", on))
	} else {
		d.say("%s in VRF %s is the gateway that taps have without being told: this hypervisor answers for it itself, on %s.", f.address, d.VRF, listed("tap", on))
	}
	d.say("Every hypervisor does the same for its own guests, so a packet for it is never forwarded.")
	return true
}

// explainAbsentGateway says why nobody answers for a gateway here.
func (f explainFacts) explainAbsentGateway(d *Destination) {
	network := f.gatewayOf(d.VRF)
	if network == "" || d.To == ToGateway {
		return
	}
	if _, absent := f.tapsOf(d.VRF); len(absent) > 0 {
		d.say("It is a gateway of network %s, whose %s here, so nothing answers for it here.", network, areNot(absent))
		return
	}
	d.say("It is a gateway of network %s, which has no guest on this hypervisor, so nothing answers for it here.", network)
}

func areNot(taps []string) string {
	if len(taps) == 1 {
		return "tap " + taps[0] + " is not in use"
	}
	return listed("tap", taps) + " are not in use"
}

// tapsOf lists the taps of a VRF that have the address as a gateway.
func (f explainFacts) tapsOf(vrfName string) (here, absent []string) {
	for _, t := range f.host.Taps {
		switch {
		case t.VRF != vrfName || !f.gatewayOn(t):
		case f.present[t.Name]:
			here = append(here, t.Name)
		default:
			absent = append(absent, t.Name)
		}
	}
	return here, absent
}

// gatewayOf names the network of a VRF whose gateway the address is.
func (f explainFacts) gatewayOf(vrfName string) string {
	for _, n := range f.state.Networks() {
		for _, g := range n.Gateways {
			if n.VRF == vrfName && g.Addr == f.address {
				return n.Network
			}
		}
	}
	return ""
}

// uplinkOf finds the uplink of a VRF whose subnet has the address.
func (f explainFacts) uplinkOf(vrfName string) (*config.Uplink, netip.Prefix) {
	for i, u := range f.uplinks {
		if u.VRF != vrfName || slices.Contains(f.absentUplinks, u.Interface) {
			continue
		}
		for _, p := range u.Addresses {
			if p.Contains(f.address) {
				return &f.uplinks[i], p.Masked()
			}
		}
	}
	return nil, netip.Prefix{}
}

// explainInterconnect adds what the filter keeps guests from.
func (f explainFacts) explainInterconnect(d *Destination) {
	ranges := slices.Clone(f.interconnects)
	for _, u := range f.uplinks {
		for _, p := range u.Addresses {
			ranges = append(ranges, p.Masked())
		}
	}
	for _, p := range ranges {
		if p.Contains(f.address) && d.To != ToGateway {
			d.say("Guests can't reach it: %s is interconnect, and the filter drops what they send there.", p)
			return
		}
	}
}

// firstUsable is the route that the kernel takes: the longest that has a next
// hop. A route without one isn't in the kernel.
func firstUsable(learned []bgp.Route) (bgp.Route, bool) {
	for _, r := range learned {
		if len(r.NextHops) > 0 {
			return r, true
		}
	}
	return bgp.Route{}, false
}

func (f explainFacts) explainLearned(d *Destination, v vrfFacts, r bgp.Route) {
	d.To, d.Prefix = ToLearned, &r.Prefix
	var hops []string
	for _, h := range r.NextHops {
		hop := DestinationHop{Address: h.Gateway, Uplink: h.Uplink, Plane: f.planeOf(h.Uplink)}
		d.Hops = append(d.Hops, hop)
		hops = append(hops, fmt.Sprintf("%s by uplink %s (plane %s)", hop.Address, hop.Uplink, hop.Plane))
	}
	d.say("%s in VRF %s goes by the learned route %s to %s.", f.address, v.name, named(r.Prefix), strings.Join(hops, " and "))
	if len(hops) > 1 {
		d.say("These are equally good, and flows are spread over them.")
	}
	f.explainPaths(d, r)
	f.explainHeld(d, v)
	f.explainNetwork(d, v)
	f.explainBetter(d, v, r.Prefix)
}

// explainPaths says why what is used is used, and why the rest isn't.
func (f explainFacts) explainPaths(d *Destination, r bgp.Route) {
	var best *bgp.Path
	from := map[string]bool{}
	for i, p := range r.Paths {
		if p.Chosen {
			best = &r.Paths[i]
			from[p.Peer] = true
		}
	}
	if best != nil {
		text := fmt.Sprintf("Chosen with preference %d", best.LocalPref)
		if best.ASPath != "" {
			text += ", AS path " + best.ASPath
		}
		d.say("%s; told by %s.", text, listed("reflector", sortedNames(from)))
		if best.Stale {
			d.say("It is kept from a session that fell, since nothing better is known.")
		}
	}
	for _, p := range r.Paths {
		if !p.Chosen {
			d.say("Not used: %s by uplink %s (plane %s) from reflector %s, because %s.", p.NextHop, p.Uplink, p.Plane, p.Peer, whyNot(p, best))
		}
	}
	switch {
	case r.Failed:
		d.say("The last change of this route could not be written into the kernel, which is tried again; `hostroute status` has the error.")
	case r.Pending:
		d.say("A change of this route waits to be written into the kernel.")
	}
	for _, h := range r.NextHops {
		if slices.Contains(f.absentUplinks, h.Uplink) {
			d.say("Uplink %s is not on this host.", h.Uplink)
		}
	}
}

// whyNot finds what ranks a path behind the best, in the order of the choice:
// RFC 4271, section 9.1.2.2, and RFC 9494 for stale paths.
func whyNot(p bgp.Path, best *bgp.Path) string {
	switch {
	case p.Unusable:
		return "its next hop can't be used"
	case best == nil:
		return "the choice is being made"
	case p.LongLived && !best.LongLived:
		return "it is stale for long, and only used where nothing better is left"
	case bgp.Generation(p.LocalPref) < bgp.Generation(best.LocalPref):
		return fmt.Sprintf("its preference is %d, as of a home of before, and the best has %d", p.LocalPref, best.LocalPref)
	case p.LocalPref < best.LocalPref && bgp.Drained(p.LocalPref):
		return fmt.Sprintf("its preference is %d, as of a drained hypervisor, and the best has %d", p.LocalPref, best.LocalPref)
	case p.LocalPref < best.LocalPref:
		return fmt.Sprintf("its preference is %d, and the best has %d", p.LocalPref, best.LocalPref)
	case p.Stale && !best.Stale:
		return "it is kept from a session that fell"
	case p.Origin == best.Origin && p.MED == best.MED:
		return fmt.Sprintf("its AS path (%s) is longer than the best (%s)", orNone(p.ASPath), orNone(best.ASPath))
	case p.ASPath == best.ASPath && p.Origin != best.Origin:
		return fmt.Sprintf("its origin is %s, and the best has %s", p.Origin, best.Origin)
	case p.ASPath == best.ASPath:
		return fmt.Sprintf("its MED is %d, and the best has %d", p.MED, best.MED)
	}
	return "its AS path, origin or MED is worse"
}

// explainBetter says what longer prefixes are known and of no use.
func (f explainFacts) explainBetter(d *Destination, v vrfFacts, taken netip.Prefix) {
	for _, r := range v.learned {
		if len(r.NextHops) == 0 && (!taken.IsValid() || r.Prefix.Bits() > taken.Bits()) {
			d.say("%s is known by BGP too, and %s, so it isn't in the kernel.", named(r.Prefix), whyUnused(r))
		}
	}
}

func whyUnused(r bgp.Route) string {
	switch {
	case r.Failed:
		return "could not be written"
	case r.Pending:
		return "waits to be written"
	}
	return "none of its next hops can be used"
}

func (f explainFacts) planeOf(uplink string) string {
	for _, u := range f.uplinks {
		if u.Interface == uplink {
			return u.Plane
		}
	}
	return "unknown"
}

// explainNowhere words the last resort and what may be missing.
func (f explainFacts) explainNowhere(d *Destination, v vrfFacts) {
	d.say("Nothing in VRF %s leads to %s: its table ends in an unreachable default, so the sender is told that the destination is unreachable.", v.name, f.address)
	f.explainHeld(d, v)
	f.explainNetwork(d, v)
	f.explainBetter(d, v, netip.Prefix{})
	up, complete := 0, false
	for _, r := range v.reflectors {
		complete = complete || r.complete
		if r.established {
			up++
		}
	}
	switch {
	case len(v.reflectors) == 0:
		d.say("No reflector is configured for VRF %s, so nothing is learned there.", v.name)
	case up == 0:
		d.say("None of the %s of VRF %s is connected, so nothing new is learned: see `hostroute peers`.", plural(len(v.reflectors), "reflector"), v.name)
	case !complete:
		d.say("No reflector of VRF %s has told all it knows yet.", v.name)
	}
	if v.leftover > 0 {
		d.say("The kernel still has %s in VRF %s that a former run learned and nobody has confirmed; one of them may lead there.", plural(v.leftover, "route"), v.name)
	}
}
