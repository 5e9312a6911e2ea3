package projector

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/ipv6"
	"github.com/hostroute/hostroute/vrf"
)

// Host is what one hypervisor must serve and announce.
type Host struct {
	Taps          []vrf.Tap          `json:"taps"`          // sorted by name
	Announcements []bgp.Announcement `json:"announcements"` // sorted by VRF and prefix
	// Departures are the prefixes of guests that were homed here and are homed
	// elsewhere now, sorted by VRF and prefix. For how long anything is to be done
	// about them is for the agent to know.
	Departures []Departure    `json:"departures,omitempty"`
	Fenced     bool           `json:"fenced,omitempty"` // nothing may be announced from here
	Problems   []Problem      `json:"problems,omitempty"`
	DHCP       []dhcp.Service `json:"dhcp,omitempty"` // sorted by tap
	IPv6       []ipv6.Service `json:"ipv6,omitempty"` // sorted by tap
}

// Departure is a prefix that has left this hypervisor with its guest.
type Departure struct {
	VM     string       `json:"vm"`
	VRF    string       `json:"vrf"`
	Prefix netip.Prefix `json:"prefix"`
	To     string       `json:"to"`    // the guest's home
	Epoch  uint64       `json:"epoch"` // of that home
	// Preference is the least that the home decides on: it may be drained, which
	// only it and the log know. What it announces over a plane with losses has a
	// little less, so compare [bgp.Generation]. That is above all of here, unless
	// it is anycast, which has none.
	Preference uint32 `json:"preference"`
}

// Problem is something that can't be served as the log wants it. The rest is.
type Problem struct {
	VM     string `json:"vm"`
	Tap    string `json:"tap"`
	Reason string `json:"reason"`
}

// Desired computes what the hypervisor must serve: nothing but the State and
// the name go in, so the same log gives the same answer everywhere.
func Desired(s *State, hypervisor string) Host { return DesiredWith(s, hypervisor, nil) }

// DesiredWith is Desired if guests that this hypervisor only prepares for had
// been said to be homed here: those for which arrived is true. It is for a guest
// that was seen here before the log says so. nil: none.
func DesiredWith(s *State, hypervisor string, arrived func(vm string) bool) Host {
	b := newBuilder(s, hypervisor)
	guests := s.Guests()
	for i, g := range guests {
		guests[i] = b.effective(g, arrived)
	}
	return b.build(guests)
}

// build computes what guests make of an empty host.
func (b *builder) build(guests []*Guest) Host {
	slices.SortFunc(guests, func(a, b *Guest) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), strings.Compare(a.VM, b.VM))
	})
	for _, duty := range []Duty{DutyHome, DutyPrepare} { // who only comes takes no tap from who is here
		for _, g := range guests {
			if b.serves(g, duty) {
				b.guest(g)
			}
		}
	}
	for _, g := range guests {
		b.depart(g)
	}
	slices.SortFunc(b.host.Taps, compareTaps)
	slices.SortFunc(b.host.Announcements, compareAnnouncements)
	slices.SortFunc(b.host.Departures, compareDepartures)
	slices.SortFunc(b.host.DHCP, compareDHCP)
	slices.SortFunc(b.host.IPv6, compareIPv6)
	return b.host
}

func compareTaps(a, b vrf.Tap) int { return strings.Compare(a.Name, b.Name) }

func compareAnnouncements(a, b bgp.Announcement) int {
	return cmp.Or(strings.Compare(a.VRF, b.VRF), a.Prefix.Compare(b.Prefix))
}

func compareDepartures(a, b Departure) int {
	return cmp.Or(strings.Compare(a.VRF, b.VRF), a.Prefix.Compare(b.Prefix), strings.Compare(a.VM, b.VM))
}

func compareDHCP(a, b dhcp.Service) int { return strings.Compare(a.Tap, b.Tap) }

func compareIPv6(a, b ipv6.Service) int { return strings.Compare(a.Tap, b.Tap) }

// everyTap is the gateway that every tap has without being told.
var everyTap = netip.MustParseAddr("fe80::1")

// route is a prefix in a VRF.
type route struct {
	vrf    string
	prefix netip.Prefix
}

// holder is who a route leads to, the first of them where it is anycast.
type holder struct {
	vm   string
	role events.Role
}

type builder struct {
	state      *State
	hypervisor string
	drained    bool
	host       Host
	taps       map[string]string // tap → guest that has it
	routes     map[route]holder
}

func newBuilder(s *State, hypervisor string) *builder {
	b := &builder{state: s, hypervisor: hypervisor, taps: map[string]string{}, routes: map[route]holder{}}
	if h := s.Hypervisor(hypervisor); h != nil {
		b.host.Fenced, b.drained = h.Fenced, h.Drained
	}
	return b
}

// effective is a guest as it is, or will be once it is said that it has arrived if it
// has. On a fenced hypervisor none may.
func (b *builder) effective(g *Guest, arrived func(vm string) bool) *Guest {
	if arrived != nil && !b.host.Fenced && g.Duty(b.hypervisor) == DutyPrepare && arrived(g.VM) {
		return g.moved(g.Next, math.MaxUint64) // newer than all that is said
	}
	return g
}

// serves tells whether a guest has taps here by a duty.
func (b *builder) serves(g *Guest, duty Duty) bool {
	return g.Duty(b.hypervisor) == duty && (duty == DutyHome || !b.host.Fenced)
}

// departed tells whether a guest was here before. One that is about to come back is
// away until then.
func (b *builder) departed(g *Guest) bool {
	return g.Previous != nil && g.Previous.Hypervisor == b.hypervisor && g.Hypervisor != b.hypervisor
}

// depart lists what has left with a guest that was here before, unless another
// guest has it here.
func (b *builder) depart(g *Guest) {
	if !b.departed(g) {
		return
	}
	for _, a := range g.Addresses {
		key := route{g.Interfaces[a.Interface].VRF, a.Prefix}
		if _, here := b.routes[key]; here {
			continue
		}
		b.host.Departures = append(b.host.Departures, Departure{VM: g.VM, VRF: key.vrf, Prefix: a.Prefix,
			To: g.Hypervisor, Epoch: g.Epoch, Preference: bgp.Preference(g.MovesOf(a), true)})
	}
}

func (b *builder) guest(g *Guest) {
	taps := g.taps()
	home := g.Duty(b.hypervisor) == DutyHome
	if !home {
		taps = g.Next.Taps
	}
	for i, f := range g.Interfaces {
		p, ok := b.port(g, taps[i], f)
		if !ok {
			continue
		}
		for _, a := range g.Addresses {
			if a.Interface == i {
				p.held = append(p.held, a)
				b.address(p, f, a, home)
			}
		}
		slices.SortFunc(p.held, func(a, b Address) int { return a.Prefix.Compare(b.Prefix) })
		slices.SortFunc(p.tap.Sources, netip.Prefix.Compare)
		slices.SortFunc(p.tap.Neighbours, func(a, b vrf.Neighbour) int { return a.Address.Compare(b.Address) })
		b.host.Taps = append(b.host.Taps, *p.tap)
		b.serve(p)
	}
}

// problem notes that something of a guest can't be served as the log wants it.
func (b *builder) problem(vm, tap, format string, args ...any) {
	b.host.Problems = append(b.host.Problems, Problem{VM: vm, Tap: tap, Reason: fmt.Sprintf(format, args...)})
}

// port makes the tap of an interface; a tap that another guest of this
// hypervisor has already stays with the guest that was homed first.
func (b *builder) port(g *Guest, name string, f Interface) (port, bool) {
	if other, taken := b.taps[name]; taken {
		b.problem(g.VM, name, "guest %q has this tap already", other)
		return port{}, false
	}
	network := b.state.Network(f.Network)
	if network == nil {
		b.problem(g.VM, name, "network %q is unknown", f.Network)
		return port{}, false
	}
	b.taps[name] = g.VM
	return port{guest: g, network: network, tap: &vrf.Tap{Name: name, VRF: network.VRF, MAC: f.MAC.Octets, Gateways: network.gateways()}}, true
}

// serve adds what the guest behind a tap is told, also while it is only
// expected: the first question of a guest that has moved must be answered.
func (b *builder) serve(p port) {
	if s, ok := p.dhcp(); ok {
		b.host.DHCP = append(b.host.DHCP, s)
		if len(s.Routes) > 0 && !s.Subnet.Contains(s.Gateway) && !s.Host() {
			b.problem(p.guest.VM, p.tap.Name, "DHCP tells the guest that it is in %s and that its gateway is %s, which Windows and others don't take: give network %q a gateway in %s, or the DHCP style host",
				s.Subnet, s.Gateway, p.network.Network, s.Subnet)
		}
	}
	if !p.network.has(isIPv6) {
		return
	}
	b.host.IPv6 = append(b.host.IPv6, p.ipv6())
	for _, a := range p.held {
		if n := a.Prefix.Bits(); isIPv6(a.Prefix.Addr()) && n > 64 && n < 128 && a.Role != events.RoleRouted {
			b.problem(p.guest.VM, p.tap.Name, "%s is neither one address nor a /64, so no guest can configure it by itself: release it and assign it with the role routed", a.Prefix)
		}
	}
}

// address serves one prefix of a guest. Several guests of one hypervisor that
// hold an anycast prefix share its announcement, and each has a route to it.
func (b *builder) address(p port, f Interface, a Address, home bool) {
	neighbour, r := lead(f.MAC, a.Prefix)
	p.tap.Sources = append(p.tap.Sources, a.Prefix)
	if !slices.Contains(p.tap.Neighbours, neighbour) {
		p.tap.Neighbours = append(p.tap.Neighbours, neighbour)
	}
	if !home {
		return
	}
	key, me := route{f.VRF, a.Prefix}, holder{p.guest.VM, a.Role}
	if other, taken := b.routes[key]; taken {
		if other.vm != me.vm && other.role == events.RoleAnycast && me.role == events.RoleAnycast {
			p.tap.Routes = append(p.tap.Routes, r)
		} else {
			b.problem(me.vm, p.tap.Name, "guest %q has %s already", other.vm, a.Prefix)
		}
		return
	}
	b.routes[key] = me
	p.tap.Routes = append(p.tap.Routes, r)
	if b.host.Fenced || f.VRF != p.tap.VRF { // nothing is announced that no route here leads to
		return
	}
	b.host.Announcements = append(b.host.Announcements, bgp.Announcement{VRF: f.VRF, Prefix: a.Prefix,
		Preference: bgp.Preference(p.guest.MovesOf(a), b.drained)})
}

// lead makes the route of a prefix and the permanent neighbour that it needs.
// A prefix of more than one address goes via the link-local address formed
// from the guest's MAC: with a permanent entry the guest need not even have
// that address, and a sweep through the prefix resolves nothing (RFC 6583).
func lead(mac events.MAC, p netip.Prefix) (vrf.Neighbour, vrf.Route) {
	if p.IsSingleIP() {
		return vrf.Neighbour{Address: p.Addr(), MAC: mac.Octets}, vrf.Route{Prefix: p}
	}
	via := mac.LinkLocal()
	return vrf.Neighbour{Address: via, MAC: mac.Octets}, vrf.Route{Prefix: p, Via: via}
}
