package projector

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/ipv6"
)

// How long a guest may use what a prefix information option gives it. A day
// survives an agent that is away for hours; after four hours a guest stops to
// prefer a prefix that it no longer hears of. The defaults of RFC 4861, section
// 6.2.1, a month and a week, are for links whose prefixes stay.
const (
	prefixValid     = 24 * time.Hour
	prefixPreferred = 4 * time.Hour
)

// leastRouterLifetime is for how long a router is a default router where the
// network says nothing, unless three intervals are longer (RFC 4861, section
// 6.2.1).
const leastRouterLifetime = 1800 * time.Second

// ipv6 is what the guest is told in IPv6.
func (p port) ipv6() ipv6.Service {
	n := p.network
	s := ipv6.Service{
		Tap: p.tap.Name, VM: p.guest.VM, MAC: p.tap.MAC, Router: n.router(),
		Lease: ipv6.Lease{
			Preferred: n.lease(), Valid: 2 * n.lease(),
			DNS: told(n.DNS, isIPv6), Search: n.search6(), NTP: told(n.NTP, isIPv6),
		},
	}
	style := n.style6()
	s.Lease.Addresses = p.leased6()
	for _, a := range p.held {
		switch {
		case !isIPv6(a.Prefix.Addr()) || a.Prefix.IsSingleIP():
		case style.autonomous && a.Prefix.Bits() == 64 && a.Role != events.RoleRouted:
			s.Router.Prefixes = append(s.Router.Prefixes, n.option(a.Prefix, style.ownOnLink, true))
		case delegable(a.Role):
			s.Lease.Delegated = append(s.Lease.Delegated, a.Prefix)
		}
	}
	if shared := n.shared(style); len(shared) > 0 {
		for _, subnet := range shared {
			s.Router.Prefixes = append(s.Router.Prefixes, n.option(subnet, true, false))
		}
		s.Proxy = &ipv6.Proxy{Prefixes: shared, Own: p.own6(), Gateways: slices.DeleteFunc(slices.Clone(p.tap.Gateways), isIPv4)}
	}
	s.Router.Managed = style.managed || len(s.Lease.Addresses) > 0 && n.IPv6.Managed == nil
	return s
}

// router is what every guest of the network is told about its router.
func (n *Network) router() ipv6.Router {
	r := ipv6.Router{
		Other: n.IPv6.Other == nil || *n.IPv6.Other, Interval: time.Duration(n.IPv6.LongestInterval()) * time.Second,
		DNS: told(n.DNS, isIPv6), Search: n.search6(),
	}
	if n.IPv6.Preference != events.RAMedium {
		r.Preference = ipv6.Preference(n.IPv6.Preference)
	}
	if n.MTU >= 1280 { // the least of IPv6; guests ignore less
		r.MTU = n.MTU
	}
	for _, p := range n.reached(everything6, isIPv6) {
		if p != everything6 {
			r.Routes = append(r.Routes, p)
			continue
		}
		r.Lifetime = max(leastRouterLifetime, 3*r.Interval)
		if n.IPv6.Lifetime > 0 {
			r.Lifetime = time.Duration(n.IPv6.Lifetime) * time.Second
		}
	}
	return r
}

// search6 lists the domains to search in; IPv6 has no word for the guest's own
// domain, which is searched where nothing else is.
func (n *Network) search6() []string {
	if len(n.Search) == 0 && n.Domain != "" {
		return []string{n.Domain}
	}
	return slices.Clone(n.Search)
}

// style6 is the style of a network with what it says beyond it.
type style6 struct {
	autonomous bool // a /64 of a guest is for SLAAC, or else delegated
	ownOnLink  bool // such a /64 is on-link, too
	onLink     bool // the subnets for single addresses are on-link
	managed    bool
}

func (n *Network) style6() style6 {
	style := cmp.Or(n.IPv6.Style, events.IPv6SLAAC)
	flag := func(given *bool, implied bool) bool {
		if given != nil {
			return *given
		}
		return implied
	}
	return style6{
		autonomous: flag(n.IPv6.Autonomous, style == events.IPv6SLAAC),
		ownOnLink:  flag(n.IPv6.OnLink, false),
		onLink:     flag(n.IPv6.OnLink, style == events.IPv6Shared),
		managed:    flag(n.IPv6.Managed, style != events.IPv6SLAAC),
	}
}

// shared lists the subnets that a guest believes to share a link with.
func (n *Network) shared(style style6) (list []netip.Prefix) {
	for _, s := range n.Subnets {
		if style.onLink && isIPv6(s.Prefix.Addr()) && s.Length() == 128 {
			list = append(list, s.Prefix.Prefix)
		}
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return list
}

func (n *Network) option(p netip.Prefix, onLink, autonomous bool) ipv6.OnLink {
	return ipv6.OnLink{Prefix: p, OnLink: onLink, Autonomous: autonomous, Valid: prefixValid, Preferred: prefixPreferred}
}

// leased6 lists what IA_NA gives: primary addresses first. Elastic and anycast
// ones come and go without the guest's asking, and so it configures them itself.
func (p port) leased6() (list []netip.Addr) {
	for _, role := range []events.Role{events.RolePrimary, events.RoleSecondary} {
		for _, a := range p.held {
			if a.Role == role && isIPv6(a.Prefix.Addr()) && a.Prefix.IsSingleIP() {
				list = append(list, a.Prefix.Addr())
			}
		}
	}
	return list
}

// delegable tells the roles of what is the guest's for long.
func delegable(r events.Role) bool { return r != events.RoleElastic && r != events.RoleAnycast }

// own6 lists all that the guest holds in IPv6.
func (p port) own6() (list []netip.Prefix) {
	for _, a := range p.held {
		if isIPv6(a.Prefix.Addr()) {
			list = append(list, a.Prefix)
		}
	}
	return list
}
