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
// graceful restart on both sides (RFC 4724) with notifications (RFC 8538),
// shutdown messages read (RFC 9003), iBGP and eBGP. It only dials: a route
// reflector is configured to be passive, or loses the race for the connection.
// Not spoken: enhanced refresh (RFC 7313), extended messages (RFC 8654), TCP-AO,
// long-lived graceful restart.
//
// # Goroutines
//
// Each session has one that dials, reads and applies, and while it is
// established a second one that writes; each VRF has one that writes to the
// FIB. Sessions of a VRF share its RIB under a mutex that is held for one
// message or one batch. When a session falls its paths are walked over in
// steps, so that others wait for one step at most.
//
// A message is applied before the next one is read, and marking a row never
// waits for the FIB: a slow kernel delays no KEEPALIVE, and a peer that sends
// faster than we apply is held back by TCP.
//
// # How it fails
//
// A session that falls is dialled again after a short, jittered pause, for
// ever; [PeerStatus] has the reason in words. Its paths are gone at once,
// except where the peer may still be forwarding (graceful restart): then they
// are used as long as nothing better is left, for the time that the peer asked
// for. When the uplink lost its carrier they are gone in any case. The end of
// Run leaves the FIB as it is.
//
// # How it is tested
//
// Against BIRD 2, FRR and GoBGP in network namespaces of their own, and
// against a scripted peer that sends what no good peer would; any bytes as a
// stream of messages and as an OPEN (fuzzing); announcements from any set to
// any other (property). The tests need root, and fail for lack of it where
// CI=true. GoBGP is built from a module of its own in testdata.
//
// # Known limits
//
// MED is compared between all paths, and eBGP paths are not preferred to iBGP
// ones: the peers of a VRF are meant to be of one kind. AS4_PATH of a peer
// without four-octet numbers is ignored.
package session
