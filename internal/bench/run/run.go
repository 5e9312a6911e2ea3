package run

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/bench/contender"
)

// Run does what a plan says. Jobs with the same table are done one after the other on
// the same table by a contender that is started once, in the order of the list, but
// Single, which begins with an empty table. The samples are all, but for those after the end
// of the context, which is an error; what contenders do wrong is in the samples.
func Run(ctx context.Context, p Plan) ([]bench.Sample, error) {
	r := &runner{plan: p, walls: map[bench.Job]time.Duration{}}
	for round := range max(1, p.Rounds) {
		for _, jobs := range chains(p.Jobs) {
			clear(r.walls)
			for _, c := range p.Contenders {
				if err := r.chain(ctx, c, jobs, round); err != nil {
					return r.samples, err
				}
			}
		}
	}
	return r.samples, nil
}

// chains are the jobs that share a table.
func chains(jobs []bench.Job) (list [][]bench.Job) {
	at := map[bench.Job]int{}
	for _, j := range jobs {
		key := j
		if j.Kind != bench.Single {
			key.Kind = bench.Load
		}
		if _, ok := at[key]; !ok {
			at[key] = len(list)
			list = append(list, nil)
		}
		list[at[key]] = append(list[at[key]], j)
	}
	return list
}

type runner struct {
	plan    Plan
	samples []bench.Sample
	walls   map[bench.Job]time.Duration // of the first contender, in this round
}

// limit is how long a contender may take for a job.
func (r *runner) limit(c contender.Contender, j bench.Job) time.Duration {
	least := r.plan.Limit
	if least == 0 {
		least = leastLimit
	}
	if c == r.plan.Contenders[0] {
		return times * least
	}
	return max(least, times*r.walls[j])
}

func (r *runner) observe(s bench.Sample) {
	r.samples = append(r.samples, s)
	if s.Contender == r.plan.Contenders[0].Name() && s.Failure == "" {
		r.walls[s.Job] = s.Wall
	}
	if r.plan.Observe != nil {
		r.plan.Observe(s)
	}
}

// chain has a contender do jobs on a table.
func (r *runner) chain(ctx context.Context, c contender.Contender, jobs []bench.Job, round int) error {
	var todo []bench.Job
	for _, j := range jobs {
		if able(c, j.Kind) && (r.plan.Skip == nil || !r.plan.Skip(c.Name(), j, round)) {
			todo = append(todo, j)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	dir := filepath.Join(r.plan.Dir, fmt.Sprintf("%s-%s-%d-ipv%d-%v-%d", c.Name(), todo[0].Kind, todo[0].Routes, todo[0].Family, todo[0].Sequential, round+1))
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("emptying the folder of %s: %w", c.Name(), err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making a folder for %s: %w", c.Name(), err)
	}
	w, err := newWorld(ctx, c, dir, todo[0], uint64(round+1))
	if err != nil {
		return err
	}
	failed := w.start(ctx)
	for _, j := range todo {
		s := bench.Sample{Contender: c.Name(), Job: j, Round: round}
		if failed == nil {
			w.limit = r.limit(c, j)
			failed = w.do(ctx, j.Kind, &s)
		}
		if ctx.Err() != nil {
			break
		}
		if failed != nil {
			s.Failure = failed.Error()
		}
		r.observe(s)
	}
	if err := w.close(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("comparing: %w", context.Cause(ctx))
	}
	return nil
}

// able says whether a contender can do a job: BIRD and FRR have no log.
func able(c contender.Contender, k bench.Kind) bool {
	_, ours := c.(*contender.Hostroute)
	return ours || k != bench.Local && k != bench.Restart
}
