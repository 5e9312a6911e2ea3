package dhcp

import (
	"net/netip"
	"time"
)

// Service is what the guest behind one tap is told by DHCPv4. The tap tells who
// the guest is, whatever it claims to be.
type Service struct {
	Tap string  `json:"tap"`
	VM  string  `json:"vm"`
	MAC [6]byte `json:"mac"` // the guest's hardware address, as the log has it
	// Address is the one address that the guest is ever given.
	Address netip.Addr `json:"address"`
	// Subnet is what the guest believes to be on-link: the network's subnet in
	// the classic style, the address alone (a /32) in the host style.
	Subnet netip.Prefix `json:"subnet"`
	// Gateway is the next hop of the guest's routes and the server's identifier
	// (option 54). It is an address of the tap.
	Gateway netip.Addr `json:"gateway"`
	// Routes are what the guest reaches through its gateway; 0.0.0.0/0 among
	// them is the default route. Empty: nothing beyond its subnet.
	Routes   []netip.Prefix `json:"routes,omitempty"`
	DNS      []netip.Addr   `json:"dns,omitempty"`
	NTP      []netip.Addr   `json:"ntp,omitempty"`
	Domain   string         `json:"domain,omitempty"`
	Search   []string       `json:"search,omitempty"`
	Hostname string         `json:"hostname,omitempty"`
	MTU      int            `json:"mtu,omitempty"` // bytes; 0: not told
	Lease    time.Duration  `json:"lease"`
	// Options are further ones; one that the server makes itself is replaced,
	// except those that the protocol lives from (50 to 55, 57 to 59, 61, 80, 82).
	Options []Option `json:"options,omitempty"`
}

// Option is a DHCPv4 option (RFC 2132).
type Option struct {
	Code  uint8  `json:"code"`
	Value []byte `json:"value"`
}

// Host tells the host style from the classic one.
func (s Service) Host() bool { return s.Subnet.IsSingleIP() }
