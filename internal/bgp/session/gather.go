package session

import (
	"time"

	"github.com/hostroute/hostroute/internal/bgp"
)

// How long a session that has begun to tell its table may rest before nothing waits
// for it any more, how long it may take in all, and how often that is looked at. A
// reflector with many clients may need hours for its table; it isn't waited for.
const (
	longestRest   = 300 * time.Millisecond
	longestGather = 5 * time.Second
	lookAtRests   = 50 * time.Millisecond
)

// tells says that a session begins to tell.
func (r *rib) tells(source int, neg *negotiated) {
	r.view(func(b *bgp.RIB) {
		r.heard[source] = time.Now()
		r.telling[source] = r.heard[source]
		for _, f := range bgp.Families {
			if neg.families[f] {
				b.Telling(source, f)
			}
		}
	})
}

// told says that a session has told all of a family, or can't go on.
func (r *rib) told(source int, f bgp.Family) {
	r.walk(func(b *bgp.RIB) *bgp.Walk { return b.Told(source, f) })
}

// rested ends the waiting for sessions that rest, and tells whether there is any
// left.
func (r *rib) rested() (waiting bool) {
	var resting []int
	r.view(func(b *bgp.RIB) {
		if waiting = b.Gathering(); !waiting {
			return
		}
		now := time.Now()
		for source, at := range r.heard {
			if now.Sub(at) > longestRest || now.Sub(r.telling[source]) > longestGather {
				resting = append(resting, source)
			}
		}
	})
	for _, source := range resting {
		for _, f := range bgp.Families {
			r.told(source, f)
		}
	}
	return waiting
}
