package vrf

import (
	"fmt"
	"net/netip"
	"slices"
)

// Op is one operation of a plan. All are idempotent: adding what is there and
// removing what is gone succeed, since a plan may be older than the kernel.
type Op interface {
	fmt.Stringer
	// subject is the link, VRF or rule list that the operation is about.
	subject() string
	// needs names the subjects that must not have failed before.
	needs() []string
	// blocks tells that what comes later for the subject must not be done if
	// this fails: an order that protects somebody would be broken.
	blocks() bool
}

type (
	// CreateVRF makes a VRF device.
	CreateVRF struct {
		Name  string
		Table uint32
	}
	// SetUp brings a link up.
	SetUp struct{ Link string }
	// SetDown takes a link down, which drops its routes and neighbours.
	SetDown struct{ Link string }
	// SetMaster enslaves a link to a VRF, or releases it if Master is empty.
	// The kernel bounces the link: addresses, routes and next hops may be gone.
	SetMaster struct{ Link, Master string }
	// SetMAC sets a link's hardware address.
	SetMAC struct {
		Link string
		MAC  [6]byte
	}
	// SetGroup sets a link's group.
	SetGroup struct {
		Link  string
		Group uint32
	}
	// SetSysctl writes a sysctl, named by its path below /proc/sys/net.
	SetSysctl struct{ Link, Name, Value string }
	// AddRule adds a routing rule.
	AddRule struct{ Rule Rule }
	// DeleteRule removes a routing rule.
	DeleteRule struct{ Rule Rule }
	// AddAddress adds an address with our protocol. IPv6 addresses skip
	// duplicate address detection.
	AddAddress struct {
		Link      string
		Prefix    netip.Prefix
		ScopeLink bool
	}
	// DeleteAddress removes an address. With the last IPv4 address of a link
	// the kernel also drops all IPv4 routes and neighbours on that link.
	DeleteAddress struct {
		Link   string
		Prefix netip.Prefix
	}
	// AddRoute adds a route of our protocol. Unless Replace is set, a route
	// with the same prefix and metric is somebody else's and an error.
	AddRoute struct {
		Route   InstalledRoute
		VRF     string
		Replace bool
	}
	// DeleteRoute removes a route of our protocol, and no other.
	DeleteRoute struct{ Route InstalledRoute }
	// SetNeighbour writes a permanent neighbour entry.
	SetNeighbour struct{ Neighbour InstalledNeighbour }
	// DeleteNeighbour removes a neighbour entry.
	DeleteNeighbour struct {
		Link    string
		Address netip.Addr
	}
)

func (o CreateVRF) subject() string       { return o.Name }
func (o SetUp) subject() string           { return o.Link }
func (o SetDown) subject() string         { return o.Link }
func (o SetMaster) subject() string       { return o.Link }
func (o SetMAC) subject() string          { return o.Link }
func (o SetGroup) subject() string        { return o.Link }
func (o SetSysctl) subject() string       { return o.Link }
func (o AddRule) subject() string         { return ruleList(o.Rule) }
func (o DeleteRule) subject() string      { return ruleList(o.Rule) }
func (o AddAddress) subject() string      { return o.Link }
func (o DeleteAddress) subject() string   { return o.Link }
func (o DeleteRoute) subject() string     { return o.Route.Link }
func (o SetNeighbour) subject() string    { return o.Neighbour.Link }
func (o DeleteNeighbour) subject() string { return o.Link }

// The last resort of a table is a matter of the VRF: without it a guest's
// packet could fall through to the main table. A route over several taps is no
// matter of one of them: see without.
func (o AddRoute) subject() string {
	if o.Route.Unreachable || o.Route.Blackhole {
		return o.VRF
	}
	return o.Route.Link
}

// without is the operation without the taps of which something failed, so that
// one guest's trouble doesn't take the route from the others. ok is false if
// none is left.
func (o AddRoute) without(failed map[string]bool) (rest Op, ok bool) {
	hops := slices.DeleteFunc(slices.Clone(o.Route.Hops), func(h RouteHop) bool { return failed[h.Link] })
	if len(hops) < len(o.Route.Hops) {
		o.Route.SetHops(hops)
		return o, len(hops) > 0
	}
	return o, true
}

func (o CreateVRF) needs() []string       { return nil }
func (o SetUp) needs() []string           { return nil }
func (o SetDown) needs() []string         { return nil }
func (o SetMAC) needs() []string          { return nil }
func (o SetGroup) needs() []string        { return nil }
func (o AddRule) needs() []string         { return nil }
func (o DeleteRule) needs() []string      { return nil }
func (o AddAddress) needs() []string      { return nil }
func (o DeleteAddress) needs() []string   { return nil }
func (o AddRoute) needs() []string        { return []string{o.VRF} }
func (o DeleteRoute) needs() []string     { return nil }
func (o SetNeighbour) needs() []string    { return nil }
func (o DeleteNeighbour) needs() []string { return nil }

// Forwarding is not switched on while a guest's packets could pass unfiltered.
func (o SetSysctl) needs() []string {
	if o.Name == "ipv4/ip_forward" || o.Name == "ipv6/conf/all/forwarding" {
		return []string{filterSubject}
	}
	return nil
}

func (o SetMaster) needs() []string {
	if o.Master == "" {
		return nil
	}
	return []string{o.Master, ruleList(Rule{}), ruleList(Rule{IPv6: true})}
}

func (o CreateVRF) blocks() bool       { return true }
func (o SetUp) blocks() bool           { return true }
func (o SetDown) blocks() bool         { return true } // a tap that stays up must stay in its VRF
func (o SetMaster) blocks() bool       { return true }
func (o SetMAC) blocks() bool          { return false }
func (o SetGroup) blocks() bool        { return true } // the filter matches the group
func (o SetSysctl) blocks() bool       { return o.Link != "" }
func (o AddRule) blocks() bool         { return true }
func (o DeleteRule) blocks() bool      { return true }
func (o AddAddress) blocks() bool      { return false }
func (o DeleteAddress) blocks() bool   { return false }
func (o AddRoute) blocks() bool        { return o.Route.Unreachable }
func (o DeleteRoute) blocks() bool     { return false }
func (o SetNeighbour) blocks() bool    { return false }
func (o DeleteNeighbour) blocks() bool { return false }

func (o CreateVRF) String() string {
	return fmt.Sprintf("creating VRF %s with table %d", o.Name, o.Table)
}
func (o SetUp) String() string   { return "bringing up " + o.Link }
func (o SetDown) String() string { return "taking down " + o.Link }
func (o SetMaster) String() string {
	if o.Master == "" {
		return "releasing " + o.Link + " from its VRF"
	}
	return "enslaving " + o.Link + " to " + o.Master
}
func (o SetMAC) String() string {
	return fmt.Sprintf("setting the MAC of %s to %s", o.Link, mac(o.MAC))
}
func (o SetGroup) String() string {
	return fmt.Sprintf("putting %s into link group %d", o.Link, o.Group)
}
func (o SetSysctl) String() string  { return "setting net/" + o.Name + " to " + o.Value }
func (o AddRule) String() string    { return "adding rule " + o.Rule.String() }
func (o DeleteRule) String() string { return "deleting rule " + o.Rule.String() }
func (o AddAddress) String() string { return "adding address " + o.Prefix.String() + " to " + o.Link }
func (o DeleteAddress) String() string {
	return "deleting address " + o.Prefix.String() + " from " + o.Link
}
func (o AddRoute) String() string    { return "adding route " + o.Route.String() }
func (o DeleteRoute) String() string { return "deleting route " + o.Route.String() }
func (o SetNeighbour) String() string {
	n := o.Neighbour
	return fmt.Sprintf("setting neighbour %s to %s on %s", n.Address, mac(n.MAC), n.Link)
}
func (o DeleteNeighbour) String() string {
	return "deleting neighbour " + o.Address.String() + " from " + o.Link
}

// String is the rule as ip(8) would write it.
func (r Rule) String() string {
	family := "IPv4"
	if r.IPv6 {
		family = "IPv6"
	}
	if r.L3MDev {
		return fmt.Sprintf("%s %d: l3mdev", family, r.Priority)
	}
	return fmt.Sprintf("%s %d: table %d", family, r.Priority, r.Table)
}

func ruleList(r Rule) string {
	if r.IPv6 {
		return "rules/ipv6"
	}
	return "rules/ipv4"
}

func mac(m [6]byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}
