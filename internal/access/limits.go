package access

import "time"

// Limits are the settings that every server of the log has, embedded ones too.
type Limits struct {
	// Payload bounds a message, in bytes: events of any sensible size fit, and
	// nobody can make the server hold more.
	Payload int32
	// WriteDeadline is how long one client may hold up a server that has
	// something for it.
	WriteDeadline time.Duration
	// BatchesPerStream and Batches bound the atomic batches that were begun and
	// not ended: one a publisher at a time. A server without them allows 50 a
	// stream, fewer than the log service works on at once.
	BatchesPerStream int
	Batches          int
}

// DefaultLimits are those limits.
func DefaultLimits() Limits {
	return Limits{Payload: 1 << 20, WriteDeadline: 10 * time.Second, BatchesPerStream: 1000, Batches: 5000}
}
