// Package ipv6 is where router advertisements (RFC 4861), ND proxy and DHCPv6
// (RFC 8415) toward guests are decided; its sub-packages will hold the sockets.
//
// Nothing is here yet: in this version the kernel answers guests with fe80::1
// on every tap, and guests are configured statically. What the log says about
// it (the IPv6 style of a network, DNS, MTU) is stored and validated already,
// see package events.
package ipv6
