package run

import (
	"context"
	"errors"
	"time"

	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/bench/contender"
)

// Plan is what is compared, and how often.
type Plan struct {
	Jobs       []bench.Job
	Contenders []contender.Contender // in each round in this order
	Rounds     int
	// Limit is how long a contender may take for a job. One that takes ten times as
	// long as the first contender did, and longer than Limit, is stopped, and its
	// sample has a Failure.
	Limit time.Duration
	Dir   string // for configurations and logs of the contenders; it must exist
	// Skip says what isn't to be run; nil is nothing.
	Skip func(contender string, job bench.Job, round int) bool
	// Observe gets each sample when it is there; nil is nobody.
	Observe func(bench.Sample)
}

// Run does what a plan says. Jobs with the same table are done one after the other on
// the same table by a contender that is started once, in the order of the list, but
// Single, which begins with a table of its own. The samples are complete but for the end
// of the context, which is an error; what contenders do wrong is in the samples.
func Run(ctx context.Context, p Plan) ([]bench.Sample, error) {
	return nil, errors.New("not there yet")
}
