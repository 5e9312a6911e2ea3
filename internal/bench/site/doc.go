// Package site makes the place where a contender runs: the network namespace of a
// hypervisor, with nothing in it but an uplink for each plane, and one for the reflectors
// at the other ends.
//
// A site ends with Close, whatever still runs in it. One that a former process left
// because it was killed goes when the next one is made: the name of a namespace has
// the process id of its maker.
//
// It is tested in the kernel, as root.
package site
