package run

import "time"

const (
	// restWindow is for how long a contender that rests uses next to no CPU time, which
	// is counted in ticks of 10 ms.
	restWindow = 100 * time.Millisecond
	restUse    = 2 * time.Second / ticks
	// restless is how long is waited for that at most.
	restless = 5 * time.Second
)

// rest tells since when a contender has been done, as far as a sample and its use of the
// CPU tell. The whole table is read only then: while the kernel hands out a large table
// of IPv6 it begins anew after each change, with the table locked, and who writes
// waits for that for minutes.
type rest struct {
	marks []usedAt
	right time.Time // since when the sample has been right
}

type usedAt struct {
	at  time.Time
	cpu time.Duration
}

// mark notes what has been used until now.
func (r *rest) mark(at time.Time, cpu time.Duration) {
	for len(r.marks) > 1 && at.Sub(r.marks[1].at) >= restWindow {
		r.marks = r.marks[1:]
	}
	r.marks = append(r.marks, usedAt{at, cpu})
}

// wrong notes that the sample is.
func (r *rest) wrong() { r.right = time.Time{} }

// since gives the time since which it has been right, and no work was done.
func (r *rest) since(at time.Time) (time.Time, bool) {
	if r.right.IsZero() {
		r.right = at
	}
	first, last := r.marks[0], r.marks[len(r.marks)-1]
	quiet := last.at.Sub(first.at) >= restWindow && last.cpu-first.cpu <= restUse
	switch {
	case quiet && first.at.After(r.right):
		return first.at, true
	case quiet:
		return r.right, true
	}
	return r.right, at.Sub(r.right) >= restless
}
