package bgp

import "testing"

func TestAPreferenceTellsMovesAndDrain(t *testing.T) {
	for _, moves := range []uint32{0, 1, 2, 7, mostMoves} {
		for _, drained := range []bool{false, true} {
			for _, lowered := range []uint32{0, 1} { // over an uplink with losses
				p := Preference(moves, drained) - lowered
				if Generation(p) != moves || Drained(p) != drained {
					t.Errorf("%d moves, drained %v, lowered by %d: %d says %d moves, drained %v", moves, drained, lowered, p, Generation(p), Drained(p))
				}
			}
		}
	}
	if Generation(Preference(mostMoves+1, false)) != mostMoves {
		t.Errorf("a prefix moved more often than can be said is not that of the most moves")
	}
}
