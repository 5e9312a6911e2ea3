package vrf

import "net/netip"

// NextHop is one way out of a VRF: a gateway on the link of an uplink. The
// gateway of an IPv4 prefix may be IPv6 (RFC 8950), never the other way round.
type NextHop struct {
	Gateway netip.Addr
	Uplink  string
}

// Change is a change of one learned route of a VRF.
type Change struct {
	Prefix netip.Prefix
	// NextHops is sorted, without repetition, and shared between changes: it
	// is never written after it was handed over. None withdraws the route.
	NextHops []NextHop
}
