package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/bench/contender"
	"github.com/hostroute/hostroute/internal/bench/observe"
)

// differing is how many routes change while nobody looks.
const differing = 100

// restart kills the contender and starts it again. The clock starts with the process, and
// its CPU time and memory are those of the new one.
func (w *world) restart(ctx context.Context, s *bench.Sample) (err error) {
	h, ok := w.contender.(*contender.Hostroute)
	if !ok {
		return fmt.Errorf("%s can't be restarted", w.contender.Name())
	}
	if err := h.KillAgent(ctx); err != nil {
		return err
	}
	ending, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := w.feeder.Ended(ending); err != nil {
		return err
	}
	var moved []int
	for n := range min(differing, w.table.Len()) {
		moved = append(moved, n*w.table.Len()/min(differing, w.table.Len()))
		w.table.Move(moved[n])
	}
	send := w.tell(nil, false, true)
	watcher, err := observe.Watch(w.site, w.job.Family)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, watcher.Close()) }()
	start := time.Now()
	if err := h.StartAgent(ctx); err != nil {
		return err
	}
	if err := w.sessions(ctx); err != nil {
		return err
	}
	if err := w.measure(ctx, s, send, moved); err != nil {
		return err
	}
	return w.finish(ctx, s, watcher, start, len(moved))
}

// finish counts writes until there have been none for a while. The time is until
// the last one.
func (w *world) finish(ctx context.Context, s *bench.Sample, watcher *observe.Watcher, start time.Time, differ int) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		n, last, err := watcher.Writes()
		if err != nil {
			return fmt.Errorf("counting what is written: %w", err)
		}
		if time.Since(last) >= settling {
			after, err := usageOf(w.contender.Pids())
			if err != nil {
				return err
			}
			s.Wall, s.Writes, s.Differ = last.Sub(start), n, differ
			s.CPU, s.Peak, s.Settled = after.cpu, after.peak, after.resident
			return nil
		}
		select {
		case <-limited.Done():
			return fmt.Errorf("waiting until nothing is written: %w", context.Cause(limited))
		case <-time.After(pollInterval):
		}
	}
}
