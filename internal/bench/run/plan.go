package run

import (
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

const (
	leastLimit = 2 * time.Minute
	times      = 10
	// patience is how long a contender has for what isn't measured, as for its sessions.
	patience = 2 * time.Minute
)
