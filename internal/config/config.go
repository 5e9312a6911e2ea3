package config

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/hostroute/hostroute/vrf"
)

// Config is a valid configuration with every default filled in. The order of
// its keys is that of [Config.Dump].
type Config struct {
	Hypervisor string   `yaml:"hypervisor,omitempty"`
	State      string   `yaml:"state"`  // absolute path of a folder
	Socket     string   `yaml:"socket"` // absolute path
	Log        Log      `yaml:"log"`
	VRFs       []VRF    `yaml:"vrfs"`
	Uplinks    []Uplink `yaml:"uplinks"`
	Guests     Guests   `yaml:"guests"`
	BGP        BGP      `yaml:"bgp"`
	BFD        BFD      `yaml:"bfd"`
	Metrics    Metrics  `yaml:"metrics"`
	// FlightRecorder is what is kept of the last seconds.
	FlightRecorder FlightRecorder `yaml:"flight_recorder"`
}

// Log is where the event log is. Exactly one of URL and Embedded is set.
type Log struct {
	URL         string    `yaml:"url,omitempty"` // NATS servers, comma separated
	Embedded    *Embedded `yaml:"embedded,omitempty"`
	VRF         string    `yaml:"vrf,omitempty"`         // the device connections are bound to; empty: the default VRF
	Credentials string    `yaml:"credentials,omitempty"` // absolute path of a NATS credentials file
	CA          string    `yaml:"ca,omitempty"`          // absolute path of the certificates that tell a server; empty: the system's
	Replicas    int       `yaml:"replicas"`
}

// Embedded is a NATS server inside this process.
type Embedded struct {
	Listen netip.AddrPort // invalid: this process only
	Store  string         // absolute path of a folder
	Sync   time.Duration  // between writes to disk; 0: with every write
}

// VRF is a VRF device and its routing table.
type VRF struct {
	Name  string `yaml:"name"`
	Table uint32 `yaml:"table"`
	// NoDevice: there is the table alone, and rules of somebody else's lead to it.
	NoDevice bool `yaml:"-"`
}

// Uplink is the port into a plane for one VRF; there is one for each pair.
type Uplink struct {
	Interface string         `yaml:"interface"`
	Plane     string         `yaml:"plane"`
	VRF       string         `yaml:"vrf"`
	Addresses []netip.Prefix `yaml:"addresses"` // the address with the length of its subnet
}

// Guests is what keeps guests from being anything but themselves.
type Guests struct {
	// Taps are names of guests' interfaces, a * at the end standing for any
	// rest, where nothing passes before the log names them.
	Taps []string `yaml:"taps"`
	// Interconnects are what guests can't reach, beside the uplinks' subnets.
	Interconnects []netip.Prefix `yaml:"interconnects"`
}

// BGP is what the sessions have in common, and the sessions. AS and RouterID
// are set wherever there are reflectors.
type BGP struct {
	AS           uint32        `yaml:"as,omitempty"`
	RouterID     netip.Addr    `yaml:"router_id"` // IPv4
	HoldTime     time.Duration `yaml:"hold_time"`
	ConnectRetry time.Duration `yaml:"connect_retry"`
	RestartTime  time.Duration `yaml:"restart_time"` // of graceful restart (RFC 4724)
	// LongLived is how long stale routes may be the last resort (RFC 9494).
	LongLived  time.Duration `yaml:"long_lived_stale_time"`
	Reflectors []Reflector   `yaml:"reflectors"`
}

// Reflector is a route reflector. The uplink of its VRF and plane has a subnet
// with its address.
type Reflector struct {
	VRF         string     `yaml:"vrf"`
	Plane       string     `yaml:"plane"`
	Address     netip.Addr `yaml:"address"`
	Port        uint16     `yaml:"port"`
	AS          uint32     `yaml:"as"`
	Password    string     `yaml:"password,omitempty"` // of TCP MD5 (RFC 2385); empty: none
	TTLSecurity bool       `yaml:"ttl_security"`       // GTSM (RFC 5082)
	BFD         bool       `yaml:"bfd"`                // watch the path to it
}

// BFD is how the paths to the reflectors are watched (RFC 5880), by another
// process.
type BFD struct {
	Socket     string        `yaml:"socket"`     // absolute path
	Interval   time.Duration `yaml:"interval"`   // between packets, in both directions
	Multiplier uint8         `yaml:"multiplier"` // packets lost in a row that are a loss of the path
	MaxLoss    Percent       `yaml:"max_loss"`   // of packets, from which on a path is avoided; 0: never
}

// Percent is a share in hundredths, written as 20%.
type Percent uint8

// MarshalText writes the share.
func (p Percent) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%d%%", uint8(p)), nil }

// Fraction is the share, 0 to 1.
func (p Percent) Fraction() float64 { return float64(p) / 100 }

// Metrics is where monitoring asks the agent, by HTTP.
type Metrics struct {
	Listen netip.AddrPort // invalid: nowhere
	VRF    string         // the device that the socket is bound to; empty: the default VRF
}

// FlightRecorder is when a step of an event's or a route's way is late, so that what the
// agent did meanwhile is recorded.
type FlightRecorder struct {
	Late time.Duration `yaml:"late"` // 0: never, and nothing is kept in memory
	Keep int           `yaml:"keep"` // recordings, the newest ones
}

// Uplink finds the uplink of a VRF into a plane.
func (c *Config) Uplink(vrf, plane string) (Uplink, bool) {
	for _, u := range c.Uplinks {
		if u.VRF == vrf && u.Plane == plane {
			return u, true
		}
	}
	return Uplink{}, false
}

// Host is the part of a hypervisor's desired kernel state that is configured:
// devices and uplinks. The log says the rest.
func (c *Config) Host() vrf.Host {
	h := vrf.Host{TapPatterns: c.Guests.Taps, Interconnects: c.Guests.Interconnects}
	for _, v := range c.VRFs {
		h.VRFs = append(h.VRFs, vrf.VRF{Name: v.Name, Table: v.Table, NoDevice: v.NoDevice})
	}
	for _, u := range c.Uplinks {
		h.Uplinks = append(h.Uplinks, vrf.Uplink{Name: u.Interface, VRF: u.VRF, Plane: u.Plane, Addresses: u.Addresses})
	}
	return h
}
