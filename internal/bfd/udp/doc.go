// Package udp runs the sessions of package bfd over UDP sockets (RFC 5881).
//
// # What it guarantees
//
//   - Every packet goes out with TTL or hop limit 255, DSCP CS6, from one source
//     port per session out of 49152 to 65535, which no other session here has;
//     every packet that comes in with another TTL is dropped and counted.
//   - A socket is bound to its interface and its address, so that VRFs and equal
//     link-local addresses on several planes don't mix. That works on an
//     interface enslaved to a VRF as on any other.
//   - [Engine.Set] takes the whole state. What stays the same is not disturbed;
//     parameters change without a loss; what is gone is shut with AdminDown.
//   - With [Options].State a new process goes on with the sessions of the one
//     before, be that one's end planned or not. When it is there within the
//     detection time the peers notice nothing; when it comes later its sessions
//     fall, and that is not reported as a failure, for it says nothing about the path.
//     Without a state the end of Run says AdminDown to every peer and waits for
//     them to have understood, for their detection time and two seconds at the
//     most. For a restart that is second best: to RFC 5882 section 3.2 AdminDown
//     is no failure, but BIRD 2.0.12 ends the BGP session for it.
//   - An interface that is missing, goes away or comes back under the same name
//     costs its own sessions only; they are tried again every second, and the
//     [bfd.Status] says why in words.
//
// # The loop
//
// All sessions are in one loop on one thread, which is locked to it and, where
// permitted, is scheduled by SCHED_FIFO and has its memory locked. What isn't
// permitted is logged once; then 3 × 300 ms holds on a busy host, and 3 × 50 ms
// only on an idle one.
//
// The loop waits in ppoll for any of its sockets or the earliest deadline, which
// it knows from a heap. There are some dozens of sockets at most, for which ppoll
// is as fast as epoll and needs no second descriptor for a time with nanoseconds;
// a wait of whole milliseconds, as in epoll_wait, would be 2 % of the shortest
// interval. Sockets are read with recvmsg as long as there is something, but 64
// packets at most before deadlines are looked at: a flood delays packets of ours by
// microseconds and can't stop them. Sockets are read before deadlines count:
// after a pause of the whole process what has arrived meanwhile saves its session.
//
// Nothing is allocated for a packet in either direction nor for a deadline, so
// there is nothing to collect; collection is the process's to set (see
// [Tune]). The loop never waits for a lock: a new set is handed to it in an
// atomic pointer, and what it publishes it publishes under a lock that it only
// tries to take; when a reader has it, the next try follows within a
// millisecond.
//
// # Goroutines
//
// Run is one goroutine, the loop, and a second one that writes the state. All
// other methods may be called from any.
//
// # How it fails
//
// An error of a socket is the trouble of its sessions and never ends the loop.
// Run ends with an error only if it can't make what it waits on.
//
// # How it is tested
//
// In network namespaces: against itself, BIRD 2 and FRR's bfdd, both families,
// with changes at run time, shuts on either side, asymmetric intervals, cut links
// and stopped peers; under BIRD's BGP, which must survive a restart; with forged packets of every kind; with interfaces that go
// and come back. That packets allocate nothing is measured on real sockets.
package udp
