// Package bgp decides what a hypervisor believes of what its route reflectors
// tell it. It is pure: it opens no socket, starts no goroutine and reads no
// clock. Package session feeds it.
//
// # What it holds
//
// A [Decoder] turns the body of an UPDATE (RFC 4271 section 4.3, RFC 4760, RFC
// 7911) into an [Update] without allocating, and sorts errors as RFC 7606 wants
// them sorted: an attribute is discarded, the routes of the message are treated
// as withdrawn, or, where the bytes can no longer be framed, a [MessageError]
// ends the session.
//
// A [RIB] holds every path of a VRF: one open-addressing table per family, with
// a row per prefix and a cell per session in it. Rows are plain words, so that
// millions of prefixes give the garbage collector nothing to follow; attributes
// and sets of next hops are interned with reference counts. A prefix with
// several paths from one session (add-path) has them in a side list. Rows get
// room for path identifiers when the first of them arrives.
//
// # What it guarantees
//
// The routes that come out depend on the paths that are in, never on the order
// in which they came. Best are: paths that are not stale for long, here or, by
// LLGR_STALE, where they come from (RFC 9494); the highest LOCAL_PREF; those of no
// session whose peer may be restarting, which is no worse a path (RFC 4724 section
// 4.2) but one to do without where another is as good; the shortest AS_PATH, the
// lowest ORIGIN, the lowest MED (compared between any two paths: the reflectors of
// a VRF speak for one AS). All paths
// that are equal up to here are used at once; the tie-breakers of RFC 4271
// section 9.1.2.2 that pick one of them are left out on purpose. The same
// gateway on the same uplink, told by two reflectors, is one next hop.
//
// A path that has been through us (ORIGINATOR_ID, our AS in AS_PATH), whose
// next hop is an address of ours or no unicast address, or which would send
// IPv6 over an IPv4 gateway is not used.
//
// # How changes come out
//
// An update marks its rows as changed and does nothing else, which keeps
// receiving cheap. [RIB.AppendChanges] decides the marked rows, a batch at a
// time, so that what changes ten times before anybody looks is written once,
// and memory stays bounded however slow the writer is. What a message of few routes
// changed is decided before what else waits (lane.go). [RIB.Redo] takes back
// what could not be written; it stays on record until [RIB.Retry] offers it
// again. Work on all paths of a session ([RIB.Drop], [RIB.MarkStale],
// [RIB.MarkLongLived], [RIB.Sweep]) is a [Walk] of short steps, between which
// others get their turn.
//
// While several sessions are [RIB.Telling] their tables, a prefix that was never
// decided waits until all of them have told it, or [RIB.Told] says that they won't.
// What a message of few prefixes changes is decided before all else that waits.
//
// The few prefixes that the agent has an interest in of its own are watched:
// [RIB.Noticed] tells that a path of one of them changed, [RIB.Handed] which of
// them were decided.
//
// # Not safe for concurrent use
//
// A RIB is one lock's worth of state: package session holds a mutex around it.
// A Decoder and the Update it returned belong to one session.
//
// # How it is tested
//
// Any order of announcements, withdrawals, session losses and restarts must
// equal a reference of a few lines (property tests); the decoder is fuzzed into
// a RIB; every case of RFC 7606 section 7 has a row in a table of messages.
package bgp
