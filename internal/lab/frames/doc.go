// Package frames proves that a guest can be nothing but itself. It has no code of its own, only tests: they
// put raw frames on a guest's side of a tap and look at every other port for what came through.
//
// The world of a test is a hypervisor made by vrf.Plan and vrf/kernel from the projection of events, with two
// guests in the public VRF, one in the private VRF, an uplink of each VRF to an edge, and a management port in
// the default VRF. Guests and edge are bare ports without an IP stack, so that nothing answers but the hypervisor.
//
// # How a frame is known
//
// Every frame carries a token in what no router changes: payload, an unknown option of ND or of IPv6, the
// target of an ARP request. A token is 8 bytes long and says which frame and which part of it, so a fragment is
// told from its whole. Whatever arrives at any port is searched for tokens: forwarded, answered, quoted in an
// ICMP error, or delivered to the hypervisor itself, where raw sockets listen behind the filter's hooks.
//
// # When a batch is over
//
// All injection is done by one thread on one CPU, and the kernel keeps the order of what one CPU puts into
// its backlog. So when a frame that was sent last has arrived, whatever was going to arrive has. Ports that nobody
// may reach get their last frame from the hypervisor's side. Nothing here waits for time to pass.
//
// # What is legal
//
// Expectations come from declared tables, each line with its reason, never from observing. The tests also run
// without the filter, and there every kind of spoofing that the kernel does not stop by itself has to be seen:
// that proves the eyes.
//
// Each test runs on plain tables and rules on any kernel, and with VRF devices where there are some. There are
// no goroutines outside tests.
package frames
