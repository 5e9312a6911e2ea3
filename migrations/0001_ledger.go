package migrations

import "github.com/hostroute/hostroute/events"

// first makes the ledger and the mirror that snapshots are read from.
func first() Migration {
	return Migration{Number: 1, Name: "ledger", Streams: []Stream{
		{
			Name:         Ledger,
			Description:  "hostroute: the ledger, all history",
			Subjects:     []string{events.SubjectAll},
			Republish:    &Republish{From: events.SubjectAll, To: Live + ".>"},
			Compression:  "s2",
			MaxConsumers: maxConsumers,
			AllowDirect:  true,
			AllowAtomic:  true,
			DenyDelete:   true,
			DenyPurge:    true,
		},
		{
			Name:              Feeds,
			Description:       "hostroute: the newest feed messages, a cache",
			Mirror:            &Mirror{Stream: Ledger, Filter: events.SubjectFeeds},
			Compression:       "s2",
			MaxMsgsPerSubject: 2,
			MaxConsumers:      maxConsumers,
			AllowDirect:       true,
		},
	}}
}
