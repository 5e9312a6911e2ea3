// Package dhcpv6 is the DHCPv6 server toward guests (RFC 8415): a socket on
// each tap, the codec, and what is told about it in the status. What is answered
// is decided by ipv6.Lease.Answer.
//
// Each tap has a task of internal/fleet and in it one goroutine, the loop of
// internal/receive: a token bucket before any parsing, and a guard around the
// handling of one packet. Taps share nothing, so what a guest does to its own
// service stays there. Server.Set, Status and Run may be called from anywhere.
//
// The socket is bound to the tap (SO_BINDTODEVICE), also where the tap belongs
// to a VRF, is a member of ff02::1:2 there, and answers from fe80::1 to the
// client's port. Answers name the tap, never the interface that the kernel
// reports for a client: in a VRF that would be the VRF device, from which
// nothing reaches the guest.
//
// A tap without fe80::1, or one that was replaced by another device of its name,
// makes the task fail, and the fleet tries again. An answer that the kernel
// doesn't take, as when the tap is down, is lost and counted; the client sends
// its message again anyway. A tap that goes down and up keeps its membership.
// Nothing is kept between messages except for the status, whose size is that of
// the lease. A stop and a restart look the same to a guest: it keeps what it has
// and renews it with whoever answers at this tap then, since every server is
// ipv6.ServerDUID.
//
// The decision is tested by tables of RFC 8415's cases and by properties, the
// codec by a fuzz target from bytes to bytes, and the rest with ISC dhclient,
// dhcpcd and systemd-networkd in network namespaces, and in a VRF.
package dhcpv6
