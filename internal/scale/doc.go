// Package scale computes what a region of many hypervisors needs, and simulates
// what can't be tried on one machine: thousands of agents that start at once, the
// fan-out of the log, a plane that returns to its reflectors.
//
// # What it stands on
//
// [Measured] are the inputs, each with the command that measures it in this
// project or the document that it is cited from; [Plan] is the region. [Figures]
// is arithmetic: each figure comes with its formula and with the numbers in it.
// [Herd], [Fanout] and [Return] are simulations in virtual time with queues for
// what works one thing after the other: cores, a goroutine, a link. Agents wait,
// begin again and give up by the same code as real ones do (internal/pace).
//
// # What it doesn't know
//
// Service times are constant, though real ones vary; queues are worked off in
// order, though a kernel shares cores; links delay by their rate and not by
// their length. A simulation of what can be run here agrees with the run within a
// third, which docs/scale.md shows, and so its figures are to be read.
//
// # How it is tested
//
// Against the exact results for queues of which these are known (M/D/1, and
// batches that arrive at once), that the same seed gives the same run, that no
// question is lost or answered twice, and against measured herds. It is pure: it
// has no goroutines, no clock and no I/O. Its benchmarks measure RIBs and a real
// BIRD.
package scale
