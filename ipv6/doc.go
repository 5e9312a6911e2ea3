// Package ipv6 decides what a guest is told in IPv6: router advertisements
// (RFC 4861, 4191, 8106), answers of the ND proxy, and DHCPv6 (RFC 8415). Its
// sub-packages ra, ndproxy and dhcpv6 hold the sockets, one a tap and protocol.
//
// A [Service] is all that there is to know about one tap. It comes from the log
// by way of package projector, and who the guest is follows from the tap alone,
// whatever the guest says of itself. Nothing here opens, waits, asks the clock or
// draws a lot: frames, time and chance are arguments, so that the tests can go
// through a day of advertisements or a million frames.
//
// # Styles
//
// The three styles of a network are three fillings of the same Service. With a
// /64 of its own (slaac) the guest gets a prefix with A and without L: it forms
// addresses, privacy addresses too, and asks for nobody on the link, so that no
// proxy is needed. In one shared /64 (shared) the prefix has L and not A: M sends
// the guest to DHCPv6 for its address, and for the others it asks on the link,
// where the ND proxy answers. With a /128 (dhcp) there is M without L, and so no
// proxy. The advertisement is what brings the default route in all of them, which
// DHCPv6 can't.
//
// # Router advertisements
//
// They come from fe80::1 ([RouterAddress]) with the hardware address of the tap,
// both the same everywhere, so a guest that moves to another hypervisor keeps its
// default router without noticing.
//
// [NewAdvertisement] makes the content of a [Router]: what does not fit a field is
// cut to it, what can't be said at all is left out, and what is told lasts three
// intervals at least, or as long as the router. [Advertisement.Parts] splits it
// into messages that fit the smallest MTU, since ND is never fragmented (RFC
// 6980). [Schedule] says when:
//
//   - three advertisements at most 16 s apart in the beginning, then one at a
//     random time between a third of the interval and all of it (RFC 4861,
//     section 6.2.4);
//   - the answer to a solicitation from a link-local address goes to that address
//     at once; any other makes the next multicast due. The random delay of up to
//     0.5 s that section 6.2.6 has for links with several routers is none here:
//     a tap has one router and one host;
//   - two multicasts are never closer than 3 s;
//   - a change is told as soon as that allows, three times, like a beginning. What
//     has left, be it a prefix, one of its flags, a route, a resolver or a domain,
//     is told in these three with a lifetime of 0. MTU and hop limit can't be taken
//     back: an option that is absent says nothing.
//
// When a tap is no longer to be served a last advertisement takes back the default
// route, the routes and the resolvers, and deprecates the addresses without ending
// them ([Schedule.Final]). When only the process ends, none is sent: the guest
// keeps what it has, the next process begins anew. That one doesn't know what its
// predecessor had told, so what left the Service in between just runs out.
//
// # ND proxy
//
// Guests of a shared /64 believe each other on their link, and each is alone on
// it. [ReadQuestion] checks a neighbour solicitation (RFC 4861, section 7.1.1,
// checksum included), [Proxy.Answer] decides, and [Question.Reply] writes the
// answer: from the address that was asked for, as some guests insist, to who asked,
// with the hardware address of the tap and the flags router, solicited and
// override. The probes by which a guest verifies a neighbour it knows are
// questions like all others.
//
// Every address of the shared prefixes is answered for, with these exceptions:
// what is the guest's own, or it would lose its addresses; gateways and fe80::1,
// for which the kernel answers; and duplicate address detection, whoever it is
// for. So a guest never finds an address taken that it was given, nor one that
// another guest has: that it can't use another's is up to the filter of package
// vrf. Whether somebody has an address isn't asked. Traffic to one that nobody has
// is answered by the router as unreachable, where on a real link there would be
// silence.
//
// Only questions from the guest's hardware address, and from its own or its
// link-local addresses, are answered: the packet socket sees them before any
// filter. Every question that gets no answer has one of the few reasons of
// [Ignored], which are fit to be labels of a metric.
//
// As with every ND proxy (RFC 4389), a guest that uses secure ND (RFC 3971) takes
// none of the answers for true.
//
// # DHCPv6
//
// [Lease.Answer] says what a client is told, from its lease and one message alone.
// Whatever DUID, IAID or hostname it claims, it gets what its tap has: nothing is
// kept of it, so there is no pool to use up, and no lease to lose in a restart.
//
//   - One association of a kind gets all there is, all addresses, the primary
//     first, or all delegated prefixes; others get NoAddrsAvail or NoPrefixAvail,
//     as does every association for temporary addresses. Wishes count for nothing.
//   - What a client believes to have and has not is withdrawn with lifetimes of 0
//     in answer to Renew and Rebind, and is NotOnLink in answer to Request and
//     Confirm, also where it is an address of the subnet that the guest believes
//     to be on.
//   - Release and Decline are acknowledged and change nothing.
//   - Advertise has the highest preference, so that no client waits for others;
//     Rapid Commit is used with clients that offer it, where there is anything to
//     commit. T1 and T2 are 0.5 and 0.8 of the preferred lifetime.
//   - Resolvers, search domains (RFC 3646), time servers (RFC 5908), SOL_MAX_RT,
//     INF_MAX_RT (RFC 7083) and the refresh time are told to who asks for them.
//   - Who sends to fe80::1 instead of the group is told UseMulticast. What RFC 8415,
//     section 16, says to discard is discarded, as is everything relayed, with one
//     of the reasons of [DHCPIgnored], a small fixed set.
//
// All servers, on every hypervisor and after every restart, are one to the guest:
// they have the same DUID ([ServerDUID]), address and hardware address. So a guest
// that moved renews where it is now, at T1 and not only by Rebind at T2. That a
// guest sees two of them at once can't be, because its link ends at the tap; a
// guest with two interfaces sees one server with two interfaces.
//
// Reconfigure is not sent, since clients accept it only with authentication that
// they don't have in practice: a change reaches a guest at T1. Authentication,
// relays, leasequery and the Server Unicast option are not there on purpose.
//
// # Tests
//
// Tables for the rules, random walks through the schedule against a record of what
// was told, comparison with rules said twice, fuzzing from frame to frame; replies
// are read by other people's decoders. The sub-packages test against the kernel,
// rdisc6, ndisc6 and DHCPv6 clients as guests.
package ipv6
