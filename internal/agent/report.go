package agent

import (
	"net/netip"
	"time"

	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/bfd/control"
	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/dhcp/server"
	"github.com/hostroute/hostroute/ipv6/dhcpv6"
	"github.com/hostroute/hostroute/ipv6/ndproxy"
	"github.com/hostroute/hostroute/ipv6/ra"
	"github.com/hostroute/hostroute/vrf"
)

// Paths of the agent's socket, which speaks HTTP with JSON answers.
const (
	PathStatus = "/status" // Status
	PathRoutes = "/routes" // []Route; query: vrf, prefix (an address or a prefix, the longest match too)
	PathPeers  = "/peers"  // []Peer
	PathGuests = "/guests" // []Guest; query: vm
	// PathDesired is answered with what the agent holds that this hypervisor must
	// serve: the projector.Host that replaying the log gives, too.
	PathDesired = "/desired"
)

// Status says whether a hypervisor is served as the log wants it.
type Status struct {
	Hypervisor string    `json:"hypervisor"`
	Version    string    `json:"version"`
	Started    time.Time `json:"started"`
	Healthy    bool      `json:"healthy"`
	// Problems says in words what is wrong and what to do, most urgent first.
	Problems []string     `json:"problems,omitempty"`
	Log      LogStatus    `json:"log"`
	Kernel   KernelStatus `json:"kernel"`
	BGP      BGPStatus    `json:"bgp"`
	BFD      BFDStatus    `json:"bfd"`
	// Planes says what each plane is worth.
	Planes []PlaneStatus `json:"planes,omitempty"`
	Guests GuestCount    `json:"guests"`
	// Handover is what leaves, comes, and is claimed by somebody else, too.
	Handover HandoverStatus `json:"handover"`
	// Drain is what is left on a drained hypervisor; absent on any other.
	Drain *log.Drain `json:"drain,omitempty"`
	// Services are those of taps that don't run just now, and why.
	Services []string `json:"services,omitempty"`
	// Late is the last step that was late and recorded; absent: none was.
	Late *LateStep `json:"late,omitempty"`
}

// LogStatus is how the agent stands with the log.
type LogStatus struct {
	Connected   bool   `json:"connected"`
	InSync      bool   `json:"in_sync"`    // caught up once since the start
	Behind      bool   `json:"behind"`     // connected, and something is known to be missing
	Registered  bool   `json:"registered"` // the log knows this hypervisor
	URL         string `json:"url"`
	Tick        uint64 `json:"tick"`         // sequence of the last tick of this hypervisor
	NetworkTick uint64 `json:"network_tick"` // sequence of the last tick of the networks
	Gaps        uint64 `json:"gaps"`
	Snapshots   uint64 `json:"snapshots"`
	LastError   string `json:"last_error,omitempty"`
	// OutOfReachSince is when the connection was lost, or tried for first.
	OutOfReachSince time.Time `json:"out_of_reach_since,omitzero"`
	Restored        bool      `json:"restored"` // started from the local snapshot
	// SnapshotError says why there is no local snapshot for the next start.
	SnapshotError string `json:"snapshot_error,omitempty"`
	// HeldBack says what is served on although the log lost it.
	HeldBack       string       `json:"held_back,omitempty"`
	HeldBackRoutes int          `json:"held_back_routes,omitempty"`
	Quarantined    []Quarantine `json:"quarantined,omitempty"`
}

// Quarantine is a message of the log that was put aside.
type Quarantine struct {
	Sequence uint64 `json:"sequence"`
	Type     string `json:"type"`
	Subject  string `json:"subject"`
	Reason   string `json:"reason"`
}

// KernelStatus is how the kernel compares with what is desired.
type KernelStatus struct {
	Applied    time.Time `json:"applied"`     // last successful comparison
	Operations uint64    `json:"operations"`  // changes made since the start
	AbsentTaps []string  `json:"absent_taps"` // desired, and not on this host (yet)
	// AbsentUplinks are those of the configuration that are not on this host.
	AbsentUplinks []string       `json:"absent_uplinks,omitempty"`
	Errors        []string       `json:"errors,omitempty"`   // of the last apply
	Learned       map[string]int `json:"learned,omitempty"`  // learned routes in the kernel by VRF
	Problems      []string       `json:"problems,omitempty"` // what the log wants and can't be
}

// BGPStatus counts sessions and announcements.
type BGPStatus struct {
	Established int `json:"established"`
	Configured  int `json:"configured"`
	Announced   int `json:"announced"` // prefixes, over all VRFs
}

// BFDStatus counts the paths that are watched.
type BFDStatus struct {
	Up         int    `json:"up"`
	Configured int    `json:"configured"`
	Connected  bool   `json:"connected"` // with BFD's process
	LastError  string `json:"last_error,omitempty"`
}

// GuestCount counts the guests of the hypervisor by its duty for them.
type GuestCount struct {
	Home       int `json:"home"`
	Preparing  int `json:"preparing"`
	Forwarding int `json:"forwarding"`
}

// Route is a prefix with every way to it.
type Route struct {
	VRF    string       `json:"vrf"`
	Prefix netip.Prefix `json:"prefix"`
	Local  *LocalRoute  `json:"local,omitempty"` // to a guest of this hypervisor; always wins
	Paths  []Path       `json:"paths,omitempty"` // learned
}

// LocalRoute is the route to a guest's tap.
type LocalRoute struct {
	VM  string `json:"vm"`
	Tap string `json:"tap"`
}

// Path is one learned path of a prefix.
type Path struct {
	Peer        string     `json:"peer"`
	Plane       string     `json:"plane"`
	Uplink      string     `json:"uplink"`
	NextHop     netip.Addr `json:"next_hop"`
	Preference  uint32     `json:"preference"`
	ASPath      string     `json:"as_path,omitempty"`
	Communities []string   `json:"communities,omitempty"`
	Chosen      bool       `json:"chosen"`
	Stale       bool       `json:"stale,omitempty"`
}

// Peer is a BGP session.
type Peer struct {
	VRF       string    `json:"vrf"`
	Plane     string    `json:"plane"`
	Uplink    string    `json:"uplink"`
	Address   string    `json:"address"`
	AS        uint32    `json:"as"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	HoldTime  float64   `json:"hold_time"` // seconds, as negotiated
	Keepalive float64   `json:"keepalive"` // seconds between two, as negotiated
	Received  int       `json:"received"`  // prefixes
	Announced int       `json:"announced"` // prefixes

	MessagesIn  uint64 `json:"messages_in"`
	MessagesOut uint64 `json:"messages_out"`
	UpdatesIn   uint64 `json:"updates_in"`
	UpdatesOut  uint64 `json:"updates_out"`

	Falls         uint64     `json:"falls"` // from established
	LastError     string     `json:"last_error,omitempty"`
	LastErrorTime *time.Time `json:"last_error_time,omitempty"`
	// LastFall says why the session fell last that was established, and Kept
	// what it left, by family.
	LastFall     string         `json:"last_fall,omitempty"`
	LastFallTime *time.Time     `json:"last_fall_time,omitempty"`
	Kept         []session.Kept `json:"kept,omitempty"`
	// BFD is the session that watches the path; absent: none is configured, or
	// BFD's process has not told of it yet.
	BFD *control.Status `json:"bfd,omitempty"`
}

// Guest is a guest that this hypervisor has a duty for.
type Guest struct {
	VM         string           `json:"vm"`
	Duty       string           `json:"duty"` // home, preparing, forwarding
	Home       string           `json:"home"`
	Epoch      uint64           `json:"epoch"`
	Handover   string           `json:"handover,omitempty"` // what goes on with it just now
	Interfaces []GuestInterface `json:"interfaces"`
}

// GuestInterface is a guest's port with its addresses.
type GuestInterface struct {
	Tap       string         `json:"tap"`
	Present   bool           `json:"present"` // the tap is on this host
	MAC       string         `json:"mac"`
	Network   string         `json:"network"`
	VRF       string         `json:"vrf"`
	Addresses []GuestAddress `json:"addresses"`
	Services  GuestServices  `json:"services"`
	// Drops is what the filter kept from this guest; absent if it can't be read.
	Drops *vrf.Drops `json:"drops,omitempty"`
}

// GuestServices is what was said to a guest on a tap; absent: no such service
// there.
type GuestServices struct {
	DHCPv4  *server.Status  `json:"dhcpv4,omitempty"`
	RA      *ra.Status      `json:"ra,omitempty"`
	NDProxy *ndproxy.Status `json:"nd_proxy,omitempty"`
	DHCPv6  *dhcpv6.Status  `json:"dhcpv6,omitempty"`
}

// GuestAddress is a prefix that a guest holds.
type GuestAddress struct {
	Prefix netip.Prefix `json:"prefix"`
	Role   string       `json:"role"`
}
