// Package session speaks BGP-4 (RFC 4271) with the route reflectors of a
// hypervisor: it announces what the agent says, and hands what it learns to
// the FIB.
//
// # What it guarantees
//
//   - [Speaker.Announce] takes the whole state; calling it again with the same
//     set sends nothing. Each session keeps what its peer was told and sends
//     the difference, packed, with the uplink's own addresses as next hops.
//   - A prefix whose next hops change several times before the FIB is ready for
//     it is written once. Nothing is queued: what waits is a mark in the RIB.
//   - While several sessions tell their tables, as at a start, a prefix that was never
//     written waits for those that have not told it: until their End-of-RIB, until
//     they rest for 300 ms, and for 5 s at most.
//   - Who watches a prefix ([Speaker.Watch]) is woken when a path of it changes,
//     and when the FIB has taken what came of that.
//   - What the FIB refuses is offered again until it takes it, and holds up no
//     other route.
//   - No End-of-RIB is sent before the first Announce, so that peers which keep
//     the routes of a previous run for us (RFC 4724) never drop them early.
//   - A Speaker that was restarted writes nothing of a VRF before every session
//     of it has told its routes, or a few seconds have passed: until then the
//     routes of the previous run serve.
//   - A malformed message costs what RFC 7606 says and never more than its
//     session; a panic in the codec counts as one.
//   - Only packets from the link are taken (GTSM, RFC 5082), through the uplink
//     that the socket is bound to, with MD5 signatures if there is a password.
//
// # What it speaks
//
// IPv4 and IPv6 unicast on one session over either family (RFC 4760), AS
// numbers of four octets (RFC 6793), route refresh both ways (RFC 2918),
// add-path towards us (RFC 7911), IPv4 through IPv6 next hops (RFC 8950),
// graceful restart on both sides (RFC 4724) with notifications (RFC 8538) and
// for long (RFC 9494), shutdown messages read (RFC 9003), iBGP and eBGP. It only
// dials: a route reflector is configured to be passive, or loses the race for
// the connection. Not spoken: enhanced refresh (RFC 7313), extended messages
// (RFC 8654), TCP-AO.
//
// # Goroutines
//
// Each session has one that dials, reads and applies, one that ends in time
// what is kept of a connection that fell, and while it is established a third
// one that writes; each VRF has one that writes to the FIB. Sessions of a VRF
// share its RIB under a mutex that is held for one message or one batch. When a session falls its paths are walked over in
// steps, so that others wait for one step at most.
//
// A message is applied before the next one is read, and marking a row never
// waits for the FIB: a slow kernel delays no KEEPALIVE, and a peer that sends
// faster than we apply is held back by TCP.
//
// # How it fails
//
// A session that falls is dialled again after a short, jittered pause, for
// ever; [PeerStatus] has the reason in words, what is kept, and until when. What
// becomes of its paths depends on how it fell:
//
//	how                                      its paths
//	connection lost                          kept over a restart, then for long
//	NOTIFICATION, both sides do RFC 8538     the same
//	silent for a hold time, without it       kept for long, at once
//	dead, by PeerDown or by the peer's BFD   the same
//	NOTIFICATION otherwise, hard reset       gone
//	no carrier on the uplink                 gone
//
// "Over a restart" is for as long as the peer asked for in its graceful restart
// capability, "for long" for what it asked for in the long-lived one, at most
// LongLivedStaleTime; without the capability that part is left out. Kept paths
// are used where nothing better is left: those of a restart where no other has
// the same preference, and those kept for long last, whatever their preference. So a plane of which BFD says
// that it is dead carries nothing from that moment on wherever another plane has
// a path, even one kept over a restart, and where none has it is still tried:
// BFD on a starved host is wrong about all planes at once, and then nothing is
// lost. The same holds when all reflectors are gone. With the peer back, each
// path that is told again counts at once; the others go with the End-of-RIB,
// with StaleTime, or with their own time if that is over first, which no further
// fall starts anew.
//
// A peer that lost its forwarding state (no F bit) loses the paths that lead
// through itself at once. What it reflects leads through others, and is kept to
// its End-of-RIB and, since a reflector that began from nothing ends its RIB
// before its other clients are back, a Deferral longer: docs/adr/0009.
//
// The end of Run is a restart: nothing is said, and peers keep our routes. It
// leaves the FIB as it is. [Speaker.Leave] is the other end.
//
// # How it is tested
//
// Against BIRD 2, FRR and GoBGP in network namespaces of their own, and
// against a scripted peer that sends what no good peer would; any bytes as a
// stream of messages and as an OPEN (fuzzing); announcements from any set to
// any other (property); the times of what is kept in virtual time, and with BIRD
// and FRR stopped, killed, and left alone for longer than a restart. The tests
// need root, and fail for lack of it where CI=true. GoBGP is built from a module of its own in testdata.
//
// # Known limits
//
// MED is compared between all paths, and eBGP paths are not preferred to iBGP
// ones: the peers of a VRF are meant to be of one kind. AS4_PATH of a peer
// without four-octet numbers is ignored.
package session
