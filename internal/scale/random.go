package scale

import (
	"math"
	"math/bits"
	"time"
)

// random is a generator of its own (SplitMix64): the same seed gives the same run
// on every machine and with every version of Go.
type random struct{ state uint64 }

func (r *random) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below draws from 0 to below n.
func (r *random) below(n int) int {
	high, _ := bits.Mul64(r.next(), uint64(max(n, 1))) //nolint:gosec // not negative
	return int(high)                                   //nolint:gosec // below n
}

// draw is a pace.Draw.
func (r *random) draw(n time.Duration) time.Duration { return time.Duration(r.below(int(n))) }

// exponential draws the time to the next of events that come at random.
func (r *random) exponential(mean time.Duration) time.Duration {
	u := float64(r.next()>>11+1) / (1 << 53) // above 0
	return time.Duration(-math.Log(u) * float64(mean))
}
