package run

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/bench/observe"
)

const (
	changes     = 200
	changePause = 20 * time.Millisecond
	changeLimit = 10 * time.Second
)

// change moves routes one by one, each when the kernel has had the one before for a
// while.
func (w *world) change(ctx context.Context, s *bench.Sample) (err error) {
	watcher, err := observe.Watch(w.site, w.job.Family)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, watcher.Close()) }()
	before, err := usageOf(w.contender.Pids())
	if err != nil {
		return err
	}
	start := time.Now()
	var delays []time.Duration
	for range changes {
		d, err := w.changeOne(ctx, watcher, w.chance.IntN(w.table.Len()))
		if err != nil {
			return err
		}
		delays = append(delays, d)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(changePause):
		}
	}
	s.Wall, s.Delays = time.Since(start), delaysOf(delays)
	return w.account(ctx, s, before)
}

// changeOne is how long it takes a change to get into the kernel, of which each message
// of the kernel about the route makes us look, and the clock, too.
func (w *world) changeOne(ctx context.Context, watcher *observe.Watcher, i int) (time.Duration, error) {
	w.table.Move(i)
	written := watcher.Of(w.table.Address(i))
	send := w.tell([]int{i}, false, false)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	limited, cancel := context.WithTimeoutCause(ctx, changeLimit, errors.New("a single change isn't in the kernel after "+changeLimit.String()))
	defer cancel()
	start := time.Now()
	if err := send(limited); err != nil {
		return 0, err
	}
	for {
		var at time.Time
		select {
		case <-limited.Done():
			return 0, context.Cause(limited)
		case at = <-written:
		case at = <-tick.C:
		}
		right, err := w.reader.Right(w.want(), []int{i})
		if err != nil {
			return 0, err
		}
		if right == 1 {
			return at.Sub(start), nil
		}
	}
}

// delaysOf says what delays come to.
func delaysOf(list []time.Duration) *bench.Delays {
	if len(list) == 0 {
		return nil
	}
	slices.Sort(list)
	at := func(q float64) time.Duration { return list[int(q*float64(len(list)-1))] }
	return &bench.Delays{Count: len(list), Median: at(0.5), P99: at(0.99), Greatest: at(1)}
}
