// Package observe asks the kernel what a contender has brought into its table, and
// compares that with what must be there: for all contenders in the same way, whether
// they write one next hop after the other, multipath routes or next-hop objects.
//
// Two questions are there. [Reader.Right] asks for single addresses and stops at the first one that is wrong,
// which costs the kernel next to nothing: it is for asking often. [Reader.Compare] reads
// the whole table, which takes time from whoever still writes: it is for being sure.
// [Watcher] is told by the kernel of each route that is written.
//
// A route is right if it is exactly the host's, and leads to the gateway of its
// hypervisor through the uplink of each plane that is up, and nowhere else.
//
// It is tested with routes of each kind in a kernel, as root.
package observe
