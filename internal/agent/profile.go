package agent

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"runtime"
	"strconv"
	"sync"
)

// Paths of profiles on the socket, for root and the agent's own user: what they tell
// of a process is more than its group is to know, and they cost CPU time. They are
// those of net/http/pprof.
const (
	PathProfile = "/debug/pprof/" // and a name: of runtime/pprof, "profile" or "trace"; query: seconds, debug
	PathRecent  = "/debug/recent" // what the flight recorder has, a trace
)

// LongestProfile is how many seconds a profile may take.
const LongestProfile = 600

// How much of contention is noted while somebody asks for it: one event in so many,
// respectively one for each so many nanoseconds that somebody waited.
const (
	mutexFraction = 20
	blockRate     = 100_000
)

// profiles are the answers to questions about this process.
func profiles(f *flightRecorder) map[string]http.Handler {
	handlers := map[string]http.Handler{
		PathProfile + "profile": http.HandlerFunc(pprof.Profile),
		PathProfile + "trace":   http.HandlerFunc(pprof.Trace),
		PathProfile + "mutex":   noting(new(sync.Mutex), "mutex", func() { runtime.SetMutexProfileFraction(mutexFraction) }, func() { runtime.SetMutexProfileFraction(0) }),
		PathProfile + "block":   noting(new(sync.Mutex), "block", func() { runtime.SetBlockProfileRate(blockRate) }, func() { runtime.SetBlockProfileRate(0) }),
		PathRecent:              http.HandlerFunc(f.serve),
	}
	for _, name := range []string{"heap", "allocs", "goroutine", "threadcreate"} {
		handlers[PathProfile+name] = pprof.Handler(name)
	}
	for path, h := range handlers {
		handlers[path] = bounded(h)
	}
	return handlers
}

// bounded refuses what would take too long, rather than go on for hours.
func bounded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if text := r.URL.Query().Get("seconds"); text != "" {
			if n, err := strconv.Atoi(text); err != nil || n < 1 || n > LongestProfile {
				http.Error(w, fmt.Sprintf("seconds %q: want 1 to %d", text, LongestProfile), http.StatusBadRequest)
				return
			}
		}
		h.ServeHTTP(w, r)
	})
}

// noting has something noted while the profile of it is asked for, and at no other
// time, since that costs those who work.
func noting(one *sync.Mutex, name string, on, off func()) http.Handler {
	h := pprof.Handler(name)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !one.TryLock() {
			http.Error(w, "somebody else is asking for that", http.StatusConflict)
			return
		}
		defer one.Unlock()
		on()
		defer off()
		h.ServeHTTP(w, r)
	})
}

// serve answers with the last seconds.
func (f *flightRecorder) serve(w http.ResponseWriter, _ *http.Request) {
	if f == nil || !f.running.Load() {
		http.Error(w, errNotRecording.Error(), http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := f.copyTo(w); err != nil {
		f.log.Warn("answering with the last seconds", "err", err)
	}
}
