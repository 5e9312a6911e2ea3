package migrations

// first makes the ledger and the mirror that snapshots are read from.
//
// The ledger doesn't allow direct reads. A server has the mirrors of a stream
// that does answer such reads in its place, whatever their filter (nats-server
// 2.15: mirror_direct follows allow_direct and can't be turned off): half of
// the questions for a register would be answered "there is none" by the feeds.
// Without it, reads are answered by the leader, which is never behind.
//
// Subjects are written out, as in every migration: what servers have doesn't
// change with a constant of package events.
func first() Migration {
	return Migration{Number: 1, Name: "ledger", Streams: []Stream{
		{
			Name:         Ledger,
			Description:  "hostroute: the ledger, all history",
			Subjects:     []string{"hr.>"},
			Republish:    &Republish{From: "hr.>", To: Live + ".>"},
			Compression:  "s2",
			MaxConsumers: maxConsumers,
			AllowAtomic:  true,
			DenyDelete:   true,
			DenyPurge:    true,
		},
		{
			Name:              Feeds,
			Description:       "hostroute: the newest feed messages, a cache",
			Mirror:            &Mirror{Stream: Ledger, Filter: "hr.feed.>"},
			Compression:       "s2",
			MaxMsgsPerSubject: 2,
			MaxConsumers:      maxConsumers,
			AllowDirect:       true,
		},
	}}
}
