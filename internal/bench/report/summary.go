package report

import (
	"fmt"
	"slices"
	"time"

	"github.com/hostroute/hostroute/internal/bench"
)

// Header says where and with what a comparison was made.
type Header struct {
	Date     time.Time `json:"date"`
	Kernel   string    `json:"kernel"`
	CPU      string    `json:"cpu"` // model
	Cores    int       `json:"cores"`
	Memory   uint64    `json:"memory_bytes"`
	Versions []string  `json:"versions"` // of the contenders, each as "BIRD 2.0.12"
	Rounds   int       `json:"rounds"`
	// Interrupted is true where not all of the plan was run.
	Interrupted bool `json:"interrupted"`
}

// key is what samples are put together by.
type key struct {
	job       bench.Job
	contender string
}

// Summarize gives the median, the least and the greatest of what each contender needed for each job. Jobs and the
// contenders of each come in the order of their first sample. Failed samples have no part in the figures; where all
// have failed, Wall is for how long it was tried.
func Summarize(samples []bench.Sample) []bench.Result {
	var jobs []bench.Job
	var contenders []string
	by := map[key][]bench.Sample{}
	for _, s := range samples {
		if !slices.Contains(jobs, s.Job) {
			jobs = append(jobs, s.Job)
		}
		if !slices.Contains(contenders, s.Contender) {
			contenders = append(contenders, s.Contender)
		}
		k := key{s.Job, s.Contender}
		by[k] = append(by[k], s)
	}
	var results []bench.Result
	for _, j := range jobs {
		for _, c := range contenders {
			if all := by[key{j, c}]; len(all) > 0 {
				results = append(results, result(j, c, all))
			}
		}
	}
	return results
}

func result(j bench.Job, contender string, all []bench.Sample) bench.Result {
	var good, failed []bench.Sample
	for _, s := range all {
		if s.Failure == "" {
			good = append(good, s)
		} else {
			failed = append(failed, s)
		}
	}
	r := bench.Result{Contender: contender, Job: j, Samples: len(good)}
	if len(failed) > 0 {
		r.Failure = fmt.Sprintf("%d of %d failed: %s", len(failed), len(all), failed[0].Failure)
	}
	if len(good) == 0 {
		r.Failure = failed[0].Failure
		r.Wall = middle(failed, wall)
		return r
	}
	r.Wall, r.CPU = middle(good, wall), middle(good, func(s bench.Sample) float64 { return s.CPU.Seconds() })
	r.Peak = middle(good, func(s bench.Sample) float64 { return float64(s.Peak) })
	r.Settled = middle(good, func(s bench.Sample) float64 { return float64(s.Settled) })
	return r
}

func wall(s bench.Sample) float64 { return s.Wall.Seconds() }

// middle is the spread of figures; the median of an even number is the middle of the two in the middle.
func middle[T any](list []T, figure func(T) float64) bench.Spread {
	figures := make([]float64, len(list))
	for i, v := range list {
		figures[i] = figure(v)
	}
	slices.Sort(figures)
	n := len(figures)
	return bench.Spread{Median: (figures[(n-1)/2] + figures[n/2]) / 2, Least: figures[0], Greatest: figures[n-1]}
}
