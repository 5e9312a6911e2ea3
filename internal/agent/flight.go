package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/trace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hostroute/hostroute/internal/config"
)

// What the flight recorder may take. The window is what the runtime strives for; in
// a busy process flightBytes are less than that.
const (
	flightWindow = 5 * time.Second
	flightBytes  = 3 << 20
	// flightPause is the shortest time between two recordings.
	flightPause = time.Minute
	// flightTotal is how much all recordings take on disk at most, beside the newest.
	flightTotal = 64 << 20
)

// flightFolder is where recordings are, in the folder of the state.
const flightFolder = "flight"

const (
	flightPrefix = "late-"
	flightSuffix = ".trace"
)

// LateStep is a step that took longer than flight_recorder.late, with the recording of
// what the agent did meanwhile.
type LateStep struct {
	Step  string    `json:"step"`
	Took  float64   `json:"took"`  // seconds
	Bound float64   `json:"bound"` // that it was to take at most
	At    time.Time `json:"at"`    // when it was over
	// File is a trace for `go tool trace`; empty: Error says why there is none.
	File  string `json:"file,omitempty"`
	Error string `json:"error,omitempty"`
}

// tracer keeps the last seconds of the execution trace in memory.
type tracer interface {
	Start() error
	Stop()
	WriteTo(w io.Writer) (int64, error)
}

var _ tracer = (*trace.FlightRecorder)(nil)

// flightRecorder writes down what the agent did in the last seconds when a step was
// late. Who is late is never made later: it leaves word, and Run does the work.
type flightRecorder struct {
	bound  time.Duration // 0: nothing is late
	keep   int
	folder string
	tracer tracer
	log    *slog.Logger

	word       chan LateStep // capacity 1: of steps that are late at once the first
	recordings *prometheus.CounterVec
	running    atomic.Bool

	mu   sync.Mutex // while the trace is written: it can be by one at a time
	last atomic.Pointer[LateStep]
}

// newFlightRecorder is inert: Run starts recording.
func newFlightRecorder(c config.FlightRecorder, state string, log *slog.Logger) *flightRecorder {
	return &flightRecorder{
		bound: c.Late, keep: c.Keep, folder: filepath.Join(state, flightFolder), log: log, word: make(chan LateStep, 1),
		tracer: trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: flightWindow, MaxBytes: flightBytes}),
		recordings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hostroute_flight_recordings_total", Help: "Recordings of the last seconds that were made since a step was late, by result; `hostroute status` has the last one.",
		}, []string{"result"}),
	}
}

// late tells whether a step took too long, and has that recorded. It never waits.
func (f *flightRecorder) late(step string, took time.Duration) bool {
	if f == nil || f.bound == 0 || took <= f.bound {
		return false
	}
	select {
	case f.word <- LateStep{Step: step, Took: took.Seconds(), Bound: f.bound.Seconds(), At: time.Now()}:
	default:
	}
	return true
}

// lastLate is the last step that was recorded as late; nil: none was.
func (f *flightRecorder) lastLate() *LateStep {
	if f == nil {
		return nil
	}
	return f.last.Load()
}

// Run records until the context ends. A runtime that doesn't is worth a line in the
// log and nothing more.
func (f *flightRecorder) Run(ctx context.Context) error {
	if f.bound == 0 {
		return nil
	}
	if err := f.tracer.Start(); err != nil {
		f.log.Warn("the flight recorder doesn't start; late steps are counted, and not recorded", "err", err)
		return nil
	}
	f.running.Store(true)
	defer f.tracer.Stop()
	defer f.running.Store(false)
	for {
		select {
		case <-ctx.Done():
			return nil
		case l := <-f.word:
			f.record(l)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(flightPause):
		}
		select { // what was late meanwhile isn't in the last seconds any more
		case <-f.word:
		default:
		}
	}
}

// record writes a recording and says so.
func (f *flightRecorder) record(l LateStep) {
	path, err := f.write(l)
	result := "success"
	if err != nil {
		result, l.Error = "failure", err.Error()
	} else {
		l.File = path
	}
	f.recordings.WithLabelValues(result).Inc()
	f.last.Store(&l)
	took := time.Duration(l.Took * float64(time.Second)).Round(time.Microsecond)
	if err != nil {
		f.log.Warn("a step was late, and could not be recorded", "step", l.Step, "took", took, "bound", f.bound, "err", err)
		return
	}
	f.log.Warn("a step was late; what the agent did until then is recorded", "step", l.Step, "took", took, "bound", f.bound, "file", path)
	if err := f.prune(filepath.Base(path)); err != nil {
		f.log.Warn("removing old recordings of late steps", "err", err)
	}
}

// write makes a file that is there whole or not at all.
func (f *flightRecorder) write(l LateStep) (string, error) {
	if err := os.MkdirAll(f.folder, 0o700); err != nil {
		return "", fmt.Errorf("making the folder of recordings: %w", err)
	}
	path := filepath.Join(f.folder, flightPrefix+l.At.UTC().Format("20060102T150405.000Z")+"-"+l.Step+flightSuffix)
	part, err := os.OpenFile(path+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("making a recording: %w", err)
	}
	err = errors.Join(f.copyTo(part), part.Close())
	if err == nil {
		err = os.Rename(part.Name(), path)
	}
	if err != nil {
		_ = os.Remove(part.Name())
		return "", fmt.Errorf("writing a recording: %w", err)
	}
	return path, nil
}

// errNotRecording is the answer to who asks for the last seconds in vain.
var errNotRecording = errors.New("the flight recorder is off: give flight_recorder.late a time in the configuration")

// copyTo writes the last seconds.
func (f *flightRecorder) copyTo(w io.Writer) error {
	if f == nil || !f.running.Load() {
		return errNotRecording
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.tracer.WriteTo(w)
	return err
}

// prune keeps the newest recordings, as many as are to be kept and as fit.
func (f *flightRecorder) prune(newest string) error {
	entries, err := os.ReadDir(f.folder)
	if err != nil {
		return err
	}
	// Their names are in the order of time.
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(b.Name(), a.Name()) })
	var errs []error
	kept, size := 0, int64(0)
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, flightPrefix) {
			continue // somebody else's
		}
		info, err := e.Info()
		if err != nil {
			continue // gone
		}
		whole := strings.HasSuffix(name, flightSuffix)
		if name == newest || whole && kept < f.keep && size+info.Size() <= flightTotal {
			kept++
			size += info.Size()
			continue
		}
		errs = append(errs, os.Remove(filepath.Join(f.folder, name)))
	}
	return errors.Join(errs...)
}
