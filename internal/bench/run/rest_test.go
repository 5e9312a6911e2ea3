package run

import (
	"testing"
	"time"
)

// TestRest: the time is that since which the sample was right and nothing was done, told
// when that has lasted for a while.
func TestRest(t *testing.T) {
	const step = 20 * time.Millisecond
	begin := time.Unix(1000, 0)
	for _, c := range []struct {
		what        string
		busy, right int // until, respectively from, which step
		told        int
		since       time.Duration
	}{
		{"right, and at rest since before", 0, 7, 7, 7 * step},
		{"right at once, and busy for a while", 10, 0, 13, 8 * step},
		{"right when it came to rest", 10, 10, 13, 10 * step},
		{"never at rest", 1 << 20, 5, 255, 5 * step},
	} {
		var r rest
		var cpu time.Duration
		for i := 0; ; i++ {
			at := begin.Add(time.Duration(i) * step)
			if i < c.busy {
				cpu += step
			}
			r.mark(at, cpu)
			if i < c.right {
				r.wrong()
				continue
			}
			since, rests := r.since(at)
			if !rests && i <= c.told {
				continue
			}
			if i != c.told || since.Sub(begin) != c.since {
				t.Errorf("%s: told in step %d of %v, want step %d and %v", c.what, i, since.Sub(begin), c.told, c.since)
			}
			break
		}
	}
}
