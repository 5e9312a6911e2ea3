// Package bfd decides everything about BFD (RFC 5880) on single hops (RFC
// 5881): what a packet says, what a session does with it, when it sends the
// next one, and to which session a packet belongs.
//
// # What it guarantees
//
//   - [Decode] lets through what section 6.8.6 lets through and nothing else;
//     the name of the check that refused a packet is a [Drop].
//   - A [Session] that is not up sends no more than a packet a second (slow
//     start, section 6.8.3). One that is up sends at the slower of what it may
//     send and what its peer wants, less jitter (section 6.8.7).
//   - Parameters change while a session is up without a loss: the new values
//     are announced in a Poll sequence, and those whose early use could make one
//     side time out wait for its Final (section 6.8.3). Further changes wait
//     until the one before is settled.
//   - AdminDown of the peer takes a session down and is no failure (RFC 5882
//     section 3.2): [Report].Failed tells both apart, so that nobody takes a
//     route away for it. A session that never was up hasn't failed either.
//   - A session can be resumed by another process with [Resume]. Until its peer
//     has said that it is up, its end is no failure either.
//   - A session that goes away says AdminDown and waits until its peer has
//     understood, for the peer's detection time at most.
//   - A change is told to the peer at once, ahead of the next packet (section
//     6.8.7), but in the long run once a second at most: two ends that answer
//     each other's changes with changes could go on for ever.
//   - The loss of the path from the peer is estimated from the gaps between its
//     packets, over a minute that the session is up; what held up or stopped this
//     end is not taken for loss, nor is a peer that sends too fast for a sound path
//     (see [Loss]).
//   - [Path] tells when a path that fell or loses packets may be used: with
//     hysteresis, damped, and never held for longer than [LongestHold].
//   - Nothing here allocates once a session exists.
//
// Demand mode and the echo function are not offered; a peer that asks for
// demand mode gets it (the periodic packets towards it cease while both are up,
// polls are answered), and one that offers echoes is told that we want none.
//
// # What it can't do
//
// There is no authentication (section 6.7): packets with it are refused. What
// protects a session is that its packets come from the link (TTL 255), from the
// peer's address and with our random discriminator in them. While a session is
// up, a packet without that discriminator counts only if it has the peer's
// own: this is stricter than section 6.3, and keeps whoever can send on the link
// but not read on it from taking a session down. A peer whose BFD was killed and
// started again is therefore noticed after the detection time and not with its
// first packet. Whoever can also read can forge: planes are for hypervisors and
// routers, and the filter of a tap keeps guests out of them.
//
// # Time and chance
//
// Time is an [Instant] that the caller passes in and that needs no relation to
// a clock on the wall; chance is a number that the caller passes in with each
// packet that may be sent. The same calls give the same packets.
//
// # How it is tested
//
// Tables for the checks and the transitions; pairs of sessions over a simulated
// link with random delays, losses, reordering and parameter changes (rapid); the
// codec by fuzzing, with gopacket's BFD layer as its oracle. The sub-package udp
// is tested against BIRD 2 and FRR.
package bfd
