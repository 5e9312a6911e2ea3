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
// # Guarantees
//
// Nothing is replaced or deleted that does not carry protocol 201: routes are
// deleted by protocol and metric, and one that is not known to be ours is only
// ever added exclusively. Two processes must not do this for one namespace at
// a time. What a call does is done when it returns; nothing is queued.
//
// # Namespaces
//
// New, NewFIB and Watch take the namespace as an open descriptor. Netlink
// sockets stay in the namespace they were opened in. For sysctls a thread of
// its own enters it, and is given back only if it could leave again.
//
// # Failure
//
// Errors of single operations are joined and name the thing; the rest is done
// nevertheless. ErrNoVRF and ErrNotPermitted say what to do. Dumps that the
// kernel marks as interrupted are repeated. Where the kernel has no next-hop
// objects, found by asking for them, routes carry their next hops.
//
// Known races: a route dump is not atomic and never marked as interrupted; a
// route that changes meanwhile may be missing from it, and its add then finds
// it in its place, deletes what is ours there, and adds again. A link that is
// renamed between plan and execution fails the operation, and the notice about
// the rename leads to the next plan.
//
// # Goroutines
//
// Watch runs one that receives, for as long as it runs. Sysctls use one for
// the time of the call. Kernel and FIB serialise their callers.
//
// # Tests
//
// Package conformance has the body that runs here in scratch namespaces and on
// the fake. Where the kernel has no VRF those parts run in the VM.
package kernel
