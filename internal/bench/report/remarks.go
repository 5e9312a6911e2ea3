package report

import (
	"fmt"
	"time"

	"github.com/hostroute/hostroute/internal/bench"
)

// remarks says what the columns don't: how long single routes took, what a restart wrote, and what failed.
func remarks(r bench.Result, samples []bench.Sample) []string {
	var delays, idle bench.Delays
	var medians, idleMedians []time.Duration
	var list []string
	for _, s := range samples {
		if s.Job != r.Job || s.Contender != r.Contender || s.Failure != "" {
			continue
		}
		delays, medians = join(delays, medians, s.Delays)
		idle, idleMedians = join(idle, idleMedians, s.Idle)
		if s.Job.Kind == bench.Restart {
			list = append(list, fmt.Sprintf("%s routes were written, %s had changed", thousands(s.Writes), thousands(s.Differ)))
		}
	}
	if len(medians) > 0 {
		list = append(list, "a single one: "+describeDelays(delays, medians))
	}
	if len(idleMedians) > 0 {
		list = append(list, "when nothing else happens: "+describeDelays(idle, idleMedians))
	}
	switch {
	case r.Failure != "" && r.Samples == 0:
		list = append(list, "failed: "+r.Failure)
	case r.Failure != "":
		list = append(list, r.Failure)
	}
	return list
}

// join takes the delays of one more round: the worst counts, and the median of the medians.
func join(sum bench.Delays, medians []time.Duration, d *bench.Delays) (bench.Delays, []time.Duration) {
	if d == nil {
		return sum, medians
	}
	sum.Count += d.Count
	sum.P99, sum.Greatest = max(sum.P99, d.P99), max(sum.Greatest, d.Greatest)
	return sum, append(medians, d.Median)
}

func describeDelays(d bench.Delays, medians []time.Duration) string {
	median := middle(medians, time.Duration.Seconds)
	return fmt.Sprintf("median %s ms, 99th percentile %s ms, worst %s ms of %s", milliseconds(median.Median), milliseconds(d.P99.Seconds()),
		milliseconds(d.Greatest.Seconds()), thousands(d.Count))
}

func milliseconds(s float64) string { return fmt.Sprintf("%.3g", s*1000) }
