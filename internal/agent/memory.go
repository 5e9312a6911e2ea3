package agent

import (
	"os"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
)

// Most of the agent's heap are tables of routes: words without pointers, which the
// collector neither follows nor moves. To let garbage grow to the size of these, as
// GOGC=100 does, would double the memory of a host with millions of routes and save
// next to no time. So garbage may grow by a part of the heap, and by some megabytes
// where that is little.
const (
	leastGarbage = 12 << 20
	garbagePart  = 16 // of the live heap, one part in so many
)

// gcPercent gives the value of GOGC for a live heap.
func gcPercent(live uint64) int {
	const most = 400 // of a heap of nothing
	if live < leastGarbage*100/most {
		return most
	}
	garbage := max(leastGarbage, live/garbagePart)
	return int(min(garbage*100/live, most))
}

// boundGarbage keeps the collector's goal by that rule, collection by collection,
// until the process ends. Who set GOGC or GOMEMLIMIT has a rule of their own.
func boundGarbage() {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if os.Getenv(name) != "" {
			return
		}
	}
	percent := gcPercent(liveHeap())
	debug.SetGCPercent(percent)
	afterCollection(percent)
}

// sentinel is garbage that tells of a collection. It has a pointer, or it would
// share its place with others.
type sentinel struct{ _ *int }

// afterCollection sets the goal again after the next collection, and so on.
func afterCollection(set int) {
	runtime.AddCleanup(&sentinel{}, func(set int) {
		if want := gcPercent(liveHeap()); want < set-set/8 || want > set+set/8 {
			debug.SetGCPercent(want)
			set = want
		}
		afterCollection(set)
	}, set)
}

// liveHeap is what the last collection found to be in use.
func liveHeap() uint64 {
	sample := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(sample)
	return sample[0].Value.Uint64()
}
