package lab

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/hostroute/hostroute/events"
)

// Network is a network of guests, as NetworkDefined events will describe it.
type Network struct {
	Name, VRF          string
	V4, V6             netip.Prefix
	Gateway4, Gateway6 netip.Addr
	// Allocation6 is the length of what one guest gets: 64 gives each guest a /64 of its own.
	Allocation6 int
	// DHCP and IPv6 are the disguises: classic and SLAAC where nothing is said.
	DHCP events.DHCPStyle
	IPv6 events.IPv6Style
	// DNS, Domain, MTU and Lease (seconds) are told to guests.
	DNS        []netip.Addr
	Domain     string
	MTU, Lease int
	// Routes are what guests reach through the gateway; none: everything.
	Routes []netip.Prefix
	// Routed6 is a further subnet for what is routed to a guest, a /64 a claim.
	Routed6 netip.Prefix
}

// defined is the event that makes the network.
func (n Network) defined() *events.NetworkDefined {
	d := &events.NetworkDefined{
		Network: n.Name, VRF: n.VRF, Domain: n.Domain, MTU: n.MTU, IPv6: events.IPv6{Style: n.IPv6},
		DHCP:    events.DHCP{Style: n.DHCP, Lease: n.Lease},
		Subnets: []events.Subnet{{Prefix: events.PrefixFrom(n.V4)}, {Prefix: events.PrefixFrom(n.V6), Allocation: n.Allocation6}},
	}
	if n.Gateway4.IsValid() {
		d.Gateways = []events.Addr{events.AddrFrom(n.Gateway4)}
	}
	if n.Routed6.IsValid() {
		d.Subnets = append(d.Subnets, events.Subnet{Prefix: events.PrefixFrom(n.Routed6), Allocation: 64})
	}
	for _, a := range n.DNS {
		d.DNS = append(d.DNS, events.AddrFrom(a))
	}
	for _, p := range n.Routes {
		d.Routes = append(d.Routes, events.PrefixFrom(p))
	}
	return d
}

// Define is the arguments of `hostroute` that make the network.
func (n Network) Define() []string {
	d := n.defined()
	args := []string{"network", "define", n.Name, "--vrf", n.VRF}
	for _, s := range d.Subnets {
		text := s.Prefix.String()
		if s.Allocation != 0 {
			text += fmt.Sprintf(",allocation=%d", s.Allocation)
		}
		args = append(args, "--subnet", text)
	}
	for _, g := range d.Gateways {
		args = append(args, "--gateway", g.String())
	}
	for _, a := range n.DNS {
		args = append(args, "--dns", a.String())
	}
	for _, p := range n.Routes {
		args = append(args, "--route", p.String())
	}
	for _, f := range []struct{ flag, value string }{
		{"--domain", n.Domain}, {"--dhcp", string(n.DHCP)}, {"--ipv6", string(n.IPv6)},
	} {
		if f.value != "" {
			args = append(args, f.flag, f.value)
		}
	}
	if n.MTU != 0 {
		args = append(args, "--mtu", fmt.Sprint(n.MTU))
	}
	if n.Lease != 0 {
		args = append(args, "--lease", fmt.Sprintf("%ds", n.Lease))
	}
	return args
}

// addresses are those that a guest of the network has once it is configured, as it sees them.
func (n Network) addresses(i Interface) []netip.Prefix {
	v4 := netip.PrefixFrom(i.V4, n.V4.Bits())
	if n.DHCP == events.DHCPHost {
		v4 = netip.PrefixFrom(i.V4, 32)
	}
	v6 := netip.PrefixFrom(i.V6, 64) // as SLAAC forms it
	if n.IPv6 == events.IPv6DHCP || n.IPv6 == events.IPv6Shared {
		v6 = netip.PrefixFrom(i.V6, 128) // as DHCPv6 gives it
	}
	return []netip.Prefix{v4, v6}
}

// taught are the destinations of the routes that a guest learns, without what its mask tells already.
func (n Network) taught() []netip.Prefix {
	if len(n.Routes) == 0 {
		return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	}
	return slices.DeleteFunc(slices.Clone(n.Routes), func(p netip.Prefix) bool { return p == n.V4 })
}

// Gateway is the next hop of those routes.
func (n Network) Gateway(v6 bool) netip.Addr {
	switch {
	case v6:
		return n.Gateway6
	case n.Gateway4.IsValid():
		return n.Gateway4
	default:
		return defaultGateway4
	}
}

// defaultGateway4 is on every tap of a network that names no gateway.
var defaultGateway4 = netip.MustParseAddr("169.254.0.1")
