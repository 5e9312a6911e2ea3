package session

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostroute/hostroute/internal/bgp"
)

// TestNothingWaitsForLongForSessionsThatTell has one of two sessions tell on and on:
// a reflector with many clients may need hours for all.
func TestNothingWaitsForLongForSessionsThatTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peers := []*peer{{}, {}}
		r := newRIB("public", peers, slog.New(slog.DiscardHandler))
		r.watcher, r.steps = func() {}, untold{}
		both := &negotiated{families: [2]bool{true, true}}
		r.tells(0, both)
		r.tells(1, both)
		began := time.Now()
		for r.rested() {
			if time.Since(began) > longestGather+lookAtRests {
				t.Fatalf("after %v something may still wait", time.Since(began))
			}
			time.Sleep(lookAtRests) // the bubble's
			for source := range peers {
				r.update(source, &bgp.Update{})
			}
		}
		if time.Since(began) < longestRest {
			t.Errorf("sessions that tell were given up after %v", time.Since(began))
		}
		r.tells(0, both)
		r.tells(1, both)
		time.Sleep(longestRest + lookAtRests)
		r.rested()
		if r.rested() {
			t.Error("something waits for sessions that rest")
		}
	})
}
