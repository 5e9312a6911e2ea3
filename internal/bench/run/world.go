package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/bench/contender"
	"github.com/hostroute/hostroute/internal/bench/feeder"
	"github.com/hostroute/hostroute/internal/bench/observe"
	"github.com/hostroute/hostroute/internal/bench/site"
)

// world is a contender in its site, with the table that it has been told.
type world struct {
	contender contender.Contender
	dir       string
	job       bench.Job // of the table
	site      *site.Site
	feeder    *feeder.Feeder
	reader    *observe.Reader
	table     *bench.Table
	chance    *rand.Rand
	limit     time.Duration

	loaded bool
	lost   bool // reflector 1, plane b
}

func newWorld(ctx context.Context, c contender.Contender, dir string, j bench.Job, seed uint64) (w *world, err error) {
	w = &world{contender: c, dir: dir, job: j, table: bench.NewTable(j, seed), chance: rand.New(rand.NewPCG(seed, 0))}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.site, err = site.New(ctx, j.Reflectors); err != nil {
		return w, err
	}
	if w.feeder, err = feeder.Listen(w.site); err != nil {
		return w, err
	}
	w.reader, err = observe.NewReader(w.site, j.Family)
	return w, err
}

// start starts the contender, and waits for its sessions.
func (w *world) start(ctx context.Context) error {
	if err := w.contender.Start(ctx, w.site.Contender(w.dir)); err != nil {
		return err
	}
	return w.sessions(ctx)
}

func (w *world) sessions(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return w.feeder.Established(ctx)
}

func (w *world) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := w.contender.Stop(ctx)
	if w.feeder != nil {
		err = errors.Join(err, w.feeder.Close())
	}
	if w.reader != nil {
		err = errors.Join(err, w.reader.Close())
	}
	if w.site != nil {
		err = errors.Join(err, observe.Empty(w.site, w.job.Family), w.site.Close())
	}
	return err
}

// want is what the kernel must have now.
func (w *world) want() observe.Want {
	want := observe.Want{Table: w.table, Planes: []int{0}}
	if w.job.Reflectors > 1 && !w.lost {
		want.Planes = append(want.Planes, 1)
	}
	return want
}

// do brings the table to where a job begins, and does the job.
func (w *world) do(ctx context.Context, k bench.Kind, s *bench.Sample) error {
	jobs := map[bench.Kind]func(context.Context, *bench.Sample) error{
		bench.Load: w.load, bench.Single: w.single, bench.Churn: w.churn, bench.Loss: w.loss, bench.Return: w.comeBack,
		bench.Change: w.change, bench.Local: w.local, bench.Restart: w.restart,
	}
	if jobs[k] == nil {
		return fmt.Errorf("there is no job %q", k)
	}
	if (k == bench.Loss || k == bench.Return || k == bench.Local) && w.job.Reflectors < 2 {
		return fmt.Errorf("the job %s needs two reflectors", k)
	}
	if err := w.prepare(ctx, k); err != nil {
		return err
	}
	return jobs[k](ctx, s)
}

func (w *world) prepare(ctx context.Context, k bench.Kind) error {
	var unmeasured bench.Sample
	if k == bench.Load || k == bench.Single {
		if w.loaded {
			return fmt.Errorf("the table is loaded already")
		}
		return nil
	}
	if !w.loaded {
		if err := w.load(ctx, &unmeasured); err != nil {
			return err
		}
	}
	switch {
	case k == bench.Return && !w.lost:
		return w.loss(ctx, &unmeasured)
	case k != bench.Return && w.lost:
		return w.comeBack(ctx, &unmeasured)
	}
	return nil
}

// tell encodes what each reflector that is up says of routes, all with nil, and gives what
// sends it.
func (w *world) tell(routes []int, alone, end bool) func(context.Context) error {
	planes := w.want().Planes
	messages := make([][]byte, len(planes))
	for i, plane := range planes {
		messages[i] = w.table.Updates(plane, routes, alone)
		if end {
			messages[i] = append(messages[i], bench.EndOfRIB()...)
		}
	}
	return func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		for i, plane := range planes {
			group.Go(func() error { return w.feeder.Send(ctx, plane, messages[i]) })
		}
		return group.Wait()
	}
}

func (w *world) load(ctx context.Context, s *bench.Sample) error {
	w.loaded = true
	return w.measure(ctx, s, w.tell(nil, false, true), w.some(nil))
}

func (w *world) single(ctx context.Context, s *bench.Sample) error {
	w.loaded = true
	return w.measure(ctx, s, w.tell(nil, true, true), w.some(nil))
}

func (w *world) churn(ctx context.Context, s *bench.Sample) error {
	moved := w.table.Churn()
	return w.measure(ctx, s, w.tell(moved, false, false), w.some(moved))
}

func (w *world) loss(ctx context.Context, s *bench.Sample) error {
	w.lost = true
	return w.measure(ctx, s, func(context.Context) error { return w.feeder.Lose(1) }, w.some(nil))
}

func (w *world) comeBack(ctx context.Context, s *bench.Sample) error {
	w.lost = false
	if err := w.feeder.Open(1); err != nil {
		return err
	}
	if err := w.sessions(ctx); err != nil {
		return err
	}
	messages := append(w.table.Updates(1, nil, false), bench.EndOfRIB()...)
	return w.measure(ctx, s, func(ctx context.Context) error { return w.feeder.Send(ctx, 1, messages) }, w.some(nil))
}

// some are up to 1,000 of the routes given, of all with nil, drawn by lot, and the last ones,
// which are told last as a rule.
func (w *world) some(of []int) []int {
	const enough, last = 1000, 20
	at := func(n int) int { return n }
	count := w.table.Len()
	if of != nil {
		at, count = func(n int) int { return of[n] }, len(of)
	}
	var list []int
	for n := max(0, count-last); n < count; n++ {
		list = append(list, at(n))
	}
	for range min(enough, count) - len(list) {
		list = append(list, at(w.chance.IntN(count)))
	}
	return list
}
