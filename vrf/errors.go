package vrf

import "errors"

var (
	// ErrExists: a route or next hop with that key is in the kernel and is
	// somebody else's. Ours waits until it is gone.
	ErrExists = errors.New("somebody else's entry is in its place")
	// ErrNotReady: a next hop is refused while its link is down or without
	// carrier. It is tried again when the link returns.
	ErrNotReady = errors.New("the link is down")
	// ErrGone: the group that was to be replaced is not there any more.
	ErrGone = errors.New("the next-hop group is gone")
	// ErrMixedVRF: a next hop leaves through an uplink of another VRF. Next
	// hops belong to the namespace, so the kernel would forward it silently.
	ErrMixedVRF = errors.New("next hop belongs to another VRF")
	// ErrFamily: an IPv6 route with an IPv4 gateway, which no kernel can do.
	ErrFamily = errors.New("an IPv6 route can't have an IPv4 gateway")
	// ErrUnknownVRF: the FIB was not made for that VRF.
	ErrUnknownVRF = errors.New("unknown VRF")
	// ErrFull: the VRF's range of next-hop ids is used up.
	ErrFull = errors.New("no next-hop id is left for the VRF")
)
