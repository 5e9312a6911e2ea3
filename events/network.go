package events

import (
	"encoding/hex"
	"fmt"
	"strconv"
)

// Bounds of what guests are told, so that a message of DHCP or a router
// advertisement can always be made of it.
const (
	maxSearchBytes = 1000
	maxOptionBytes = 1000
)

func (d *NetworkDefined) check() *Error {
	if err := first(
		checkName("network", d.Network),
		checkName("vrf", d.VRF),
		d.checkSubnets(),
		d.checkGateways(),
		checkAddrs("dns", d.DNS),
		checkAddrs("ntp", d.NTP),
		checkDomain("domain", d.Domain),
		d.checkSearch(),
		checkRange("mtu", d.MTU, 576, 65535),
		d.DHCP.check(),
		d.IPv6.check(),
		d.checkRoutes(),
	); err != nil {
		return err
	}
	return d.checkStyle()
}

// checkSearch also keeps the list short enough for one router advertisement on
// a link of 1280 bytes, and for the DHCP answer of a client that takes little.
func (d *NetworkDefined) checkSearch() *Error {
	if n := len(d.Search); n > maxSearch {
		return invalid("search", strconv.Itoa(n), "too many; at most %d", maxSearch)
	}
	size := 0
	for i, s := range d.Search {
		field := fmt.Sprintf("search[%d]", i)
		if s == "" {
			return invalid(field, "", "missing")
		}
		if err := checkDomain(field, s); err != nil {
			return err
		}
		size += len(s) + 2 // the lengths of its labels, and the root
	}
	if size > maxSearchBytes {
		return invalid("search", strconv.Itoa(size), "bytes altogether; at most %d fit into one message to a guest", maxSearchBytes)
	}
	return nil
}

// checkRoutes allows what Prefix.check doesn't, the default route.
func (d *NetworkDefined) checkRoutes() *Error {
	if n := len(d.Routes); n > maxRoutes {
		return invalid("routes", strconv.Itoa(n), "too many; at most %d", maxRoutes)
	}
	for i, r := range d.Routes {
		field := fmt.Sprintf("routes[%d]", i)
		if everything := r.IsValid() && r.Bits() == 0 && r.Addr().IsUnspecified() && !r.Addr().Is4In6(); !everything {
			if err := r.check(field); err != nil {
				return err
			}
		}
		for _, other := range d.Routes[:i] {
			if other.Prefix == r.Prefix {
				return invalid(field, r.String(), "given twice")
			}
		}
	}
	return nil
}

// checkStyle refuses a style of IPv6 by which no guest of the network could be
// given anything. Subnets of several kinds, one of them for routed prefixes, go
// together; what the style left out stands for is never refused.
func (d *NetworkDefined) checkStyle() *Error {
	subnets, hosts, whole := 0, 0, 0
	for _, s := range d.Subnets {
		if s.Prefix.Addr().Is4() {
			continue
		}
		subnets++
		switch s.Length() {
		case 128:
			hosts++
		case 64:
			whole++
		}
	}
	switch {
	case subnets == 0: // they may be added later
	case d.IPv6.Style == IPv6SLAAC && hosts == subnets:
		return invalid("ipv6.style", string(d.IPv6.Style), "gives every guest a /64, and all IPv6 subnets are for single addresses; add one with allocation 64, or choose shared or dhcp")
	case d.IPv6.Style == IPv6Shared && hosts == 0:
		return invalid("ipv6.style", string(d.IPv6.Style), "gives every guest an address of a subnet that all share, and no IPv6 subnet is for single addresses; add one without allocation, or choose slaac or dhcp")
	case d.IPv6.Autonomous != nil && *d.IPv6.Autonomous && whole == 0:
		return invalid("ipv6.autonomous", "true", "guests form addresses in a /64 of their own only, and no IPv6 subnet has allocation 64")
	}
	return nil
}

func (r IPv6) check() *Error {
	if err := first(
		checkOneOf("ipv6.style", r.Style, IPv6SLAAC, IPv6Shared, IPv6DHCP),
		checkOneOf("ipv6.preference", r.Preference, RALow, RAMedium, RAHigh),
		checkRange("ipv6.lifetime", r.Lifetime, 1, 65535),
		checkRange("ipv6.interval", r.Interval, 4, 1800),
	); err != nil {
		return err
	}
	if longest := r.LongestInterval(); r.Lifetime != 0 && r.Lifetime < longest {
		return invalid("ipv6.lifetime", strconv.Itoa(r.Lifetime),
			"shorter than the interval between two advertisements, %d; guests would lose the router in between", longest)
	}
	return nil
}

func (d *NetworkDefined) checkSubnets() *Error {
	if n := len(d.Subnets); n == 0 || n > MaxSubnets {
		return invalid("subnets", strconv.Itoa(n), "a network has 1 to %d subnets", MaxSubnets)
	}
	for i, s := range d.Subnets {
		field := fmt.Sprintf("subnets[%d].prefix", i)
		if err := s.Prefix.check(field); err != nil {
			return err
		}
		if a := s.Length(); a < s.Prefix.Bits() || a > s.Prefix.Addr().BitLen() {
			return invalid(fmt.Sprintf("subnets[%d].allocation", i), strconv.Itoa(a),
				"must be %d to %d in %s", s.Prefix.Bits(), s.Prefix.Addr().BitLen(), s.Prefix)
		}
		for _, other := range d.Subnets[:i] {
			if other.Prefix.Overlaps(s.Prefix.Prefix) {
				return invalid(field, s.Prefix.String(), "overlaps %s of the same network", other.Prefix)
			}
		}
	}
	return nil
}

// checkGateways wants each gateway inside a subnet, or link-local, as in the
// host style of DHCP and in router advertisements.
func (d *NetworkDefined) checkGateways() *Error {
	if err := checkAddrs("gateways", d.Gateways); err != nil {
		return err
	}
	for i, g := range d.Gateways {
		inside := g.IsLinkLocalUnicast()
		for _, s := range d.Subnets {
			inside = inside || s.Prefix.Contains(g.Addr)
		}
		if !inside {
			return invalid(fmt.Sprintf("gateways[%d]", i), g.String(), "in no subnet of the network and not link-local")
		}
	}
	return nil
}

func (d DHCP) check() *Error {
	if err := first(
		checkOneOf("dhcp.style", d.Style, DHCPClassic, DHCPHost),
		checkRange("dhcp.lease", d.Lease, 60, 30*86400),
	); err != nil {
		return err
	}
	seen, size := map[int]bool{}, 0
	for i, o := range d.Options {
		field := fmt.Sprintf("dhcp.options[%d]", i)
		switch {
		case o.Code < 1 || o.Code > 254:
			return invalid(field+".code", strconv.Itoa(o.Code), "must be 1 to 254")
		case vital(o.Code):
			return invalid(field+".code", strconv.Itoa(o.Code), "the protocol itself lives from it; 50 to 55, 57 to 59, 61, 80 and 82 can't be given")
		case seen[o.Code]:
			return invalid(field+".code", strconv.Itoa(o.Code), "given twice")
		}
		seen[o.Code] = true
		v, err := hex.DecodeString(o.Hex)
		if err != nil || len(v) == 0 || len(v) > 255 {
			return invalid(field+".hex", o.Hex, "must be 1 to 255 bytes in hexadecimal")
		}
		size += len(v) + 2
	}
	if size > maxOptionBytes {
		return invalid("dhcp.options", strconv.Itoa(size), "bytes altogether; at most %d fit into one message to a guest", maxOptionBytes)
	}
	return nil
}

// vital tells the options by which client and server understand each other
// (RFC 2132, section 9, RFC 4039, RFC 3046): requested address, lease,
// overload, type, server, parameter list, size, T1, T2, client, rapid commit and
// relay. A network that gave one would break DHCP for its guests.
func vital(code int) bool {
	return code >= 50 && code <= 55 || code >= 57 && code <= 59 || code == 61 || code == 80 || code == 82
}
