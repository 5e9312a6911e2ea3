// Package handover decides what a hypervisor does about prefixes that leave it,
// arrive at it, or are claimed by somebody else too: what it goes on announcing,
// which routes to taps it takes away, what it drops without a word meanwhile, and
// which guests it takes for arrived before the log says so.
//
// It is pure: time is an argument, and the log, the learned paths and the taps are
// what the caller says they are. A [Machine] remembers only what this run of the
// agent has seen; see its methods for the rules.
//
// # What it guarantees
//
// Newer is who has moved a prefix more often: the generation of its preference
// ([bgp.Generation]), so that neither a drain nor a plane that loses packets looks
// like a move.
//
//   - A prefix that has left is not delivered any more from the moment on at which
//     the log says so, or a newer home is heard of: its route goes, and a blackhole
//     stands below what is learned. So no guest that is on its way gets an ICMP
//     error, and the route to the new home takes over when BGP brings it.
//   - What was announced stays announced until the kernel has the path to the new
//     home: others never see a withdrawal before the new path, and what still comes
//     here is forwarded (make before break). That has an end, and a run of the agent
//     announces only what it announced before.
//   - Whoever announces a prefix with a newer generation has it, whatever the log
//     said to us so far. Only a log that we are in sync with and that goes on saying
//     otherwise for [Patience] overrules that, and the conflict is told. While the
//     guest is being moved away, and was heard at its destination, the event is what
//     is late, and nothing is overruled.
//   - A learned path that isn't newer than what this host itself had is not followed:
//     it leads to where the prefix was before, and from there back here.
//   - Anycast prefixes have several homes at once, of which none is newer.
//
// # How it fails
//
// A new home that announces nothing costs what comes for it [Longest] of silence
// here, and an unreachable after that. What a reflector keeps of an agent that was
// restarted without the log may be the path of a home of before, and be followed
// until that agent speaks: packets for a guest that has moved twice meanwhile may
// then go in circles for so long. A log that is out of reach leaves what was
// heard over BGP as the last word.
//
// # How it is tested
//
// By tables in virtual time, and by histories drawn at random for several hosts
// with their own view of the log, a reflector between them, and delays of all:
// moves, aborts, arrivals, outages of the log and restarts in any order must end
// with the home alone announcing and delivering, and on the way nobody delivers who
// could know better, no two hosts send to each other for longer than BGP takes, and
// somebody always announces.
package handover
