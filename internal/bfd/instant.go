package bfd

import (
	"math"
	"time"
)

// Instant is a point in time: nanoseconds since an origin that the caller
// chooses and that never changes. It must not go back.
type Instant int64

// Never is later than everything.
const Never Instant = math.MaxInt64

// Add gives the instant that is d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub gives the time from another instant to this one.
func (i Instant) Sub(earlier Instant) time.Duration { return time.Duration(i - earlier) }
