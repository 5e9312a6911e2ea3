package receive

import (
	"sync/atomic"
	"time"
)

// lineInterval is how long after one line in the log there is no other.
const lineInterval = time.Minute

// Seldom lets one line a minute into the log of what a guest can make happen at
// will. The zero value lets the first one pass; it may be used by several goroutines.
type Seldom struct{ last atomic.Int64 }

// Pass tells whether a line may be written now. A clock that was set back
// doesn't make it wait.
func (s *Seldom) Pass(now time.Time) bool {
	last := s.last.Load()
	passed := now.UnixNano() - last
	if last != 0 && passed >= 0 && passed < int64(lineInterval) {
		return false
	}
	return s.last.CompareAndSwap(last, now.UnixNano())
}
