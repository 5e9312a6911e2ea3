// Package kernel brings into the Linux kernel what package vrf decides, and
// reads back what it has. It speaks route netlink and /proc/sys/net.
//
// Kernel reads, plans and executes for a Host; FIB writes learned routes;
// Watch tells when something changed. Links and neighbours go through
// vishvananda/netlink. Addresses, rules, routes and next hops are encoded here,
// because that library knows neither next-hop groups nor the protocol of an
// address nor l3mdev rules, and takes a request for each route: FIB writes a
// batch of routes in one send and dumps them without an object each.
//
// The filter is two tables of nftables, "inet hostroute" and "arp hostroute"
// (ruleset.go, ruleset_chains.go); nobody else's table is read or touched.
// Chains of guests' packets list what passes and end in a drop. prerouting
// checks MAC and source and refuses what no guest may send or reach; input
// lets through DHCP, ND and pings to the tap's gateways; forward refuses a tap
// that is not in its VRF device. Rates per tap: DHCP 20/s after 40, router
// solicitations 10/s after 20, neighbour discovery and ARP 200/s after 400
// each. Drops reads the counters.
//
// # Guarantees
//
// Nothing is replaced or deleted that does not carry protocol 201: routes are
// deleted by protocol and metric, and one that is not known to be ours is only
// ever added exclusively. Two processes must not do this for one namespace at
// a time. What a call does is done when it returns; nothing is queued.
//
// # Who changed what
//
// What we send has numbers of our own, which the kernel repeats when it tells of
// a change. So a filter on the socket of Watch drops, in the kernel, what we did to
// routes, and what the kernel did, and leaves those that others deleted or
// replaced; see docs/adr/0010-watching-routes.md.
//
// # Many links at once
//
// The cost of a link doesn't grow with how many there are. More than a few are read
// by dumps of all addresses and neighbours, since the kernel goes through all of
// these for one. A link's group is written to sysfs where that shows the process's
// own namespace: by netlink it is a change of the link, for which the kernel walks
// all IPv6 routes.
//
// # Namespaces
//
// New, NewFIB and Watch take the namespace as an open descriptor. Netlink
// sockets stay in the namespace they were opened in. For sysctls a thread of
// its own enters it, and is given back only if it could leave again.
//
// # Failure
//
// ErrNoFilter: the kernel can't filter guests, and none is connected. A
// transaction of the filter is done whole or not at all, and is made for the
// ruleset that was read; if that changed meanwhile, the elements are read again.
//
// Errors of single operations are joined and name the thing; the rest is done
// nevertheless. ErrNoVRF and ErrNotPermitted say what to do. Dumps that the
// kernel marks as interrupted are repeated. Where the kernel has no next-hop
// objects, found by asking for them, routes carry their next hops.
//
// Known races: a route that somebody else replaced may be replaced by us in the
// milliseconds before its notice. A route dump is not atomic and never marked as interrupted, and
// may pass over IPv6 routes while others are deleted. Verify looks twice. Of what the apply loop reads itself a
// route may be missing; its add then finds it in its place, deletes what is ours there, and adds again. A link that is
// renamed between plan and execution fails the operation, and the notice about
// the rename leads to the next plan. A port of the host that is exempt from the
// filter stays so for the moment between its deletion and the notice, also if a
// guest's interface takes its name in that moment.
//
// # Goroutines
//
// Watch runs three that receive, for as long as it runs. Sysctls use one for
// the time of the call. Kernel and FIB serialise their callers, who wait for a
// Verify or a Sweep only as long as a few hundred routes take.
//
// # Tests
//
// Package conformance has the body that runs here in scratch namespaces and on
// the fake. Frames made by hand go through the filter from a guest's namespace
// to an edge's, and nft(8) says independently what is in it. Where the kernel has no VRF those parts run in the VM.
package kernel
