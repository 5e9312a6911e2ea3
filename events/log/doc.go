// Package log keeps the events of package events in NATS JetStream: it stores
// them so that the rules of package projector hold, delivers to every
// hypervisor what concerns it, and reads history back.
//
// # What is stored
//
// One stream, the ledger, holds everything for ever; package migrations has
// its layout. An event is stored as one atomic batch (NATS ADR-50) of the
// messages that projector.Decide names: the registers that it writes, its own
// first; the feed messages of the guests that it changes, one for every
// hypervisor concerned; a tick for each of those hypervisors; and a tick for
// all, hr.net, if it changes a network. Messages of one batch are neighbours
// in the ledger, so the sequence of an event is that of any of its messages
// minus the message's hr-offset.
//
// The headers are the CloudEvents 1.0 attributes in binary mode, the same on
// every message of the event:
//
//	ce-id, ce-type, ce-time (RFC 3339, UTC), ce-source (if given)
//	ce-specversion   1.0
//	ce-dataversion   version of the type's schema, see package migrations
//	hr-offset        how many messages back the first of the batch is
//
// The body is JSON:
//
//	{"data":  the event's data, completed,
//	 "state": what the subject says from now on, null when it has ended,
//	 "prev":  {"seq": 7, "hash": "…"} registers and ticks: the message before
//	          it on its subject; seq 0 and no hash: there is none,
//	 "feed":  [{"vm": "web-1", "hash": "…"}] ticks: the feed messages of this
//	          batch that the hypervisor must have}
//
// # The hash of a message
//
// SHA-256, in lower-case hexadecimal, over the following. A number is 8 bytes,
// big-endian; a text is its length in bytes as a number, then the bytes.
//
//	text    the subject
//	number  how many header values follow
//	        for each header whose name begins with "ce-" or is "hr-offset",
//	        in the order of the names' bytes, and for each of its values in
//	        the order of the message:
//	text      the name
//	text      the value
//	text    the body, as it is stored
//
// Headers that JetStream adds or needs (Nats-…) aren't covered. An auditor who
// reads the ledger recomputes all of it; a register's chain shows a message
// that was lost or altered in the store, which JetStream itself doesn't.
//
// # Why no two owners
//
// Registers and ticks carry Nats-Expected-Last-Subject-Sequence on their own
// literal subject: whoever decided on an older value is refused and decides
// again. What a decision read and doesn't write is guarded too: by the tick of
// a hypervisor that the batch writes anyway; by expectations for another
// subject on feed messages, which have none of their own; and where that isn't
// enough (a network may end only while no guest is in it) by the expectation
// that nothing at all was written. So whatever is accepted, replay accepts.
//
// NATS can't force a publisher to send expectations. Who writes to the ledger
// past this package can break any of this, and must not have the right to.
//
// Nor can it force an asker to name an inbox for the answer. The [Service], which
// may write to the ledger, therefore answers to subjects under _INBOX only. Who
// may do what is in internal/access; a test tries it against a server.
//
// # Reading registers
//
// The ledger's leader is asked, never a replica: the stream doesn't allow
// direct reads. With them its filtered mirror would answer questions about
// registers, of which it has none (see package migrations).
//
// # Delivery
//
// The ledger republishes each message under hrlive instead of hr, at most
// once. A [Follower] subscribes to its own feed and ticks and to hr.net. It
// applies a command when its tick arrives and everything that the tick covers
// is there, so that a command is seen whole or not at all. A tick that doesn't
// follow the last one, or covers what isn't there, shows a gap: the follower
// asks the log [Service] for a snapshot, and does so after every reconnection
// too. At intervals it asks whether its last ticks are the last. Without a
// connection it serves on from what it knows.
//
// A snapshot has the tick, the newest message of every guest of the
// hypervisor, from the mirror once that has the tick, and the networks. It is of
// one moment: what is written while it is read is read again. It is
// checked for count and hash before any of it is used; only then a guest that
// it doesn't have is forgotten. Sequences of another ledger mean nothing: where
// [Ledger.Identity] differs the follower starts over, and also where the ledger
// has another message at the place of the follower's last ticks, as after a
// restore from a backup. A ledger that is only behind changes nothing, nor does
// another one in which the hypervisor isn't registered: a log that was lost and
// made anew must not withdraw everything.
//
// A ledger can lose its end, by a power failure or a file put back, and its
// mirror not. Then snapshots are read from the ledger, which takes longer: the
// mirror remembers what is no more, and hears of nothing new until the ledger is
// as long again. Before it is, the mirror of an embedded server is made anew.
//
// # Effects
//
// Whether an event has had its effect nobody can read in the log. The service
// computes from it what the event is to bring about ([Ledger.Effect]); each agent is
// asked on a subject of its own and answers when it has it ([EffectWitness]), in an
// inbox where only it may write. The asker ([Client.Await]) asks again whom it
// doesn't hear from, so that nothing has to survive a restart.
//
// # Damaged messages
//
// A message that can't be read, be it damage, a type or version of a newer
// release or rubbish, is quarantined for the entity that it is about, which
// keeps its last readable value; for publishers, snapshots, followers and
// replay alike. Everyone else goes on. Chains run over it, since a hash needs
// no understanding. A follower's quarantine of an entity ends with the next
// message of it that can be read, which says all there is to know; replay keeps
// its own, since an event that changed nothing stays one.
//
// A message can be read if it says what its event can have led to: a network is
// what its event defines, and ends, like a guest or an address, only by an event
// that ends it. A follower takes no network away that its guests are in.
//
// # Older versions
//
// An event of an older version of its type's schema is read through the
// up-casters of package migrations, its data and its state, and never written
// anew. What is written is of the newest version.
//
// # Layouts
//
// [Open] serves a log with any layout that package migrations ever had. A
// [Migrator] brings one up to date, stream by stream; what is applied, the
// streams tell.
//
// # Retrying
//
// The id makes an event unique within the history of the register that it is
// about, without a time limit. A batch whose answer got lost is sent again as
// it is: its expectations can be met only once. If they aren't, the id is
// looked up to learn whose batch met them.
//
// # Goroutines and failures
//
// [Server.Run], [Service.Run] and [Follower.Run] work until their context ends
// and return nil then. A Service has a goroutine for each request it works on,
// bounded, and finishes them before it returns. A Follower is one goroutine;
// State and Status may be called from any. A [Ledger] starts none of its own.
// Run of a Follower fails only if its connection is closed for good.
//
// # Tests
//
// Everything runs against an embedded server with files: races of publishers
// and their guards (and a control without guards), lost answers, each live
// message lost in turn, restarts of the server, rubbish on every kind of
// subject, and random histories whose followers must want what a replay wants,
// byte for byte. The decoder is fuzzed, and a hundred thousand altered messages
// are given to followers. A log of version 1 is read, verified and gone on with;
// migrations are ended between any two steps.
//
// # Known limits
//
// A stream without replicas takes about 200 batches a second, fewer with every
// one forced to disk. In a cluster, publishers that are guarded by the same
// network exclude each other for the moment of their commit. The register of a
// VRF must fit into one message: some 20,000 networks.
package log
