// Package dhcp decides what a guest is answered by DHCPv4 (RFC 2131). It is
// pure; package dhcp/server has the sockets, one for each tap.
//
// # Who the guest is
//
// A tap has one guest, so the tap says who asks. Client identifiers, host names
// and vendor classes are claims: the identifier goes back to the guest, as RFC
// 6842 wants, the others are shown to people, and nothing is decided by any of
// them. There is one address in a [Service] and no other can be in an answer.
// Hence there is no pool, no table of leases and nothing to store: [Decide] is a
// function of the service and the message. A server that was just started, or
// the one on the hypervisor that a guest has moved to, renews at once what
// another one gave, and a hundred thousand identities on one tap cost nothing.
//
// The hardware address is not a claim in this sense: the filter lets no frame
// pass from another one, so an answer to another one could not be used. Messages
// with it are ignored, as are those that a relay forwarded.
//
// # What it is told
//
// In the classic style the guest believes in its subnet: mask, and the gateway
// as router. In the host style its subnet is its address (a /32), and classless
// routes (option 121, RFC 3442) say that the gateway is on-link and that
// everything is behind it. A guest that takes option 121 ignores option 3, so
// where 121 is sent it holds all routes, in the classic style too, where it is
// sent only if there is more than a default route or the gateway is outside of
// the subnet. Option 3 is sent wherever there is a default route. Windows before
// Vista asks for 121 by the number 249 and gets it.
//
// Mask, routes, router and DNS are sent to everyone, all else to those who ask
// for it, in their order, or who don't say what they want. What has no room in
// the message (576 bytes, or what option 57 allows, up to the MTU) goes into the
// fields file and sname (option 52); what has none there either is dropped and
// listed in the [Reply]. The lease comes first and always fits. How long it is
// the network says, not the guest; T1 and T2 are a half and seven eighths of it.
//
// # When it is silent
//
// A request that selects another server is another server's. For one that asks
// for an address which isn't the guest's there is nobody but the tap to ask, so
// it gets a NAK in every state, also in the state INIT-REBOOT, where RFC 2131
// lets a server be silent that knows nothing of the client. That is how a guest
// learns that its address was changed. Every [Verdict] has the reason for which
// a message was ignored; the reasons are few and fixed, so they may be counted.
//
// An answer goes to the guest's address or to everybody on its tap, never to an
// address that the message names.
//
// DHCPDECLINE does not take the address from the guest, for there is no other
// one to give: it is a report, and the server makes it a warning.
//
// # Tests
//
// Tables of messages by state, of routes by style and of sizes; a property over
// random services and messages: no other address, no other server, no relay, no
// option twice, and every field holds what is in it. The codec is fuzzed
// together with this package in dhcp/server.
package dhcp
