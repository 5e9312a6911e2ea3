// Package dhcp is where DHCPv4 replies (RFC 2131) to guests are decided; its
// sub-package server will hold the sockets, one for each tap.
//
// Nothing is here yet: in this version guests are configured statically. What
// the log says about it (style, lease, options of a network) is stored and
// validated already, see package events.
package dhcp
