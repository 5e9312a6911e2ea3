// Package ndproxy answers the neighbour solicitations of guests that share a
// prefix, and so believe each other on their link, with the hardware address of
// their tap; whom it answers is decided by package ipv6.
//
// Each tap has a packet socket of its own, bound to the device, whose filter
// lets through untagged neighbour solicitations that the guest sent to the tap
// or to a group. So no group has to be joined for any address, and one socket
// answers for a whole /64. The kernel strips VLAN tags from what such a socket
// reads, which is why the filter asks for them: a tagged question isn't of this
// link, and gets no answer.
//
// The socket sees what the guest sends before any filter rule of nftables does.
// Therefore nothing here relies on those: what isn't from the guest's own
// addresses is not answered.
//
// A tap is one goroutine, which handles 200 packets a second and 400 at once. A
// tap that is down just brings nothing to read. The counters live as long as the
// tap is desired with a proxy.
//
// The tests run against the kernel as a guest, ndisc6 and frames made by hand, in
// network namespaces.
package ndproxy
