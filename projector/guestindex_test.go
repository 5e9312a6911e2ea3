package projector

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestGuestsAreWhatTheRegistersSay asks in between, of States and clones, so that what
// is kept of an answer must be kept up to date, and apart.
func TestGuestsAreWhatTheRegistersSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		states := []*State{New()}
		for _, p := range drawHistory(t) {
			s := states[rapid.IntRange(0, len(states)-1).Draw(t, "state")]
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				states = append(states, s.Clone())
			case 1:
				s.Forget("hr.vm." + rapid.SampledFrom(worldVMs).Draw(t, "vm"))
			case 2:
				s.Guests()
			default:
				s.Fold(p.Record)
			}
		}
		for i, s := range states {
			if got, want := s.Guests(), existing[*Guest](s, guestPrefix); !slices.Equal(got, want) {
				t.Fatalf("state %d of %d has %v, and its registers %v", i, len(states), got, want)
			}
		}
	})
}
