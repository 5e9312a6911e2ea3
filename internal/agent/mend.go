package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/kernel"
)

// verifiedRoutes is what the mender needs of the FIB.
type verifiedRoutes interface {
	Lost(ctx context.Context, vrf string, prefixes []netip.Prefix) error
	Verify(ctx context.Context) error
}

// mender brings back routes that somebody else deleted or replaced: those that a
// notice names at once and at the cost of these alone, and whatever else is found
// by reading all routes now and then. The apply loop reads none: what is found of
// its routes is told to it by kernel.FIB.Share.
type mender struct {
	fib    verifiedRoutes
	tables map[uint32]string // the VRFs
	// damaged hands over what is the apply loop's: guests' routes and last resorts.
	damaged func(kernel.Notice)
	// report takes what went wrong, and has it tried again.
	report func(context.Context, error)
	log    *slog.Logger
	signal chan struct{} // capacity 1

	mu      sync.Mutex
	pending damage
}

// damage is what was told since the last repair.
type damage struct {
	routes map[kernel.Route]bool
	all    bool // more than maxNamed, or nobody knows which
	unsure bool // or perhaps none
}

// maxNamed is how many routes are written again one by one. Beyond, all are read.
const maxNamed = 4096

// How long the mender rests between two repairs, so that neither somebody who
// deletes a million routes nor somebody who deletes one over and over has it, and
// the apply loop, work without end; and how much of the time it may spend on
// comparing routes that nobody is known to have touched.
const (
	shortestRest = 100 * time.Millisecond
	longestRest  = 500 * time.Millisecond
	busyRest     = 10 * time.Second // where too much changes
	verifyShare  = 50               // one part in so many
)

// rest is how long to wait after a repair that took some time, and that came after
// a rest. The first damage for a while is mended at once, all else within a second.
func rest(before, took time.Duration, quiet bool) time.Duration {
	if quiet {
		before = 0
	}
	return max(min(max(2*before, shortestRest), longestRest), took)
}

// verifyAfter is how long after a comparison of all learned routes that took some
// time the next one begins: the promise is a minute, unless that is work all day.
func verifyAfter(took time.Duration) time.Duration {
	return max(resyncInterval, (verifyShare-1)*took)
}

func newMender(vrfs []vrf.VRF, fib verifiedRoutes, damaged func(kernel.Notice), report func(context.Context, error), log *slog.Logger) *mender {
	m := &mender{fib: fib, tables: map[uint32]string{}, damaged: damaged, report: report, log: log, signal: make(chan struct{}, 1)}
	for _, v := range vrfs {
		m.tables[v.Table] = v.Name
	}
	return m
}

// Notice takes what a notice tells of routes.
func (m *mender) Notice(n kernel.Notice) {
	// With what happened to a VRF device, or to nobody knows which link, the kernel
	// may have dropped routes, and it tells of none that is IPv4.
	unsure := n.Resync || slices.ContainsFunc(n.Links, m.isVRF)
	if len(n.Routes) == 0 && !n.AllRoutes && !unsure {
		return
	}
	m.mu.Lock()
	m.pending.add(n)
	m.pending.unsure = m.pending.unsure || unsure
	m.mu.Unlock()
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

func (m *mender) isVRF(link string) bool {
	for _, name := range m.tables {
		if name == link {
			return true
		}
	}
	return false
}

func (d *damage) add(n kernel.Notice) {
	if d.routes == nil {
		d.routes = map[kernel.Route]bool{}
	}
	for _, r := range n.Routes {
		d.routes[r] = true
	}
	if d.all = d.all || n.AllRoutes || len(d.routes) > maxNamed; d.all {
		clear(d.routes)
	}
}

// split tells the apply loop's routes from learned ones, by VRF.
func (d *damage) split(tables map[uint32]string) (guests []kernel.Route, learned map[string][]netip.Prefix) {
	learned = map[string][]netip.Prefix{}
	for r := range d.routes {
		name, known := tables[r.Table]
		switch {
		case !known:
		case r.Metric == vrf.MetricLearned:
			learned[name] = append(learned[name], r.Prefix)
		default:
			guests = append(guests, r)
		}
	}
	return guests, learned
}

func (m *mender) take() damage {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.pending
	m.pending = damage{}
	return d
}

// Run works until the context ends.
func (m *mender) Run(ctx context.Context) error {
	verify := time.NewTimer(resyncInterval)
	defer verify.Stop()
	var pause time.Duration
	var rested time.Time // when the last rest was over
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-verify.C:
			verify.Reset(m.verify(ctx))
			continue
		case <-m.signal:
		}
		began := time.Now()
		quiet := began.Sub(rested) >= 2*longestRest
		if again := m.mend(ctx, m.take(), quiet); again > 0 {
			verify.Reset(again)
		}
		pause = rest(pause, time.Since(began), quiet)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		rested = time.Now()
	}
}

// mend repairs damage, guests' routes first. If that compared all, it tells when
// to do it again. Without quiet before, somebody goes on and on, and was logged.
func (m *mender) mend(ctx context.Context, d damage, quiet bool) (again time.Duration) {
	level := slog.LevelDebug
	if quiet {
		level = slog.LevelWarn
	}
	if len(d.routes) > 0 || d.all {
		m.log.Log(ctx, level, "routes of ours were deleted or replaced by somebody else; writing them again", "routes", len(d.routes), "all", d.all)
	}
	guests, learned := d.split(m.tables)
	if len(guests) > 0 || d.all {
		m.damaged(kernel.Notice{Routes: guests, AllRoutes: d.all})
	}
	if d.all {
		return m.verify(ctx)
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(learned)) {
		errs = append(errs, m.fib.Lost(ctx, name, learned[name]))
	}
	if err := errors.Join(errs...); err != nil {
		m.report(ctx, err)
	}
	if d.unsure {
		return m.verify(ctx)
	}
	return 0
}

// verify mends all learned routes, and tells when to do it again.
func (m *mender) verify(ctx context.Context) time.Duration {
	began := time.Now()
	err := m.fib.Verify(ctx)
	switch {
	case errors.Is(err, kernel.ErrInterrupted):
		return longestRest
	case errors.Is(err, kernel.ErrBusy):
		return busyRest
	case err != nil:
		m.report(ctx, err)
	}
	return verifyAfter(time.Since(began))
}
