// Package eventpath measures the way of an event: from the moment at which the log
// has stored it to the route in this hypervisor's kernel, and to that in another
// one's, with 1,000 guests on the host. It has tests and benchmarks only:
//
//	go test -run '^$' -bench EventPath ./internal/bench/eventpath
//
// Everything is as users have it: two agents and a log service in processes and
// network namespaces of their own, two planes, each with a BIRD as the route
// reflector, taps, and publishing over NATS. There are two differences. The VRF has no
// device, so that no kernel with VRF is needed, and the log is forced to disk each
// minute: with every command, as is the default, the disk sets the pace.
//
// An event's clock starts with the time that JetStream stored it with, and ends when the
// kernel tells a listener on a netlink socket of the route. Routes that go are measured,
// too. Setting EVENTPATH_PROFILE to a folder leaves a CPU profile of each
// process there, from the rate EVENTPATH_PROFILE_RATE on.
package eventpath
