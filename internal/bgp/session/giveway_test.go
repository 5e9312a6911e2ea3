package session

import (
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/hostroute/hostroute/internal/bgp"
)

// TestAWalkGivesWay: on a host with one CPU, others have their turn after each part of a
// walk through the table, and don't wait for the ten milliseconds after which the runtime
// would take the CPU away.
func TestAWalkGivesWay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	r := newRIB("public", []*peer{{}}, slog.New(slog.DiscardHandler))
	r.steps, r.watcher = &toldSteps{}, func() {}
	var turns atomic.Int64
	var walked atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !walked.Load() {
			turns.Add(1)
			runtime.Gosched()
		}
	}()
	parts := 0
	r.walk(func(b *bgp.RIB) *bgp.Walk {
		for w := b.Drop(0); w.Step(); { // a table without routes has as many
			parts++
		}
		return b.Drop(0)
	})
	walked.Store(true)
	<-ended
	if parts < 2 || turns.Load() < int64(parts) {
		t.Errorf("another goroutine had %d turns during a walk of %d parts", turns.Load(), parts+1)
	}
}
