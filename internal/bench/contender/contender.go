// Package contender runs the programs that are compared: hostroute, BIRD and FRR,
// each as its users run it, with a configuration for the same job.
package contender

import (
	"context"
	"net/netip"
)

// Contender is a program that is compared. A site has made it a namespace with
// its uplinks; it writes what it learns into the table of the site.
type Contender interface {
	Name() string
	// Version is what the program says it is.
	Version(ctx context.Context) (string, error)
	// Start starts it in the site, with sessions to all reflectors, and returns
	// when it runs; sessions may still come up.
	Start(ctx context.Context, s Site) error
	// Pids are its processes, all of whose memory and CPU time count.
	Pids() []int
	// Stop ends it, and leaves nothing behind.
	Stop(ctx context.Context) error
}

// Site is where a contender runs.
type Site struct {
	Namespace  string // the network namespace, as ip netns knows it
	Dir        string // for configuration, sockets, logs; the contender's own
	Table      uint32 // of the kernel
	AS         uint32
	RouterID   netip.Addr
	Reflectors []Reflector
}

// Reflector is one that feeds a contender: iBGP, it listens, no MD5, TTL 255.
type Reflector struct {
	Plane   string       // a or b
	Uplink  string       // the contender's port: up-a, up-b
	Local   netip.Prefix // the contender's address on the uplink, IPv4
	Local6  netip.Prefix // and IPv6
	Address netip.Addr   // of the reflector: sessions are over IPv4 and carry both families
	Port    uint16
}
