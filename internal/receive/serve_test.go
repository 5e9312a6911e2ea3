package receive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// flood is a socket that always has a packet, until its deadline or its error.
type flood struct {
	expired chan struct{}
	reads   int
	fail    int   // read that fails
	err     error // how
}

func (f *flood) Read(buf []byte) (int, string, error) {
	select {
	case <-f.expired:
		return 0, "", os.ErrDeadlineExceeded
	default:
	}
	f.reads++
	if f.reads == f.fail {
		return 0, "", f.err
	}
	return copy(buf, "packet"), "guest", nil
}

func (f *flood) SetReadDeadline(time.Time) error { close(f.expired); return nil }

func TestAFloodIsReadAtTheRateOfTheBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &flood{expired: make(chan struct{})}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var stats Stats
		if err := Serve(ctx, conn, Rate{PerSecond: 10, Burst: 20}, &stats, quiet, func([]byte, string) {}); err != nil {
			t.Fatal(err)
		}
		if n := stats.Packets.Load(); n < 119 || n > 121 {
			t.Errorf("%d packets handled in 10 s, want the burst of 20 and 10 a second", n)
		}
		if stats.Limited.Load() == 0 {
			t.Error("the limit was reached and not counted")
		}
	})
}

func TestAPanicCostsOnePacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("the tap is gone")
		conn := &flood{expired: make(chan struct{}), fail: 4, err: broken}
		var stats Stats
		handled := 0
		err := Serve(t.Context(), conn, Rate{PerSecond: 1000, Burst: 10}, &stats, quiet, func(packet []byte, from string) {
			if handled++; handled == 2 {
				panic(string(packet) + from)
			}
		})
		if !errors.Is(err, broken) {
			t.Errorf("the end of the socket gave %v", err)
		}
		if handled != 3 || stats.Panics.Load() != 1 || stats.Packets.Load() != 3 {
			t.Errorf("handled %d, panics %d, packets %d; want 3, 1, 3", handled, stats.Panics.Load(), stats.Packets.Load())
		}
	})
}

// TestBucketNeverGivesMoreThanItsRate takes at random times and compares with
// what the definition of the rate allows over every span.
func TestBucketNeverGivesMoreThanItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := Rate{PerSecond: rapid.IntRange(1, 100).Draw(t, "rate"), Burst: rapid.IntRange(1, 50).Draw(t, "burst")}
		now := time.Unix(0, 0)
		b := newBucket(rate, now)
		var taken []time.Time
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 5e8).Draw(t, "ns")))
			wait := b.take(now)
			if wait == 0 {
				taken = append(taken, now)
				continue
			}
			if again := b.take(now.Add(wait + time.Microsecond)); again != 0 {
				t.Fatalf("after the wait of %v it wants %v more", wait, again)
			}
			now = now.Add(wait + time.Microsecond)
			taken = append(taken, now)
		}
		if len(taken) == 0 {
			return
		}
		span := taken[len(taken)-1].Sub(time.Unix(0, 0)).Seconds()
		if allowed := float64(rate.Burst) + span*float64(rate.PerSecond) + 1; float64(len(taken)) > allowed {
			t.Fatalf("%d taken in %.3f s, allowed %.1f", len(taken), span, allowed)
		}
	})
}

// TestPanicsFillNoLog: a guest that has found a packet that makes a handler
// panic sends it as often as it may.
func TestPanicsFillNoLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		log := slog.New(slog.NewJSONHandler(&lines, nil))
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		var stats Stats
		conn := &flood{expired: make(chan struct{})}
		if err := Serve(ctx, conn, Rate{PerSecond: 20, Burst: 40}, &stats, log, func([]byte, string) { panic("hello") }); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(lines.Bytes(), []byte("\n")); n != 3 || stats.Panics.Load() < 3000 {
			t.Errorf("%d panics in 150 s make %d lines, want 3", stats.Panics.Load(), n)
		}
	})
}
