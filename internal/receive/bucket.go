package receive

import "time"

// Rate is how many packets a second a guest may have handled, and how many at
// once after a silence.
type Rate struct {
	PerSecond int
	Burst     int
}

// bucket is a token bucket. Time is an argument.
type bucket struct {
	rate   Rate
	tokens float64
	last   time.Time
}

func newBucket(r Rate, now time.Time) *bucket {
	return &bucket{rate: r, tokens: float64(r.Burst), last: now}
}

// take spends a token, or tells how long it is until there is one.
func (b *bucket) take(now time.Time) (wait time.Duration) {
	if passed := now.Sub(b.last); passed > 0 {
		b.tokens = min(float64(b.rate.Burst), b.tokens+passed.Seconds()*float64(b.rate.PerSecond))
		b.last = now
	}
	if b.tokens >= 1 {
		b.tokens--
		return 0
	}
	return time.Duration((1 - b.tokens) / float64(b.rate.PerSecond) * float64(time.Second))
}
