package migrations

// second makes the stream of signed checkpoints, so that everybody who may read
// the log sees what auditors have signed. It adds a stream and alters none: what
// runs with the layout before goes on.
func second() Migration {
	return Migration{Number: 2, Name: "checkpoints", Streams: []Stream{
		{
			Name:         Checkpoints,
			Description:  "hostroute: signed checkpoints of the ledger",
			Subjects:     []string{"hr-checkpoint"},
			MaxConsumers: 1_000,
			DenyDelete:   true,
			DenyPurge:    true,
		},
	}}
}
