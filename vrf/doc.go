// Package vrf decides what the kernel of a hypervisor must be told: VRF
// devices, rules, uplinks, taps, guests' routes and neighbours by a plan, and
// learned routes by a FIB. It does no I/O itself; vrf/kernel does, and vrf/fake
// stands in for the kernel in tests.
//
// # The plan
//
// Plan compares a desired Host with the Actual kernel and gives operations in
// an order that never leaves a guest less protected than before: the rule for
// local addresses is added at its new place before it is deleted at the old
// one, a table has its last resort before anything is enslaved to its VRF, a
// tap is in its group and strict before it is in its VRF, addresses are added
// before others are removed. Executed without failure, a plan leaves nothing
// for a second one. Run executes: what fails stops only what depends on it and
// is found again by the next plan, so there is no state of retries anywhere.
//
// # What moves, and what several have
//
// A blackhole is written before anything of a tap and removed after everything,
// so that between it and a tap's route of the same prefix there is no gap. All
// are planned in restricted plans, too. One that the process wrote itself
// (InstalledRoute.Written) goes as soon as it isn't desired, since only then is
// it known that its time is over; one of a former run waits for a sweep.
//
// A prefix of several taps is one route, planned when all of them are. A plan
// restricted to one of the taps is about all (Sharing). The kernel's manners with
// such routes: a device that is down is marked as dead and comes back by itself;
// one that vanishes takes the whole IPv4 route with it, and of an IPv6 route its
// share; with the last IPv4 address it is dead until the list of devices is
// written anew, and writing the same list again is not enough, since the kernel
// finds the marked one; IPv6 wants a gateway on each.
//
// # The filter
//
// FilterOf says what each guest may send from, and a plan has it first: a tap
// is in the filter before anything of it can pass, and waits if that fails.
// The rules depend on the configuration alone (FilterStatic), guests are
// elements of sets. If a rule is not what it must be all of it is made anew in
// one transaction. Elements that are not desired go with a sweep; at once goes
// what is in the way of a wider prefix, and what would cut the host off from a
// port of its own. docs/adr/0008-filter.md has the reasons.
//
// # What is ours
//
// Routes and rules of protocol 201, and addresses of protocol 201 (IFA_PROTO,
// Linux 5.18). Older kernels keep no protocol with an address; there an
// address is taken for ours by its shape, a /32 of scope link or fe80::1/64,
// and only on a link in the group of the taps; other addresses, those of the
// uplinks among them, are then never removed. Permanent neighbours are ours on
// the taps, all of them. A tap that is no longer desired is recognised by its
// link group, also by an agent that never knew it: it loses what is ours, goes
// down, leaves its VRF, and stays in the group, where the anti-spoof filter
// drops what it sends; its name leaves the filter last. Sysctls have no owner and are never set back.
//
// VRF devices that are not desired stay: a device carries no mark of who made
// it, and deleting one takes its ports' traffic with it. Learned routes in
// their tables stay as well.
//
// Without Options.Sweep nothing is removed, apart from what is in the way of
// something desired, and blackholes of this process.
//
// # The FIB
//
// Every distinct set of next hops is one next-hop group, also a set of one,
// and every learned route refers to a group. Members are one per gateway and
// uplink. So the number of routes never matters when a link or plane is lost:
// members are pointed elsewhere or groups shrink. A prefix that is anycast, as
// several gateways on one uplink tell, has a resilient group of its own, which
// is replaced in place, so that flows stay with their member
// (docs/adr/0014-anycast-groups.md). The kernel's own part in
// this is harsh, it deletes members whose link loses the carrier, and with the
// last member of a group all its routes, and brings nothing back; so shared
// groups have a floor, a last member that stays and is used by nobody
// (docs/adr/0016-floor.md), and Repair compares instead of remembering, and may
// be called at any time.
//
// Next hops belong to the namespace, not to a VRF. Ids tell their VRF
// (201ssnnnnn, ss the VRF's slot), and a change that leaves through another
// VRF's uplink is refused. Where next-hop objects are missing, found by asking
// for them, routes carry their next hops, and the loss of a link rewrites them.
//
// A route that is not known to be ours is added exclusively: the kernel's
// replace would take anybody's route with the same prefix and metric. Only
// what the FIB wrote or adopted is replaced.
//
// What somebody else does to routes is told by Lost, which writes them again
// without reading anything, or found by Verify, which reads all of them. That
// takes long, so VerifyInTurns and SweepInTurns touch the FIB in short steps,
// between which its owner may use it (docs/adr/0010-watching-routes.md).
//
// After a restart Adopt reads what is there, learning it again writes nothing,
// and Sweep removes what was not learned again.
//
// # Goroutines, failure, tests
//
// None; everything is called and returns, and nothing is safe for concurrent
// use, but for what is done in turns, which a lock may part. Errors name the thing and wrap the cause; see errors.go. The tests go
// from random states to random states on the fake, whose bad manners are the
// kernel's, and package conformance runs one body on the fake and the kernel.
package vrf
