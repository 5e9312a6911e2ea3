package events

// Data is what an event of one type says. Its Go type is known by [Type]; its
// JSON is the contract.
type Data interface {
	// Type is the name under which events with this data are stored.
	Type() Type
	check() *Error
}

// DHCPStyle is how DHCPv4 disguises the host route toward a network's guests.
type DHCPStyle string

// The two styles of DHCPv4.
const (
	DHCPClassic DHCPStyle = "classic" // the subnet's mask and gateway, as Windows insists
	DHCPHost    DHCPStyle = "host"    // a /32 and classless routes (RFC 3442)
)

// IPv6Style is how a network's guests come to their IPv6 addresses.
type IPv6Style string

// The three styles of IPv6.
const (
	IPv6SLAAC  IPv6Style = "slaac"  // a /64 of its own for every guest
	IPv6Shared IPv6Style = "shared" // one classic /64 with ND proxy
	IPv6DHCP   IPv6Style = "dhcp"   // a /128 by DHCPv6
)

// Role says what a prefix is to its guest.
type Role string

// The roles of a prefix.
const (
	RolePrimary   Role = "primary"   // the address the guest is configured with
	RoleSecondary Role = "secondary" // a further one
	RoleElastic   Role = "elastic"   // may be moved between guests
	RoleAnycast   Role = "anycast"   // may be held by several guests at once
	RoleRouted    Role = "routed"    // a block behind the guest
)

// Subnet is one prefix of a network.
type Subnet struct {
	Prefix Prefix `json:"prefix"`
	// Allocation is the length of every claim in the subnet, in bits: 32 or
	// 128 for single addresses, 64 for a /64 a guest, 28 for routed blocks.
	// Zero stands for single addresses.
	Allocation int `json:"allocation,omitempty"`
}

// Length is the allocation length with the default resolved, in bits.
func (s Subnet) Length() int {
	if s.Allocation == 0 {
		return s.Prefix.Addr().BitLen()
	}
	return s.Allocation
}

// DHCP is what DHCPv4 tells the guests of a network.
type DHCP struct {
	Style   DHCPStyle    `json:"style,omitempty"` // classic by default
	Lease   int          `json:"lease,omitempty"` // seconds, 60 to 2592000
	Options []DHCPOption `json:"options,omitempty"`
}

// DHCPOption is a further DHCPv4 option, its value in hexadecimal.
type DHCPOption struct {
	Code int    `json:"code"`
	Hex  string `json:"hex"`
}

// NetworkDefined makes a network or changes its settings. Subnets of a network
// that exists may be added, not dropped or altered, and its VRF is for good.
//
// This is version 2. In version 1 the style of IPv6 was a text under "ipv6", and
// the rest of [IPv6] an object under "ra".
type NetworkDefined struct {
	Network  string   `json:"network"`
	VRF      string   `json:"vrf"`
	Subnets  []Subnet `json:"subnets"`
	Gateways []Addr   `json:"gateways,omitempty"`
	DNS      []Addr   `json:"dns,omitempty"`
	NTP      []Addr   `json:"ntp,omitempty"`
	Domain   string   `json:"domain,omitempty"`
	Search   []string `json:"search,omitempty"`
	MTU      int      `json:"mtu,omitempty"` // bytes; 0: say nothing to guests
	DHCP     DHCP     `json:"dhcp,omitzero"`
	IPv6     IPv6     `json:"ipv6,omitzero"`
	// Routes are what guests reach through the gateway. None: everything, by a
	// default route in both families. For a further network of guests that have
	// their default route elsewhere.
	Routes []Prefix `json:"routes,omitempty"`
}

// IPv6 is how a network's guests come to their IPv6 addresses, and what router
// advertisements say beyond what follows from that style; what isn't given
// follows from it.
type IPv6 struct {
	Style      IPv6Style    `json:"style,omitempty"`      // slaac by default
	Preference RAPreference `json:"preference,omitempty"` // medium by default
	Lifetime   int          `json:"lifetime,omitempty"`   // seconds as default router, 1 to 65535; 1800 by default, or three intervals
	Interval   int          `json:"interval,omitempty"`   // seconds, longest between two unsolicited ones, 4 to 1800; 600 by default
	// OnLink has guests ask for each other on the link: in the style shared by
	// default. It concerns the subnets for single addresses, and what a guest
	// has of its own.
	OnLink *bool `json:"on_link,omitempty"`
	// Autonomous has guests form addresses in a /64 of their own: in the style
	// slaac by default. Without it, such a /64 is delegated (RFC 8415).
	Autonomous *bool `json:"autonomous,omitempty"`
	// Managed has guests ask DHCPv6 for addresses: in the styles shared and
	// dhcp by default, and in slaac those that hold a single address.
	Managed *bool `json:"managed,omitempty"`
	Other   *bool `json:"other,omitempty"` // other configuration by DHCPv6: yes by default
}

// DefaultInterval is the longest time between two unsolicited router
// advertisements, in seconds, where a network says nothing (RFC 4861, section
// 6.2.1).
const DefaultInterval = 600

// LongestInterval is Interval with the default resolved, in seconds.
func (r IPv6) LongestInterval() int {
	if r.Interval == 0 {
		return DefaultInterval
	}
	return r.Interval
}

// RAPreference ranks a default router among others (RFC 4191).
type RAPreference string

// The preferences of a default router.
const (
	RALow    RAPreference = "low"
	RAMedium RAPreference = "medium"
	RAHigh   RAPreference = "high"
)

// NetworkRemoved ends a network that no guest uses.
type NetworkRemoved struct {
	Network string `json:"network"`
}

// HypervisorRegistered makes a hypervisor known, so that guests may live there.
type HypervisorRegistered struct {
	Hypervisor string `json:"hypervisor"`
}

// HypervisorDrained makes a hypervisor less preferred than others.
type HypervisorDrained struct {
	Hypervisor string `json:"hypervisor"`
	Reason     string `json:"reason,omitempty"`
}

// HypervisorUndrained takes a drain back.
type HypervisorUndrained struct {
	Hypervisor string `json:"hypervisor"`
}

// HypervisorFenced says that a hypervisor is known not to run guests any more:
// they may be homed elsewhere, and it announces nothing.
type HypervisorFenced struct {
	Hypervisor string `json:"hypervisor"`
	Reason     string `json:"reason,omitempty"`
}

// HypervisorUnfenced takes a fence back.
type HypervisorUnfenced struct {
	Hypervisor string `json:"hypervisor"`
}

// Interface is a guest's port: its tap on the hypervisor, its hardware address
// and the network it is in.
type Interface struct {
	Tap     string `json:"tap"`
	MAC     MAC    `json:"mac"`
	Network string `json:"network"`
}

// VMCreated makes a guest and gives it its first home.
type VMCreated struct {
	VM         string      `json:"vm"`
	Hypervisor string      `json:"hypervisor"`
	Interfaces []Interface `json:"interfaces"`
	Hostname   string      `json:"hostname,omitempty"` // told by DHCP; the guest's id by default
}

// VMDeleted ends a guest and releases every prefix that it holds.
type VMDeleted struct {
	VM string `json:"vm"`
}

// VMMigrationStarted has a hypervisor prepare for a guest that will come.
type VMMigrationStarted struct {
	VM   string   `json:"vm"`
	To   string   `json:"to"`
	Taps []string `json:"taps,omitempty"` // on the destination, in the order of the interfaces; none: the same names
}

// VMMigrated moves a guest's home.
type VMMigrated struct {
	VM   string   `json:"vm"`
	To   string   `json:"to"`
	Taps []string `json:"taps,omitempty"` // as in VMMigrationStarted
}

// VMMigrationAborted undoes a preparation.
type VMMigrationAborted struct {
	VM string `json:"vm"`
}

// IPAssigned gives a prefix to a guest.
type IPAssigned struct {
	Prefix Prefix `json:"prefix"`
	VM     string `json:"vm"`
	// Interface is the tap of the interface on the guest's home. It may be
	// left out where one interface only is in a network that has the prefix.
	Interface string `json:"interface,omitempty"`
	Role      Role   `json:"role,omitempty"` // primary by default
	VRF       string `json:"vrf,omitempty"`  // follows from the interface; filled in by the log service
}

// IPMoved takes a prefix from the guest that holds it and gives it to another.
type IPMoved struct {
	Prefix    Prefix `json:"prefix"`
	To        string `json:"to"`
	Interface string `json:"interface,omitempty"` // as in IPAssigned, of the guest To
	VRF       string `json:"vrf,omitempty"`       // as in IPAssigned
}

// IPReleased takes a prefix from a guest.
type IPReleased struct {
	Prefix Prefix `json:"prefix"`
	VM     string `json:"vm,omitempty"`  // needed where several guests hold it
	VRF    string `json:"vrf,omitempty"` // needed where several VRFs have it
}
