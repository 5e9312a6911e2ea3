package agent

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/vrf"
)

// The steps of an event's way, in their order, and those of a learned route's, as the
// metrics and docs/operating.md have them.
const (
	stepReceived  = "received"
	stepProjected = "projected"
	stepKernel    = "kernel"
	stepAnnounced = "announced"
	stepSent      = "sent"

	stepDecided = "decided"
	stepWritten = "written"
	stepSettled = "settled"
	stepWalked  = "walked"
)

// What is compared with the kernel.
const (
	comparedHost    = "host"
	comparedLinks   = "links"
	comparedLearned = "learned"
)

// stepBuckets are from what a step takes when nothing is in its way to what ends
// every patience: the hold time is far below.
var stepBuckets = []float64{
	.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60,
}

// batchBuckets end at what one write can have.
var batchBuckets = []float64{1, 4, 16, 64, 256, 1024, 4096}

// followedEvents is how many events are followed from step to step at a time. Of
// those that one round has beyond, only how old they were when they came is told.
const followedEvents = 1024

// steps tells where time goes: how long each step takes on the way of an event into
// the kernel and to the reflectors, and of a route from a reflector into the kernel.
// Each is told once per event, message or batch, never per route, and without
// allocating. All methods may be called on nil, which tells nobody.
//
// An event's age begins when the log stored it, by the log's clock; what it is from
// when it came on is measured by this host's monotonic one. Where the log's clock is
// ahead by more than the event took, its age counts as 0 then.
type steps struct {
	collectors []prometheus.Collector

	age struct{ received, projected, kernel, announced prometheus.Observer }
	// Each of these is from the step before it.
	projected, kernel, announced, sent timed
	decided, written                   timed
	settled, walked                    prometheus.Observer
	host, links, learned               prometheus.Observer
	batch                              prometheus.Histogram
	ahead                              prometheus.Counter

	mu     sync.Mutex
	coming []eventUnderway // received since the last Taken
	taken  []eventUnderway // of the round under way; the apply loop's alone
	kept   int             // the first of them are of rounds that came to nothing
}

// eventUnderway is an event between two steps.
type eventUnderway struct {
	age  time.Duration // when it was received
	came time.Time
	last time.Time // when it had passed the last step
}

// timed is a step that can be late.
type timed struct {
	name   string
	all    prometheus.Observer
	late   prometheus.Counter
	flight *flightRecorder // may be nil
}

// took tells how long it took.
func (t *timed) took(d time.Duration) {
	t.all.Observe(d.Seconds())
	if t.flight.late(t.name, d) {
		t.late.Inc()
	}
}

var _ session.Steps = (*steps)(nil)

// newSteps makes all series at once, so that each is there from the start and no
// step has to look one up. Late steps are recorded by f; nil: none is late.
func newSteps(f *flightRecorder) *steps {
	s := &steps{coming: make([]eventUnderway, 0, followedEvents), taken: make([]eventUnderway, 0, followedEvents)}
	age := s.histograms("event_age_seconds", "How old an event was when it had come to a step: since the log stored it, by the log's clock, so that clocks that differ show here.", "step")
	s.age.received, s.age.projected = age(stepReceived), age(stepProjected)
	s.age.kernel, s.age.announced = age(stepKernel), age(stepAnnounced)
	s.ahead = prometheus.NewCounter(prometheus.CounterOpts{Name: "hostroute_event_clock_ahead_total", Help: "Events that were here, by this host's clock, before the log stored them, by the log's: their age counts as 0."})
	late := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hostroute_late_steps_total", Help: "Steps that took longer than flight_recorder.late; `hostroute status` has the last one."}, []string{"step"})
	event := s.histograms("event_step_seconds", "How long a step of an event's way took, from the end of the one before, by this host's clock alone.", "step")
	learned := s.histograms("learned_step_seconds", "How long a step of learned routes took: one for each UPDATE, batch, walk over the table, or burst until it was settled.", "step")
	for name, step := range map[string]*timed{
		stepProjected: &s.projected, stepKernel: &s.kernel, stepAnnounced: &s.announced, stepSent: &s.sent,
	} {
		*step = timed{name, event(name), late.WithLabelValues(name), f}
	}
	for name, step := range map[string]*timed{stepDecided: &s.decided, stepWritten: &s.written} {
		*step = timed{name, learned(name), late.WithLabelValues(name), f}
	}
	s.settled, s.walked = learned(stepSettled), learned(stepWalked)
	compared := s.histograms("comparison_seconds", "How long it took to compare with the kernel, and to mend: the whole host, the links where something changed, or all learned routes.", "what")
	s.host, s.links, s.learned = compared(comparedHost), compared(comparedLinks), compared(comparedLearned)
	s.batch = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "hostroute_learned_batch_routes", Help: "How many learned routes a write to the kernel had.", Buckets: batchBuckets})
	s.collectors = append(s.collectors, s.ahead, late, s.batch)
	if f != nil {
		for _, result := range []string{"success", "failure"} {
			f.recordings.WithLabelValues(result) // so that the first one is an increase
		}
		s.collectors = append(s.collectors, f.recordings)
	}
	return s
}

// histograms defines a family of times with one label, and gives what makes a member.
func (s *steps) histograms(name, help, label string) func(string) prometheus.Observer {
	vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "hostroute_" + name, Help: help, Buckets: stepBuckets}, []string{label})
	s.collectors = append(s.collectors, vec)
	return func(value string) prometheus.Observer { return vec.WithLabelValues(value) }
}

// Describe implements prometheus.Collector.
func (s *steps) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range s.collectors {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (s *steps) Collect(ch chan<- prometheus.Metric) {
	for _, c := range s.collectors {
		c.Collect(ch)
	}
}

// Received is told of an event that changed what is known here, before anybody is
// woken for it.
func (s *steps) Received(stored time.Time) {
	if s == nil {
		return
	}
	now := time.Now()
	age := now.Sub(stored)
	if age < 0 {
		age = 0
		s.ahead.Inc()
	}
	s.age.received.Observe(age.Seconds())
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.coming) < cap(s.coming) {
		s.coming = append(s.coming, eventUnderway{age: age, came: now, last: now})
	}
}

// Taken says that a round begins, before it looks at what is known: it has all
// events that were received.
func (s *steps) Taken() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.coming), cap(s.taken)-len(s.taken))
	s.taken = append(s.taken, s.coming[:n]...)
	s.coming = s.coming[:0]
}

// Projected says that it is known what the round's events ask for.
func (s *steps) Projected() {
	if s != nil {
		s.pass(s.taken[s.kept:], &s.projected, s.age.projected)
	}
}

// Applied says that the round's operations are executed; what the kernel refused of
// them, too. A round that couldn't read the kernel has done nothing: its events are
// those of the next one.
func (s *steps) Applied(planned bool) {
	if s != nil && planned {
		s.pass(s.taken, &s.kernel, s.age.kernel)
	}
}

// Announced says that a round is over, and whether the sessions have what is to be
// announced now.
func (s *steps) Announced(handed, planned bool) {
	switch {
	case s == nil:
		return
	case !planned:
		s.kept = len(s.taken)
		return
	case handed:
		s.pass(s.taken, &s.announced, s.age.announced)
	}
	s.taken, s.kept = s.taken[:0], 0
}

// pass has events pass a step.
func (s *steps) pass(events []eventUnderway, step *timed, age prometheus.Observer) {
	if len(events) == 0 {
		return
	}
	now := time.Now()
	for i := range events {
		e := &events[i]
		step.took(now.Sub(e.last))
		age.Observe((e.age + now.Sub(e.came)).Seconds())
		e.last = now
	}
}

// Sent implements session.Steps.
func (s *steps) Sent(took time.Duration) {
	if s != nil {
		s.sent.took(took)
	}
}

// Decided implements session.Steps.
func (s *steps) Decided(took time.Duration) {
	if s != nil {
		s.decided.took(took)
	}
}

// Settled implements session.Steps.
func (s *steps) Settled(took time.Duration) {
	if s != nil {
		s.settled.Observe(took.Seconds())
	}
}

// Walked implements session.Steps.
func (s *steps) Walked(took time.Duration) {
	if s != nil {
		s.walked.Observe(took.Seconds())
	}
}

// timedFIB is a FIB whose writes are told of, one for each batch.
type timedFIB struct {
	session.FIB
	steps *steps
}

// Apply implements session.FIB.
func (f timedFIB) Apply(ctx context.Context, name string, changes []vrf.Change) error {
	began := time.Now()
	err := f.FIB.Apply(ctx, name, changes)
	if f.steps != nil {
		f.steps.written.took(time.Since(began))
		f.steps.batch.Observe(float64(len(changes)))
	}
	return err
}

// timedKernel is a Kernel whose comparisons are told of.
type timedKernel struct {
	Kernel
	steps *steps
}

// Apply implements Kernel.
func (k timedKernel) Apply(ctx context.Context, desired vrf.Host, o vrf.Options) (vrf.Result, error) {
	began := time.Now()
	result, err := k.Kernel.Apply(ctx, desired, o)
	if k.steps != nil {
		what := k.steps.links
		if o.Links == nil {
			what = k.steps.host
		}
		what.Observe(time.Since(began).Seconds())
	}
	return result, err
}

// timedVerify is the mender's FIB whose comparisons are told of, but for those that
// were interrupted.
type timedVerify struct {
	verifiedRoutes
	steps *steps
}

// Verify implements verifiedRoutes.
func (v timedVerify) Verify(ctx context.Context) error {
	began := time.Now()
	err := v.verifiedRoutes.Verify(ctx)
	if err == nil && v.steps != nil {
		v.steps.learned.Observe(time.Since(began).Seconds())
	}
	return err
}
