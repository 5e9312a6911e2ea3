package projector

import (
	"math"

	"github.com/hostroute/hostroute/events"
)

// MovesOf is how often a prefix that the guest holds has come to a new home: with
// the guest, from another guest, or given anew after it was released. Over the
// whole log it only grows for a prefix of a VRF, and so tells a newer home from
// an older one without a word between them. Anycast prefixes have several homes
// and no moves.
func (g *Guest) MovesOf(a Address) uint32 {
	if a.Role == events.RoleAnycast {
		return 0
	}
	return plus(g.Moves, a.Moves)
}

// outmove gives what a prefix that had so many moves has beside the guest's own,
// to have more than before, and what its claim has to remember: that is where
// it is where the prefix itself has none.
func (g *Guest) outmove(role events.Role, before uint32) (address, claim uint32) {
	if role == events.RoleAnycast {
		return 0, before
	}
	if more := plus(before, 1); more > g.Moves {
		return more - g.Moves, 0
	}
	return 0, 0
}

// plus adds, and stays at the most rather than beginning anew.
func plus(a, b uint32) uint32 {
	if a > math.MaxUint32-b {
		return math.MaxUint32
	}
	return a + b
}
