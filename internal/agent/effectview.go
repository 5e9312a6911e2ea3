package agent

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/vrf"
)

// effects answers, over the log's connection, whether this hypervisor has the
// effect of events. It is woken by what changes that: rounds of the apply loop,
// writes of learned routes, the log.
type effects struct {
	hypervisor string
	look       func() holdings // at what there is; set before Run

	mu      sync.Mutex
	serving *log.EffectWitness // nil: not connected yet
	ticks   []tickAt           // when this hypervisor learned of them, oldest first
}

// tickAt is when it was known how far the log is.
type tickAt struct {
	sequence uint64
	at       time.Time
}

// rememberedTicks is of how many events it is known when they were learned of.
const rememberedTicks = 256

// serve answers until the context ends.
func (e *effects) serve(ctx context.Context, nc *nats.Conn, t *logTask) error {
	s := log.NewEffectWitness(nc, e.hypervisor, e.decider, t.log)
	e.mu.Lock()
	e.serving = s
	e.mu.Unlock()
	return s.Run(ctx)
}

// Wake has those looked at who wait. It never waits itself.
func (e *effects) Wake() {
	e.mu.Lock()
	s := e.serving
	e.mu.Unlock()
	if s != nil {
		s.Wake()
	}
}

// learned notes how far the log is known.
func (e *effects) learned(tick uint64, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.ticks); n > 0 && e.ticks[n-1].sequence >= tick {
		return
	}
	e.ticks = append(e.ticks, tickAt{tick, now})
	if n := len(e.ticks) - rememberedTicks; n > 0 {
		e.ticks = slices.Delete(e.ticks, 0, n)
	}
}

// since is how long ago this hypervisor learned of an event; 0: nobody knows.
func (e *effects) since(sequence uint64, now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	i, _ := slices.BinarySearchFunc(e.ticks, sequence, func(t tickAt, s uint64) int {
		if t.sequence < s {
			return -1
		}
		return 1
	})
	if i == 0 || i == len(e.ticks) { // before what is remembered, or not yet
		return 0
	}
	return now.Sub(e.ticks[i].at)
}

// decider looks once, for any number of questions.
func (e *effects) decider() func(log.Effect) log.EffectAnswer {
	h := e.look()
	return func(wanted log.Effect) log.EffectAnswer {
		a := h.answer(wanted)
		if a.Has && wanted.Hypervisor == e.hypervisor {
			a.After = e.since(wanted.Sequence, time.Now()).Seconds()
		}
		return a
	}
}

// holdings is what there is now.
func (a *Agent) holdings() holdings {
	status := a.ledger.status()
	report := a.apply.snapshot()
	announced, _ := a.apply.current()
	h := holdings{
		hypervisor: a.cfg.Hypervisor, state: a.ledger.State(), tick: status.Tick, connected: status.Connected,
		vrfs: map[string]reflectors{}, present: report.present, errs: report.errs, problems: report.problems,
		failing: failures(a.guests.status()), claims: a.apply.moving.claims(), drain: a.drain.status(), learned: a.learnedRoute,
	}
	h.set(report.host, announced)
	for _, name := range a.vrfs() {
		h.vrfs[name] = reflectors{}
	}
	for _, p := range a.speaker.Peers() {
		r := h.vrfs[p.VRF]
		r.configured++
		if p.State == session.Established {
			r.established++
		}
		h.vrfs[p.VRF] = r
	}
	return h
}

// claims are the prefixes of this hypervisor that others announce as newer homes.
func (m *moving) claims() map[target]netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	claims := map[target]netip.Addr{}
	for _, c := range m.machine.Report().Claims {
		claims[target{c.VRF, c.Prefix}] = c.Originator
	}
	return claims
}

// tick is how far the log is known, as far as it concerns this hypervisor.
func (t *logTask) tick() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.follower == nil {
		return t.cursor.Tick.Sequence
	}
	return t.follower.Status().Tick
}

// learnedRoute is what was learned of a prefix, and whether the kernel has it.
func (a *Agent) learnedRoute(t target) learnedRoute {
	r, ok := a.speaker.Routes(t.vrf, t.prefix)
	l := learnedRoute{waiting: a.written.busy(t) || ok && r.Pending, refused: ok && r.Failed}
	for _, p := range r.Paths {
		if p.Chosen {
			l.known, l.preference, l.from = true, p.LocalPref, p.NextHop
			if p.Originator.IsValid() {
				l.from = p.Originator
			}
			break
		}
	}
	return l
}

// writtenFIB is a FIB that tells when it has written, and what it writes just now.
type writtenFIB struct {
	session.FIB
	wrote func() // called after each write; it must not wait

	mu      sync.Mutex
	writing map[string][]vrf.Change // by VRF
}

var _ session.FIB = (*writtenFIB)(nil)

func newWrittenFIB(f session.FIB, wrote func()) *writtenFIB {
	return &writtenFIB{FIB: f, wrote: wrote, writing: map[string][]vrf.Change{}}
}

// Apply implements session.FIB.
func (f *writtenFIB) Apply(ctx context.Context, name string, changes []vrf.Change) error {
	f.set(name, changes)
	err := f.FIB.Apply(ctx, name, changes)
	f.set(name, nil)
	f.wrote()
	return err
}

func (f *writtenFIB) set(name string, changes []vrf.Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writing[name] = changes
}

// busy tells whether a prefix is just being written.
func (f *writtenFIB) busy(t target) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.writing[t.vrf], func(c vrf.Change) bool { return c.Prefix == t.prefix })
}
