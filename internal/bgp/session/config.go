package session

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/hostroute/hostroute/vrf"
)

// Defaults of a Config. The timers are low because a session is one hop long
// and a hypervisor has few of them.
const (
	DefaultPort         = 179
	DefaultHoldTime     = 9 * time.Second
	DefaultConnectRetry = 2 * time.Second
	DefaultRestartTime  = 120 * time.Second
	// DefaultLongLivedStaleTime is a night and the day after it: what it takes
	// to notice and mend even what happens late on the eve of a holiday.
	DefaultLongLivedStaleTime = 24 * time.Hour

	DefaultStaleTime    = 120 * time.Second
	DefaultDeferral     = 5 * time.Second
	DefaultSyncDeadline = 30 * time.Second
)

// maxLongLived is what 24 bits of seconds hold (RFC 9494 section 3.1).
const maxLongLived = (1<<24 - 1) * time.Second

// Config is what a Speaker is made of. Zero times take the defaults, but for
// LongLivedStaleTime.
type Config struct {
	AS       uint32
	RouterID netip.Addr // an IPv4 address that no other speaker of the AS has
	// HoldTime is what we propose (RFC 4271 section 4.2): whole seconds, at
	// least 3. The lower one of both sides counts; a third of it is the
	// keepalive interval.
	HoldTime time.Duration
	// ConnectRetry is the longest pause between two attempts; each pause is
	// drawn between three quarters of it and all of it.
	ConnectRetry time.Duration
	// RestartTime is how long we ask the peers to keep our routes after a
	// session fell (RFC 4724 section 3), at most 4095 s.
	RestartTime time.Duration
	// LongLivedStaleTime is how long we ask the peers to keep our routes as the
	// last resort when the restart time is over (RFC 9494), and the longest
	// that we keep those of a peer that asks for it: whole seconds. With 0 it is
	// not offered, and nothing outlives a restart time.
	LongLivedStaleTime time.Duration
	// StaleTime is how long we wait, in a session that came back, for the
	// End-of-RIB before we forget the paths of the session before.
	StaleTime time.Duration
	// Deferral is how long a Speaker that is Restarting waits for the
	// End-of-RIB of all peers of a VRF before it writes any route of that VRF
	// (RFC 4724 section 4.1). Until then the routes of the previous run serve,
	// which have the next hops of all planes, and not just of the first one
	// that was heard of. It is also how long paths that are kept for a peer
	// outlive its End-of-RIB if it began from nothing: its other clients may
	// not be back yet.
	Deferral time.Duration
	// SyncDeadline is how long Synced waits for the peers.
	SyncDeadline time.Duration
	// Restarting says that the forwarding state of a previous run is still
	// there: the first OPEN to each peer carries the R bit and the F bits.
	Restarting bool
	Peers      []Peer
	Steps      Steps // nil: nobody is told

	openWait time.Duration // the least that a peer gets for its OPEN: it may be starting
}

// Peer is a route reflector, or another router, that a session is dialled to.
type Peer struct {
	Name   string // as people know it; the address if empty
	VRF    string
	Plane  string
	Uplink string // the device that the socket is bound to; learned paths lead out of it

	Address  netip.Addr // a link-local one needs no zone: the uplink is its zone
	Port     uint16     // 0 means 179
	AS       uint32     // 0 means our own (iBGP)
	Password string     // TCP MD5 signatures (RFC 2385), none if empty

	// LocalV4 and LocalV6 are the addresses of the uplink: the next hops of
	// what we announce, each for its family. With LocalV6 alone IPv4 is
	// announced through it where the peer can do that (RFC 8950).
	LocalV4, LocalV6 netip.Addr
	// Source is the address to dial from; the kernel chooses if it is not set.
	Source netip.Addr
	// NoTTLSecurity turns GTSM off (RFC 5082): packets of less than 255 hops
	// to live are taken then.
	NoTTLSecurity bool
}

// FIB is where the routes go. Apply writes the changes of one VRF; only the
// NextHops slices may be kept after it returned. It is called by one goroutine
// per VRF. An error means that any of the changes may be missing: they are
// offered again in halves, at once, and what fails by itself after a pause,
// while others go on.
type FIB interface {
	Apply(ctx context.Context, vrf string, changes []vrf.Change) error
}

func (c *Config) setDefaults() {
	for at, def := range map[*time.Duration]time.Duration{
		&c.HoldTime: DefaultHoldTime, &c.ConnectRetry: DefaultConnectRetry, &c.RestartTime: DefaultRestartTime,
		&c.StaleTime: DefaultStaleTime, &c.SyncDeadline: DefaultSyncDeadline, &c.Deferral: DefaultDeferral,
		&c.openWait: 20 * time.Second,
	} {
		if *at == 0 {
			*at = def
		}
	}
	if c.Steps == nil {
		c.Steps = untold{}
	}
	peers := make([]Peer, len(c.Peers))
	for i, p := range c.Peers {
		if p.Port == 0 {
			p.Port = DefaultPort
		}
		if p.AS == 0 {
			p.AS = c.AS
		}
		if p.Name == "" {
			p.Name = p.Address.String()
		}
		if p.Address.IsLinkLocalUnicast() && p.Address.Is6() {
			p.Address = p.Address.WithZone(p.Uplink)
		}
		peers[i] = p
	}
	c.Peers = peers
}

// check names everything that can't work.
func (c *Config) check() error {
	var errs []error
	if !c.RouterID.Is4() || c.RouterID.IsUnspecified() {
		errs = append(errs, fmt.Errorf("router id %v: want an IPv4 address", c.RouterID))
	}
	if c.AS == 0 {
		errs = append(errs, errors.New("AS 0 is reserved"))
	}
	if c.HoldTime < 3*time.Second || c.HoldTime > 65535*time.Second {
		errs = append(errs, fmt.Errorf("hold time %v: want 3s to 65535s", c.HoldTime))
	}
	if c.RestartTime < 0 || c.RestartTime > 4095*time.Second {
		errs = append(errs, fmt.Errorf("restart time %v: want at most 4095s", c.RestartTime))
	}
	if c.LongLivedStaleTime < 0 || c.LongLivedStaleTime > maxLongLived {
		errs = append(errs, fmt.Errorf("long-lived stale time %v: want at most %v", c.LongLivedStaleTime, maxLongLived))
	}
	for _, p := range c.Peers {
		if !p.Address.IsValid() || p.VRF == "" {
			errs = append(errs, fmt.Errorf("peer %s: want an address and a VRF", p.Name))
		}
		if len(p.Password) > 80 {
			errs = append(errs, fmt.Errorf("peer %s: a password of %d bytes: the kernel takes 80", p.Name, len(p.Password)))
		}
	}
	return errors.Join(errs...)
}
