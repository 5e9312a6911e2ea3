package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hostroute/hostroute/internal/bench"
)

const (
	pollInterval = 20 * time.Millisecond
	settling     = 2 * time.Second
)

// measure fills in what it costs the contender that act is done and the kernel has what it must.
// The sample are numbers of routes to look at often.
func (w *world) measure(ctx context.Context, s *bench.Sample, act func(context.Context) error, sample []int) error {
	before, err := usageOf(w.contender.Pids())
	if err != nil {
		return err
	}
	limit := w.limit
	if limit == 0 {
		limit = leastLimit
	}
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("took longer than %v", limit))
	defer cancel()
	start := time.Now()
	acted := make(chan error, 1)
	go func() { acted <- act(limited) }()
	end, err := w.await(limited, sample, acted)
	if err != nil {
		cancel()
		s.Wall = time.Since(start)
		return err
	}
	s.Wall = end.Sub(start)
	return w.account(ctx, s, before)
}

// account waits until things have settled, and fills in CPU time and memory since before.
func (w *world) account(ctx context.Context, s *bench.Sample, before usage) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(settling):
	}
	after, err := usageOf(w.contender.Pids())
	if err != nil {
		return err
	}
	s.CPU, s.Peak, s.Settled = after.cpu-before.cpu, after.peak, after.resident
	return nil
}

// await polls until the kernel has what it must, and says since when.
func (w *world) await(ctx context.Context, sample []int, acted <-chan error) (time.Time, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var rest rest
	for done := false; ; {
		select {
		case <-ctx.Done():
			// What does act have to say, if that is why?
			return time.Time{}, errors.Join(context.Cause(ctx), w.lacks())
		case err := <-acted:
			if err != nil {
				return time.Time{}, errors.Join(err, alive(w.contender.Pids()))
			}
			done, acted = true, nil
		case <-tick.C:
		}
		used, err := usageOf(w.contender.Pids())
		if err != nil {
			return time.Time{}, err
		}
		at := time.Now()
		rest.mark(at, used.cpu)
		right, err := w.reader.Right(w.want(), sample)
		if err != nil {
			return time.Time{}, err
		}
		if right < len(sample) { // what is wrong comes first
			sample = append(sample[right:len(sample):len(sample)], sample[:right]...)
			rest.wrong()
			continue
		}
		end, rests := rest.since(at)
		if !done || !rests {
			continue
		}
		d, err := w.reader.Compare(w.want())
		if err != nil || d.None() {
			return end, err
		}
		if len(d.Differing) > 0 {
			sample = d.Differing
		}
		rest.wrong()
	}
}

// lacks is an error that says what is wrong with the table, for who has waited for long.
func (w *world) lacks() error {
	d, err := w.reader.Compare(w.want())
	if err != nil {
		return err
	}
	return errors.New(d.String())
}
