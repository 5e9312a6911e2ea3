// Package projector computes what must be where from what happened: the fold
// of the event log into a [State], and the [Desired] state of one hypervisor.
//
// # Registers
//
// A State is a set of registers, each under the subject that it has in the
// log: guests, networks, the networks of a VRF, hypervisors, owners of
// prefixes. A register carries the sequence of the event that wrote it last.
//
// [State.Apply] takes one event. It either changes every register that the
// event concerns or, with an [*events.Error], none: the same code that refuses
// an impossible event when it is published quarantines one that is in the log
// all the same. An event whose own register is as new or newer is a duplicate
// and changes nothing, so events of independent things may arrive in any order
// and any number of times. There is no clock, no I/O and no dependence on the
// order of a map in here.
//
// # The three users
//
//   - The log service publishes with [Decide]: it computes from the registers
//     that it read the messages of the one atomic batch. It works on a partial
//     State; what it must read first comes back as a [*MissingError].
//   - Replay and audit fold the whole log with [State.Fold].
//   - An agent puts the registers it is sent with [State.Put]; newer wins.
//
// All three end in the same [Desired], which a test holds them to.
//
// # Moves
//
// Two hypervisors may announce one prefix for a while: its home, and an older
// one that hasn't heard. [Guest.MovesOf] orders them. A guest counts its homes; an
// address has what it needs beside that to have moved more often than with
// whoever held it before, and what is left of a claim remembers it. Where nothing
// moved, registers have no word of it. Prefixes that a guest took along are
// departures of its last home, and of no home before that. A guest that was seen
// where it is only expected can be treated as moved, by [DesiredWith]. Properties
// over drawn histories hold all of that.
//
// # What guests are told
//
// Desired also fills in what the guest behind each tap is told by DHCPv4, by
// router advertisements and by DHCPv6, and what it may send. All of it follows
// from the network and from what the guest holds on the interface: a guest is
// never told what it doesn't hold, which a test checks on drawn histories. A
// hypervisor that only expects a guest is ready to tell it the same.
//
// # Sequences
//
// The sequence of an event is that of the first message of its batch, which
// isn't known before it is stored. A zero in an epoch or a since therefore
// stands for "this very event" and is resolved when a register is decoded.
package projector
