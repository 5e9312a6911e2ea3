// Package arrival tells that a guest runs here now, by a frame of its own.
//
// The destination of a live migration is told by an event when the guest has
// come. The guest is faster: whoever resumes it has its neighbours told at once,
// so that a switched network learns its new port. Here nobody needs to learn
// that, but the frame says when. So a tap that is prepared for a guest is
// watched for it, and the agent acts on it as on the event, which must follow.
//
// # What is a sign
//
// Every untagged frame from the guest's hardware address that came in over its
// prepared tap. [Sign] names the announcements among them, for whoever reads the
// log: gratuitous ARP, RARP as QEMU sends it, an unsolicited neighbour
// advertisement. That any other frame will do as well, a TCP segment for
// instance, is because of what a tap carries before its guest runs, which is
// nothing:
//
//   - What comes in over a tap was written by the process that has it open, and
//     that is the guest's own: the destination's QEMU, which sends nothing while
//     its machine doesn't run.
//   - What goes out over it, to the guest, isn't looked at (packet type
//     PACKET_OUTGOING), from whatever address it claims to be. Where a tap is in
//     a bridge, by somebody's mistake, that is what the bridge floods, and among
//     it may be what the guest says at its old home.
//   - What the hypervisor sends itself goes out too, and has the address of the
//     tap; what the kernel loops back to itself (PACKET_LOOPBACK) is no
//     announcement of anybody.
//   - Guests on other taps aren't seen: the socket is bound to one device.
//
// A tagged frame is none, as for the other services of a tap: the filter drops
// what a guest tags, so it proves a guest that can't be served anyway.
//
// # How good a proof it is
//
// QEMU makes its announcement when it has all of the guest's state, and holds it
// back, as all that a machine sends, until the machine runs; so does what the
// guest's own driver announces. A destination that failed, or that its manager
// doesn't let run, is never heard. Others may behave otherwise, and who can lie is
// a process that has the tap open and isn't the guest's: one that was left on the
// host by a former guest of the same tap. A lie ends with the migration that was
// prepared, and one of which the log says nothing soon is reported; see package
// handover.
//
// The filter is no part of it. Packet sockets are served before it, so a tap is
// heard while its filter isn't ready or it is in no VRF yet. It has to be up: what
// is written to a tap that is down goes nowhere. Package vrf brings a prepared
// tap up like any other.
//
// The package is pure. It is tested by tables against frames of another
// implementation and by a fuzz test; its sub-package packet against a real QEMU.
package arrival
