// Package bench says what is compared when programs that bring routes from BGP
// into the kernel are set the same task: jobs, what a run of one cost, and what
// many runs come to. It is pure; its sub-packages feed, run and measure.
package bench

import "time"

// Family is 4 or 6.
type Family int

// Kind is what happens in a job.
type Kind string

// The kinds of jobs. Each but Load and Single begins with a table that is loaded,
// which is not measured.
const (
	Load   Kind = "load"   // all routes, into an empty table
	Churn  Kind = "churn"  // a tenth of the routes moves to another hypervisor
	Loss   Kind = "loss"   // one reflector ends its session
	Return Kind = "return" // and is back
	Single Kind = "single" // one route per UPDATE, each with attributes of its own
	Change Kind = "change" // one route moves to another hypervisor, many times, each alone
	// The following two are for contenders that can do more than take routes.
	Local   Kind = "local"   // routes of its own are announced, while a reflector is lost
	Restart Kind = "restart" // it is killed and started again; a few routes have changed
)

// Job is one task, the same for every contender.
type Job struct {
	Kind       Kind   `json:"kind"`
	Family     Family `json:"family"`
	Sequential bool   `json:"sequential"` // addresses follow each other; else they are random
	Routes     int    `json:"routes"`
	Reflectors int    `json:"reflectors"` // 1 or 2; with 2 each route has two equal paths
}

// Sample is what one contender needed for one job, once.
type Sample struct {
	Contender string        `json:"contender"`
	Job       Job           `json:"job"`
	Round     int           `json:"round"`
	Wall      time.Duration `json:"wall_ns"`       // first UPDATE until the kernel has it all
	CPU       time.Duration `json:"cpu_ns"`        // user and system, all processes of the contender
	Peak      uint64        `json:"peak_bytes"`    // highest resident memory of its processes so far
	Settled   uint64        `json:"settled_bytes"` // resident memory a while after
	// Delays are those of single routes, where that is the question: of Change from
	// the UPDATE to the kernel, of Local from the log to the UPDATE at a reflector
	// that stayed. Idle is what Local's are when nothing else happens.
	Delays *Delays `json:"delays,omitempty"`
	Idle   *Delays `json:"idle,omitempty"`
	// Writes is how often the kernel told of a route that was written or deleted
	// during Restart, and Differ the routes that had changed: what it should be.
	Writes int `json:"kernel_writes,omitempty"`
	Differ int `json:"differ,omitempty"`
	// Failure says why there are no figures: it took too long, or something
	// died. Wall then is for how long it was tried.
	Failure string `json:"failure,omitempty"`
}

// Result is what the samples of a contender for a job come to.
type Result struct {
	Contender string `json:"contender"`
	Job       Job    `json:"job"`
	Samples   int    `json:"samples"`
	Wall, CPU Spread // in seconds
	Peak      Spread // in bytes
	Settled   Spread // in bytes
	Failure   string `json:"failure,omitempty"`
}

// Spread is the median of some figures, and the least and the greatest of them.
type Spread struct {
	Median, Least, Greatest float64
}

// Delays is how long each of a number of things took.
type Delays struct {
	Count    int           `json:"count"`
	Median   time.Duration `json:"median_ns"`
	P99      time.Duration `json:"p99_ns"`
	Greatest time.Duration `json:"max_ns"`
}
