package vrf

import "net/netip"

// Actual is what the kernel of a hypervisor has, as far as Plan looks at it.
// It holds every link and address, since others' must be told from ours, but
// of routes only those of our protocol: no plan can touch what it can't see.
type Actual struct {
	Links      []Link
	Addresses  []Address
	Routes     []InstalledRoute // of our protocol and not learned, in the tables of the desired VRFs
	Rules      []Rule
	Neighbours []InstalledNeighbour // permanent ones
	Filter     InstalledFilter
	// Sysctls has the value of every desired sysctl that this kernel knows, by
	// its path below /proc/sys/net. What is missing here can't be set.
	Sysctls map[string]string
	// AddressProtocols tells that addresses carry their protocol (IFA_PROTO,
	// Linux 5.18), so that ours need not be recognised by their shape.
	AddressProtocols bool
}

// Link is a network interface.
type Link struct {
	Name    string
	Index   int
	Master  string // name of the device it is enslaved to, or empty
	MAC     [6]byte
	Group   uint32
	Up      bool // administratively
	Running bool // up and with carrier
	// Table is the routing table of a VRF device, 0 on any other link.
	Table uint32
}

// Address is an address of a link.
type Address struct {
	Link      string
	Prefix    netip.Prefix
	ScopeLink bool
	Protocol  uint8 // 0 where the kernel keeps none
	// Failed: duplicate address detection failed, the address is not in use.
	Failed bool
	// Expires: somebody gave it a lifetime, after which the kernel deletes it.
	Expires bool
}

// Rule is a routing rule without selectors.
type Rule struct {
	IPv6     bool
	Priority uint32
	L3MDev   bool   // look up in the table of the packet's VRF device
	Table    uint32 // if not L3MDev
	Protocol uint8
}

// InstalledNeighbour is a permanent neighbour entry.
type InstalledNeighbour struct {
	Link    string
	Address netip.Addr
	MAC     [6]byte
}
