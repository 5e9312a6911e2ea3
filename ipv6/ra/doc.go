// Package ra advertises fe80::1 as the router of every tap (RFC 4861, section
// 6.2): it holds the sockets, what is said and when is decided by package ipv6.
//
// Each tap has a raw ICMPv6 socket of its own, bound to the device, also where
// that is in a VRF. It hears router solicitations only, and sends from fe80::1
// alone; while the tap doesn't have that address nothing can be sent, which is
// tried again every three seconds and at every solicitation. The kernel checks
// what comes and fills in what goes: checksums, and that the address is there.
//
// A tap is two goroutines: one reads, 10 packets a second and 20 at once, and
// answers; one sends what is due. A tap that is dropped says that it is no router any
// more, if its guest stays; one that moves would take that along. When only the
// process ends the guest hears nothing and keeps its routes, since the next
// process serves it on. The counters live as long as the tap is
// desired.
//
// What doesn't go: an MTU or a hop limit once told can't be taken back by an
// advertisement, and a process that was restarted doesn't know what its
// predecessor told and withdraws nothing of it.
//
// The tests run against the SLAAC of the kernel, rdisc6 and a sniffer in network
// namespaces; the schedule is tested in package ipv6, where time is an argument.
package ra
