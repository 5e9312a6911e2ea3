package projector

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/vrf"
)

// anyGateway is the IPv4 gateway of taps whose network names none: the tap
// answers from it, so that nothing of the host's own shows (the kernel would
// ask guests in the name of the uplink's address).
var anyGateway = netip.MustParseAddr("169.254.0.1")

// defaultLease is the lease of a network that says nothing, in seconds.
const defaultLease = 3600

// Default routes, which stand for everything.
var (
	everything4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	everything6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

func isIPv4(a netip.Addr) bool { return a.Is4() }
func isIPv6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() }

// has tells whether the network has a subnet of a family.
func (n *Network) has(family func(netip.Addr) bool) bool {
	return slices.ContainsFunc(n.Subnets, func(s events.Subnet) bool { return family(s.Prefix.Addr()) })
}

// gateways lists the network's gateways as they are on its taps, fe80::1 apart,
// which is there anyway.
func (n *Network) gateways() (list []netip.Addr) {
	for _, g := range n.Gateways {
		if g.Addr != everyTap {
			list = append(list, g.Addr)
		}
	}
	if n.has(isIPv4) && !slices.ContainsFunc(list, isIPv4) {
		list = append(list, anyGateway)
	}
	return list
}

// told keeps the addresses of one family.
func told(list []events.Addr, family func(netip.Addr) bool) (kept []netip.Addr) {
	for _, a := range list {
		if family(a.Addr) {
			kept = append(kept, a.Addr)
		}
	}
	return kept
}

// reached keeps the network's routes of one family; a network that names none
// has the default route in both.
func (n *Network) reached(everything netip.Prefix, family func(netip.Addr) bool) (kept []netip.Prefix) {
	if len(n.Routes) == 0 {
		return []netip.Prefix{everything}
	}
	for _, r := range n.Routes {
		if family(r.Addr()) {
			kept = append(kept, r.Prefix)
		}
	}
	return kept
}

// lease is how long guests may use an address before they ask again.
func (n *Network) lease() time.Duration {
	if n.DHCP.Lease > 0 {
		return time.Duration(n.DHCP.Lease) * time.Second
	}
	return defaultLease * time.Second
}

// hostname is what the guest is told to be called: what the log says, or the
// guest's id as far as a host name can be made of it.
func (g *Guest) hostname() string {
	if g.Hostname != "" {
		return g.Hostname
	}
	return strings.Trim(strings.ReplaceAll(g.VM, "_", "-"), "-")
}

// port is an interface of a guest on its tap here.
type port struct {
	guest   *Guest
	network *Network
	tap     *vrf.Tap
	held    []Address // in the order of their prefixes
}

// primary4 is the address that DHCPv4 gives: the first primary one. Invalid:
// there is none.
func (p port) primary4() netip.Addr {
	for _, a := range p.held {
		if a.Role == events.RolePrimary && a.Prefix.Addr().Is4() && a.Prefix.IsSingleIP() {
			return a.Prefix.Addr()
		}
	}
	return netip.Addr{}
}

// dhcp is what the guest is told by DHCPv4, if it has an address to be told.
func (p port) dhcp() (s dhcp.Service, ok bool) {
	address, n := p.primary4(), p.network
	if !address.IsValid() {
		return s, false
	}
	host := netip.PrefixFrom(address, address.BitLen())
	s = dhcp.Service{
		Tap: p.tap.Name, VM: p.guest.VM, MAC: p.tap.MAC, Address: address, Subnet: host,
		Routes: n.reached(everything4, isIPv4), DNS: told(n.DNS, isIPv4), NTP: told(n.NTP, isIPv4),
		Domain: n.Domain, Search: slices.Clone(n.Search), Hostname: p.guest.hostname(), MTU: n.MTU,
		Lease: n.lease(), Options: n.options(),
	}
	if subnet, found := n.Subnet(host); found && n.DHCP.Style != events.DHCPHost {
		s.Subnet = subnet.Prefix.Prefix
	}
	s.Gateway = p.gateway4(s.Subnet)
	return s, true
}

// gateway4 chooses the IPv4 gateway that the guest is told: in the subnet that
// it believes to be in, or link-local where it believes in none.
func (p port) gateway4(subnet netip.Prefix) netip.Addr {
	var all []netip.Addr
	for _, g := range p.tap.Gateways {
		if g.Is4() {
			all = append(all, g)
		}
	}
	fits := subnet.Contains
	if subnet.IsSingleIP() {
		fits = netip.Addr.IsLinkLocalUnicast
	}
	if i := slices.IndexFunc(all, fits); i >= 0 {
		return all[i]
	}
	if len(all) > 0 {
		return all[0]
	}
	return anyGateway
}

// options decodes the further options, which were checked when published.
func (n *Network) options() (list []dhcp.Option) {
	for _, o := range n.DHCP.Options {
		v, err := hex.DecodeString(o.Hex)
		if err == nil && o.Code > 0 && o.Code < 255 {
			list = append(list, dhcp.Option{Code: uint8(o.Code), Value: v})
		}
	}
	return list
}
