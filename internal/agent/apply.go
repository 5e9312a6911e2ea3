package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hostroute/hostroute/internal/arrival"
	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/internal/handover"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/kernel"
)

// How long the apply loop waits at most between two comparisons of everything,
// and after a failed one: it reads the tables of learned routes, too, so a
// failure that lasts is looked at less and less often.
const (
	resyncInterval = time.Minute
	retryInterval  = time.Second
	longestRetry   = 16 * time.Second
)

// Kernel is what the apply loop needs of a kernel.
type Kernel interface {
	// Apply brings the kernel to what is desired, or the links that the options
	// restrict it to.
	Apply(ctx context.Context, desired vrf.Host, o vrf.Options) (vrf.Result, error)
	// Read reads what the kernel has of what is desired and of ours.
	Read(ctx context.Context, desired vrf.Host) (vrf.Actual, error)
	// Forget tells that routes may be gone, or somebody else's.
	Forget(routes []kernel.Route)
}

// Announcer takes the whole set of what is to be announced.
type Announcer interface {
	Announce(set []bgp.Announcement)
	// Hush has sessions that come up say nothing before the next Announce.
	Hush()
}

// Projection is where the desired state comes from.
type Projection interface {
	State() *projector.State
	// Known tells whether State may be announced.
	Known() bool
	// InSync tells whether State is all there is, so that the rest may go.
	InSync() bool
	// Current tells whether nothing of the log is known to be missing just now.
	Current() bool
}

// guestServer tells guests what is theirs, by servers on their taps.
type guestServer interface {
	// Set takes what is desired, which taps are present, and which guests are
	// expected on which taps.
	Set(host projector.Host, present map[string]bool, expected map[string]arrival.Guest)
}

// applier compares what is desired with what the kernel has and executes the
// difference, one round at a time.
type applier struct {
	hypervisor string
	fixed      vrf.Host // the devices and uplinks of the configuration
	projection Projection
	kernel     Kernel
	announcer  Announcer
	guests     guestServer
	rounded    func() // called after each round of Run; it must not wait
	moving     *moving
	steps      *steps // may be nil
	desirer    *projector.Desirer
	log        *slog.Logger

	wake    chan struct{} // capacity 1
	pings   chan chan struct{}
	applied chan struct{} // closed after the first round that announced
	brought chan struct{} // closed after the first of Run that succeeded
	scope   scope
	taps    []vrf.Tap // desired in the last round that succeeded
	holes   []vrf.Blackhole
	swept   bool // a round in sync has succeeded
	left    orphanage
	taken   presence
	told    telling

	complaint string // the error that was logged last: it is said once

	mu        sync.Mutex
	report    applyReport
	announced []bgp.Announcement
	said      bool // announced was handed over, if only an empty set
	stale     bool // what the round under way knows, since Hush
}

// applyReport is what the last round found.
type applyReport struct {
	at         time.Time
	operations uint64
	rounds     uint64 // all, and those that failed
	failures   uint64
	waiting    []string // taps and uplinks that don't exist
	leftOut    []string // those whose VRF can't be used
	errs       []string
	conflicts  []string // what the last full plan and those since left out
	problems   []string // conflicts, and what the log wants and can't be
	host       projector.Host
	present    map[string]bool // taps that exist
	orphans    orphans
}

func newApplier(hypervisor string, fixed vrf.Host, p Projection, k Kernel, g guestServer, log *slog.Logger) *applier {
	return &applier{
		hypervisor: hypervisor, fixed: fixed, projection: p, kernel: k, guests: g, rounded: func() {}, log: log, moving: newMoving(hypervisor),
		desirer: projector.NewDesirer(hypervisor), told: telling{due: true, indexes: map[string]uint32{}},
		wake: make(chan struct{}, 1), pings: make(chan chan struct{}), applied: make(chan struct{}), brought: make(chan struct{}),
		scope: scope{full: true, links: map[string]bool{}},
	}
}

// Notice has the next round look at what changed in the kernel.
func (a *applier) Notice(n kernel.Notice) {
	a.scope.notice(n, a.fixed.VRFs)
	a.Wake()
}

// Wake asks for a round; any number of calls before it starts are one.
func (a *applier) Wake() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run works until the context ends. Wakes don't put the comparison of everything
// off, or a host where something always changes would never have one.
func (a *applier) Run(ctx context.Context) error {
	first, brought := a.applied, a.brought
	again, due := time.NewTimer(resyncInterval), time.NewTimer(resyncInterval)
	defer again.Stop()
	defer due.Stop()
	pause := retryInterval
	for {
		known, err := a.round(ctx)
		a.rounded()
		if ctx.Err() != nil {
			return nil
		}
		switch failed := a.complain(err); {
		case err != nil:
			again.Reset(pause)
			pause = min(2*pause, longestRetry)
		case failed:
			again.Reset(resyncInterval)
			pause = retryInterval
		}
		if err == nil && brought != nil {
			close(brought)
			brought = nil
		}
		if known && first != nil {
			close(first)
			first = nil
		}
		due.Reset(a.moving.pause())
		if !a.wait(ctx, again, due.C) {
			return nil
		}
	}
}

// wait waits until a round is due, and tells whether the context goes on.
func (a *applier) wait(ctx context.Context, again *time.Timer, due <-chan time.Time) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case came := <-a.pings:
			close(came)
		case <-a.wake:
			return true
		case <-due:
			return true
		case <-again.C:
			again.Reset(resyncInterval)
			a.scope.all()
			return true
		}
	}
}

// complain logs an error that is not that of the round before, and tells
// whether that one had any.
func (a *applier) complain(err error) (failed bool) {
	failed = a.complaint != ""
	switch {
	case err == nil:
		a.complaint = ""
	case err.Error() != a.complaint:
		a.complaint = err.Error()
		a.log.Warn("applying the desired state; trying again until it succeeds", "err", err)
	}
	return failed
}

// round is one comparison. It tells whether it announced: whether the
// projection was known, and what the kernel has.
func (a *applier) round(ctx context.Context) (bool, error) {
	a.steps.Taken()
	before, said := a.begin()
	known, inSync := a.projection.Known(), a.projection.InSync()
	state, now := a.projection.State(), a.moving.now()
	arrived := a.moving.arrived(now, state)
	host := a.desirer.Desired(state, arrived)
	a.steps.Projected()
	desired := a.fixed
	taps, problems := a.servable(host)
	had := a.snapshot().present
	own := a.moving.own(state, arrived, had, a.taken.version)
	moved := a.moving.step(now, handover.Input{
		Own: own, Departures: departures(host),
		Announced: before, Known: known, Current: a.projection.Current(), Fenced: host.Fenced,
	})
	desired.Taps, desired.Blackholes = withhold(taps, moved.Withheld), a.blackholes(moved.Blackholes)

	var kept orphans
	var unread error
	if inSync && a.left.open() {
		kept, unread = a.orphans(ctx, desired, account(moved.Withheld, departures(host)))
		inSync = !a.left.open() && unread == nil
	}
	beyond := moved.Keep // announced, and not for a guest that the log has here
	if len(kept.list) > 0 {
		beyond = slices.SortedStableFunc(slices.Values(slices.Concat(kept.list, beyond)), order)
	}
	if known && said { // withdraw before the route goes
		a.announce(intersect(before, union(routed(host, desired.Taps), beyond)))
	}
	planned, err := a.apply(ctx, desired, inSync)
	a.steps.Applied(planned)
	err = errors.Join(err, unread)
	present := a.noteRound(host, desired.Taps, problems, err)
	if a.moving.awaited && !maps.Equal(had, present) {
		a.Wake() // the machine is to know of the taps that came or went
	}
	var refused func(target) bool
	if known && planned && err != nil {
		refused, planned = a.refused(ctx, desired)
	}
	// Where the kernel could not be read what was announced stays: that is no
	// knowledge that it is gone.
	if known = known && planned && unread == nil; known {
		a.announce(union(reachable(host, desired.Taps, present, refused), beyond))
	}
	a.steps.Announced(known, planned)
	a.tell(host, present, expected(state, host, a.hypervisor))
	return known, err
}

// apply brings the kernel to what is desired, in all or where something
// changed, and keeps what it found. After a failure the next round looks at
// everything. It tells whether there was a plan: there is none if the kernel
// couldn't be read, and then nothing is known of it.
func (a *applier) apply(ctx context.Context, desired vrf.Host, inSync bool) (planned bool, err error) {
	full, links, damaged := a.scope.take()
	a.told.due = a.told.due || full || a.told.anew(links)
	told := slices.AppendSeq([]string{}, maps.Keys(links)) // not nil: of all others nothing was told
	addChanged(links, a.taps, desired.Taps)
	addDamaged(links, damaged, desired)
	a.kernel.Forget(damaged)
	o := vrf.Options{Sweep: inSync, Told: told}
	if !full && inSync == a.swept {
		if len(links)+len(damaged) == 0 && slices.Equal(a.holes, desired.Blackholes) {
			return true, nil
		}
		o.Links = slices.AppendSeq([]string{}, maps.Keys(links)) // not nil: a last resort has no link
		slices.Sort(o.Links)
	}
	result, err := a.kernel.Apply(ctx, desired, o)
	if err != nil {
		a.scope.all()
	} else {
		a.taps, a.holes, a.swept = desired.Taps, desired.Blackholes, inSync
	}
	if len(result.Ops) > 0 {
		a.log.Debug("plan executed", "operations", len(result.Ops), "waiting", result.Waiting, "links", o.Links)
	}
	if planned = err == nil || len(result.Ops) > 0; planned {
		a.note(func(r *applyReport) { r.plan(result, o.Links == nil, links) })
	}
	return planned, err
}

// plan keeps what a plan found about all links, or about some.
func (r *applyReport) plan(result vrf.Result, full bool, links map[string]bool) {
	renew := func(list, found []string) []string {
		list = slices.DeleteFunc(list, func(name string) bool { return full || links[name] })
		list = append(list, found...)
		slices.Sort(list)
		return slices.Compact(list) // a plan tells of taps that share a route with these, too
	}
	r.operations += uint64(len(result.Ops))
	r.waiting = renew(r.waiting, result.Waiting)
	r.leftOut = renew(r.leftOut, result.LeftOut)
	if full {
		r.conflicts = nil
	}
	for _, p := range result.Problems {
		if !slices.Contains(r.conflicts, p.Error()) {
			r.conflicts = append(r.conflicts, p.Error())
		}
	}
}

// noteRound reports a round and marks the taps that exist and can be served.
func (a *applier) noteRound(host projector.Host, taps []vrf.Tap, problems []string, err error) (present map[string]bool) {
	a.note(func(r *applyReport) {
		present = a.taken.mark(taps, slices.Concat(r.waiting, r.leftOut))
		r.host, r.present, r.errs = host, present, nil
		r.problems = slices.Concat(problems, r.conflicts)
		r.rounds++
		if err != nil {
			r.failures++
			r.errs = strings.Split(err.Error(), "\n") // joined errors are a line each
		} else {
			r.at = time.Now()
		}
	})
	return present
}

// refused reads back, after a round with failures, which routes aren't there.
// ok is false if that can't be read either.
func (a *applier) refused(ctx context.Context, desired vrf.Host) (refused func(target) bool, ok bool) {
	actual, err := a.kernel.Read(ctx, desired)
	if err != nil {
		return nil, false
	}
	tables := map[uint32]string{}
	for _, v := range a.fixed.VRFs {
		tables[v.Table] = v.Name
	}
	installed := map[target]bool{}
	for _, r := range actual.Routes {
		if r.Metric == vrf.MetricGuest {
			installed[target{tables[r.Table], r.Prefix}] = true
		}
	}
	return func(t target) bool { return !installed[t] }, true
}

// servable leaves out the taps in VRFs that this hypervisor doesn't have.
func (a *applier) servable(host projector.Host) (taps []vrf.Tap, problems []string) {
	for _, p := range host.Problems {
		problems = append(problems, "guest "+p.VM+", tap "+p.Tap+": "+p.Reason)
	}
	served := func(t vrf.Tap) bool {
		return slices.ContainsFunc(a.fixed.VRFs, func(v vrf.VRF) bool { return v.Name == t.VRF })
	}
	all := true
	for i := range host.Taps {
		all = all && served(host.Taps[i])
	}
	if all { // the very list, of which much is known
		return host.Taps, problems
	}
	for _, t := range host.Taps {
		if !served(t) {
			problems = append(problems, "tap "+t.Name+": VRF "+t.VRF+" is not in the configuration of this hypervisor; add it under vrfs")
			continue
		}
		taps = append(taps, t)
	}
	return taps, problems
}

func (a *applier) note(change func(*applyReport)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.report)
}

// snapshot copies the report of the last round.
func (a *applier) snapshot() applyReport {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.report
	r.waiting = slices.Clone(r.waiting)
	return r
}
