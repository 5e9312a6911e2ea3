package vrf

import "net/netip"

// Protocol is the route protocol (rtm_protocol) that marks every route, rule
// and next hop of ours. What carries another protocol is never changed.
const Protocol = 201

// Metrics of the routes of a VRF table. A guest's own route is always better
// than a learned one, so both may stand in the table at once and no order of
// writing can send a guest's traffic away. The last resort loses against every
// real route and keeps a miss from falling through to the main table. A
// blackhole stands below what is learned: it holds only while nobody has said
// where the prefix is now. One that stands over it holds while what was said is
// older than what this host itself had.
const (
	MetricGuest         = 100
	MetricBlackholeOver = 150
	MetricLearned       = 200
	MetricBlackhole     = 300
	MetricUnreachable   = 4278198272
)

// TapMAC is the hardware address of every tap on every hypervisor, so that a
// guest that moves needs no ARP or ND refresh.
var TapMAC = [6]byte{0xee, 0xee, 0xee, 0xee, 0xee, 0x01}

// TapGroup is the link group of every tap. The anti-spoof filter matches it,
// and a restarted agent recognises by it the taps that it once managed.
const TapGroup = 100

// Host is the desired kernel state of one hypervisor, learned routes apart.
type Host struct {
	VRFs    []VRF
	Uplinks []Uplink
	Taps    []Tap
	// TapPatterns are names, with * at the end for any rest, by which the filter
	// knows a guest's interface before the log names it. Until then nothing
	// passes there.
	TapPatterns []string
	// Blackholes are prefixes that are on their way from here to another
	// hypervisor, or the other way round: until a route to them is known their
	// packets are dropped without an ICMP error, which would end connections.
	Blackholes []Blackhole
	// Interconnects are what no guest may reach: the planes' own addresses. The
	// subnets of the uplinks are always among them.
	Interconnects []netip.Prefix
}

// VRF is one VRF device and its routing table.
type VRF struct {
	Name  string
	Table uint32
	// NoDevice: only the table is ours, the rules that lead to it are somebody
	// else's. It serves kernels without VRF; nothing is enslaved then, and
	// nothing separates the guests from the host but those rules.
	NoDevice bool
}

// Uplink is the hypervisor's port into a plane, enslaved to a VRF.
type Uplink struct {
	Name      string
	VRF       string
	Plane     string
	Addresses []netip.Prefix // interconnect addresses with their subnet's length
}

// Blackhole is a prefix of a VRF whose packets are dropped without a word where
// no better route takes them.
type Blackhole struct {
	VRF    string
	Prefix netip.Prefix
	// Over: learned routes are no better. They lead to where the prefix was before
	// it was here, and from there what follows them comes back.
	Over bool
}

func (b Blackhole) metric() uint32 {
	if b.Over {
		return MetricBlackholeOver
	}
	return MetricBlackhole
}

// ofBlackholes tells whether the routes of a metric are blackholes.
func ofBlackholes(metric uint32) bool {
	return metric == MetricBlackhole || metric == MetricBlackholeOver
}

// Tap is a guest's interface on the hypervisor, enslaved to a VRF.
type Tap struct {
	Name       string
	VRF        string
	Gateways   []netip.Addr // on the tap as /32 or /128; fe80::1/64 is always there as well
	Routes     []Route
	Neighbours []Neighbour
	// MAC is the guest's hardware address, the only one that its frames may
	// come from.
	MAC [6]byte
	// Sources are what the guest may send from, in IP, ARP and ND alike, beside
	// its IPv6 link-local addresses. With none, and with no MAC, nothing passes.
	Sources []netip.Prefix
}

// Drops counts what the filter has kept from a tap's guest since the filter
// was made.
type Drops struct {
	Spoofed uint64 `json:"spoofed"` // frames from what isn't the guest's
	Refused uint64 `json:"refused"` // to what no guest may reach, or of a kind that no guest may send
	Limited uint64 `json:"limited"` // DHCP, ND and ARP beyond the rate
}

// Route is a route of a guest. One prefix may be a route of several taps of a
// VRF, as an anycast address is: then it is one route with a next hop on each of
// them. A host route points at the tap itself. A prefix
// that holds more than one address goes via a neighbour of the tap, so that no
// sweep through the prefix can fill the neighbour table.
type Route struct {
	Prefix netip.Prefix
	Via    netip.Addr // invalid: on the tap itself; may be IPv6 for an IPv4 prefix (RFC 8950)
}

// Neighbour is a permanent neighbour entry of a tap.
type Neighbour struct {
	Address netip.Addr
	MAC     [6]byte
}
