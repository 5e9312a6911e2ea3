// Package bfd is where BFD (RFC 5880, RFC 5881) is decided: the codec and the
// state machine; its sub-package udp will hold the sockets of `hostroute bfd`.
//
// Nothing is here yet: in this version the loss of a plane is seen by carrier
// and by BGP's hold timer. The session package has the hook (Speaker.PeerDown),
// the FIB too (FIB.UplinkChanged). See docs/adr/0002.
package bfd
