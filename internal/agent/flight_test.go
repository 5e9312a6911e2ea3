package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/trace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/internal/testenv"
)

func lateFrom(d time.Duration) config.FlightRecorder { return config.FlightRecorder{Late: d, Keep: 3} }

// fakeTracer writes so much.
type fakeTracer struct {
	size    int
	fail    error
	writes  atomic.Int64
	started atomic.Bool
}

func (f *fakeTracer) Start() error { f.started.Store(true); return nil }
func (f *fakeTracer) Stop()        { f.started.Store(false) }

func (f *fakeTracer) WriteTo(w io.Writer) (int64, error) {
	f.writes.Add(1)
	n, err := w.Write(make([]byte, f.size))
	return int64(n), errors.Join(err, f.fail)
}

// recordings are the files that there are.
func recordings(t *testing.T, f *flightRecorder) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(f.folder)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestALateStepIsRecordedOnce, however many are late within a minute, and the next one
// after that; the oldest recordings go.
func TestALateStepIsRecordedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		f, tracer := newFlightRecorder(lateFrom(100*time.Millisecond), t.TempDir(), slog.New(slog.NewTextHandler(&said, nil))), &fakeTracer{size: 10}
		f.tracer = tracer
		s := newSteps(f)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = f.Run(ctx) })
		synctest.Wait()
		s.Sent(100 * time.Millisecond)
		synctest.Wait()
		if n := tracer.writes.Load(); n != 0 || f.lastLate() != nil {
			t.Errorf("%d recordings of a step in time", n)
		}
		for range 5 {
			for range 10 {
				s.Sent(200 * time.Millisecond)
				synctest.Wait()
			}
			time.Sleep(flightPause)
			synctest.Wait()
		}
		if n := tracer.writes.Load(); n != 5 {
			t.Errorf("%d recordings in 5 minutes", n)
		}
		names := recordings(t, f)
		last := f.lastLate()
		if len(names) != 3 || last == nil || filepath.Base(last.File) != names[2] || last.Step != stepSent || last.Took != .2 {
			t.Errorf("%q are left, the last one is %+v", names, last)
		}
		wantSeries(t, s, `hostroute_late_steps_total{step="sent"} 50`, `hostroute_flight_recordings_total{result="success"} 5`)
		stop()
		running.Wait()
		if tracer.started.Load() {
			t.Error("it records on")
		}
		if line, _, _ := strings.Cut(said.String(), "\n"); !strings.Contains(line, "step=sent took=200ms bound=100ms file="+f.folder) {
			t.Errorf("said %q", line)
		}
	})
}

// TestOnlyRecordingsArePruned, by their size as well, and what a crash left of one.
func TestOnlyRecordingsArePruned(t *testing.T) {
	f := newFlightRecorder(lateFrom(time.Second), t.TempDir(), slog.New(slog.DiscardHandler))
	if err := os.Mkdir(f.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int64{"notes": 1, "late-1-sent.trace": 1, "late-2-sent.trace": flightTotal, "late-3-sent.trace": 1, "late-2-sent.trace.part": 1, "late-4-sent.trace": 1} {
		path := filepath.Join(f.folder, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.prune("late-4-sent.trace"); err != nil {
		t.Fatal(err)
	}
	if got := recordings(t, f); !slices.Equal(got, []string{"late-1-sent.trace", "late-3-sent.trace", "late-4-sent.trace", "notes"}) {
		t.Errorf("left: %q", got)
	}
}

// TestARecordingThatFailsIsSaid and leaves no file.
func TestARecordingThatFailsIsSaid(t *testing.T) {
	f := newFlightRecorder(lateFrom(time.Second), t.TempDir(), slog.New(slog.DiscardHandler))
	f.tracer = &fakeTracer{size: 1, fail: errors.New("disk is full")}
	f.running.Store(true)
	f.record(LateStep{Step: stepKernel, At: time.Unix(1_800_000_000, 0)})
	if last := f.lastLate(); last.File != "" || !strings.Contains(last.Error, "disk is full") || len(recordings(t, f)) > 0 {
		t.Errorf("%+v, and %q", last, recordings(t, f))
	}
}

// TestTheRecorderIsTheRuntimes: the real one writes a trace.
func TestTheRecorderIsTheRuntimes(t *testing.T) {
	f := newFlightRecorder(lateFrom(time.Millisecond), t.TempDir(), slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	testenv.Eventually(t, "it to run", f.running.Load)
	f.late(stepKernel, time.Second)
	testenv.Eventually(t, "a recording", func() bool { return f.lastLate() != nil })
	b, err := os.ReadFile(f.lastLate().File)
	if err != nil || !bytes.HasPrefix(b, []byte("go 1.")) {
		t.Errorf("%+v: %v, %.16q", f.lastLate(), err, b)
	}
	info, err := os.Stat(f.lastLate().File)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v: a trace is for root", info.Mode(), err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// BenchmarkFlightRecorder is what it costs those who work: a few goroutines that wake
// each other and allocate, which is what a trace has events of.
func BenchmarkFlightRecorder(b *testing.B) {
	for _, on := range []bool{false, true} {
		b.Run(fmt.Sprintf("on=%t", on), func(b *testing.B) {
			if on {
				f := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: flightWindow, MaxBytes: flightBytes})
				if err := f.Start(); err != nil {
					b.Fatal(err)
				}
				defer f.Stop()
			}
			there, back := make(chan []byte), make(chan []byte)
			go func() {
				for m := range there {
					back <- append([]byte(nil), m...)
				}
				close(back)
			}()
			message := make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				there <- message
				<-back
			}
			close(there)
			<-back
		})
	}
}
