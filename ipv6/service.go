package ipv6

import (
	"net/netip"
	"time"
)

// Service is what the guest behind one tap is told in IPv6. The tap tells who
// the guest is, whatever it claims to be.
type Service struct {
	Tap    string  `json:"tap"`
	VM     string  `json:"vm"`
	MAC    [6]byte `json:"mac"` // the guest's hardware address, as the log has it
	Router Router  `json:"router"`
	Lease  Lease   `json:"lease"`
	// Proxy is set where the guest believes a prefix to be on-link that it
	// shares with others.
	Proxy *Proxy `json:"proxy,omitempty"`
}

// Router is the content of router advertisements (RFC 4861, section 4.2). They
// come from fe80::1.
type Router struct {
	Managed    bool       `json:"managed,omitempty"` // M: addresses by DHCPv6
	Other      bool       `json:"other,omitempty"`   // O: other configuration by DHCPv6
	Preference Preference `json:"preference,omitempty"`
	// Lifetime is how long the router is a default router; 0: it is none.
	Lifetime time.Duration `json:"lifetime"`
	// Interval is the longest time between two unsolicited advertisements
	// (MaxRtrAdvInterval of RFC 4861, section 6.2.1: 4 s to 30 min).
	Interval time.Duration  `json:"interval"`
	MTU      int            `json:"mtu,omitempty"` // bytes; 0: not told
	Prefixes []OnLink       `json:"prefixes,omitempty"`
	Routes   []netip.Prefix `json:"routes,omitempty"` // more specific ones (RFC 4191)
	DNS      []netip.Addr   `json:"dns,omitempty"`    // RDNSS (RFC 8106)
	Search   []string       `json:"search,omitempty"` // DNSSL
}

// Preference is that of a default router (RFC 4191, section 2.1).
type Preference string

// The preferences; no text is medium.
const (
	PreferenceLow    Preference = "low"
	PreferenceMedium Preference = "medium"
	PreferenceHigh   Preference = "high"
)

// OnLink is a prefix information option (RFC 4861, section 4.6.2).
type OnLink struct {
	Prefix     netip.Prefix  `json:"prefix"`
	OnLink     bool          `json:"on_link,omitempty"`    // L
	Autonomous bool          `json:"autonomous,omitempty"` // A: addresses by SLAAC (RFC 4862)
	Valid      time.Duration `json:"valid"`
	Preferred  time.Duration `json:"preferred"`
}

// Lease is what DHCPv6 gives (RFC 8415).
type Lease struct {
	Addresses []netip.Addr   `json:"addresses,omitempty"` // by IA_NA
	Delegated []netip.Prefix `json:"delegated,omitempty"` // by IA_PD
	Valid     time.Duration  `json:"valid"`
	Preferred time.Duration  `json:"preferred"`
	DNS       []netip.Addr   `json:"dns,omitempty"`
	Search    []string       `json:"search,omitempty"`
	NTP       []netip.Addr   `json:"ntp,omitempty"`
}

// Proxy is what the ND proxy of a tap answers for.
type Proxy struct {
	// Prefixes are shared: the guest asks on the link for the others in them.
	Prefixes []netip.Prefix `json:"prefixes"`
	// Own are the guest's own and Gateways those of the tap, for which the
	// kernel answers; for neither does the proxy.
	Own      []netip.Prefix `json:"own"`
	Gateways []netip.Addr   `json:"gateways"`
}
