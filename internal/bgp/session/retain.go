package session

import (
	"context"
	"errors"
	"time"

	"github.com/hostroute/hostroute/internal/bgp"
)

// retention is what becomes of the paths of one family that a connection which
// fell has left behind.
type retention struct {
	phase phase
	back  bool      // the session is back: they wait to be told again
	lost  bool      // and the peer began from nothing
	due   time.Time // when the phase ends
	final time.Time // when they go if the peer doesn't come back
}

// phase is how far paths that are kept have come.
type phase uint8

const (
	none       phase = iota // nothing is kept
	restarting              // the peer may be restarting (RFC 4724)
	longLived               // it takes longer than that (RFC 9494)
)

// survival is what the way in which a session fell leaves of its paths.
type survival uint8

const (
	nothing    survival = iota
	lastResort          // at once what a restart that takes too long ends in
	everything
)

// survives sorts the falls:
//
//   - a lost connection is a restart (RFC 4724 section 4.2), and so is a
//     NOTIFICATION of either side where both said so, but a hard reset (RFC 8538
//     sections 3 and 4);
//   - silence, and a path that BFD, ours or theirs (RFC 9384), knows to be dead,
//     are none, whatever wraps them; but the routes may be as right as they
//     were, and who hears nothing from anybody does well not to lose them all
//     (RFC 9494 section 1): last resort;
//   - a peer that says that it is done, or an uplink that can't carry a packet,
//     leave nothing.
func survives(err error, notifications bool) survival {
	var down peerDown
	var theirs *notification
	var ours *fault
	switch {
	case errors.Is(err, ErrUplinkDown):
		return nothing
	case errors.As(err, &down):
		return lastResort
	case errors.As(err, &theirs) && theirs.bfdDown():
		return lastResort
	case theirs != nil && theirs.hard():
		return nothing
	case theirs != nil && !notifications && theirs.code != codeHold, errors.As(err, &ours) && !notifications:
		return nothing
	case (theirs != nil || errors.Is(err, errHold)) && !notifications:
		return lastResort
	}
	return everything
}

// keepFor gives how long paths of a family are kept: for a restart, and as the
// last resort after that.
func (n *negotiated) keepFor(left survival, f bgp.Family) (grace, long time.Duration) {
	if left == nothing || !n.families[f] || !n.restart.able {
		return 0, 0
	}
	if left == everything && n.restart.families[f] {
		grace = n.restart.time
	}
	return grace, n.longLived.time[f]
}

// keep ends in time what is kept, whatever the session is waiting for.
func (p *peer) keep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
		case <-p.dead:
			p.condemn()
		case <-p.due():
			p.expire()
		}
	}
}

// due gives when expire has to be called next, nil if there is nothing kept.
func (p *peer) due() <-chan time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	var next time.Time
	for _, r := range p.kept {
		if r.phase != none && (next.IsZero() || r.due.Before(next)) {
			next = r.due
		}
	}
	if next.IsZero() {
		return nil
	}
	return time.After(time.Until(next))
}

// fell decides what becomes of the paths of a session that was established.
func (p *peer) fell(err error, neg *negotiated) {
	p.counters.complete.Store(false)
	left, now := survives(err, neg.restart.notification), time.Now()
	p.keeping.Lock()
	defer p.keeping.Unlock()
	p.mu.Lock()
	if p.buried {
		left = min(left, lastResort)
	}
	p.mu.Unlock()
	for _, f := range bgp.Families {
		grace, long := neg.keepFor(left, f)
		if grace+long == 0 {
			p.set(f, retention{})
			p.rib.walk(func(r *bgp.RIB) *bgp.Walk { return r.DropFamily(p.source, f) })
			continue
		}
		next := retention{phase: restarting, due: now.Add(grace), final: now.Add(grace + long)}
		switch old := p.kept[f]; {
		case old.phase != none && long == 0:
			p.sweep(f) // what was stale before has had its chance (RFC 4724 section 4.2)
		case old.phase != none && old.final.Before(next.final):
			// Its time runs until it is told again (RFC 9494 section 4.2): a
			// peer that comes and goes doesn't live for ever by that.
			next.final = old.final
		}
		p.set(f, next)
		if grace == 0 {
			p.linger(f)
			continue
		}
		p.rib.walk(func(r *bgp.RIB) *bgp.Walk { return r.MarkStale(p.source, f) })
	}
}

// linger makes the paths that are kept of a family the last resort; p.keeping
// is held.
func (p *peer) linger(f bgp.Family) {
	r := p.kept[f]
	r.phase, r.due = longLived, r.final
	p.set(f, r)
	p.rib.walk(func(r *bgp.RIB) *bgp.Walk { return r.MarkLongLived(p.source, f) })
}

// condemn is for a peer of which it becomes known that it is not restarting but
// dead, after its session fell.
func (p *peer) condemn() {
	p.keeping.Lock()
	defer p.keeping.Unlock()
	for _, f := range bgp.Families {
		if r := p.kept[f]; r.phase == restarting && !r.back && r.due.Before(r.final) {
			p.linger(f)
		}
	}
}

// revive decides about kept paths when the session is back: they wait for the
// End-of-RIB. What led through a peer that lost its forwarding state is gone
// (RFC 4724 section 4.2, RFC 9494 section 4.2); what it reflects never did.
func (p *peer) revive(neg *negotiated) {
	p.keeping.Lock()
	defer p.keeping.Unlock()
	p.mu.Lock()
	p.buried = false
	p.mu.Unlock()
	p.wasUp = true
	p.ended = [2]bool{}
	p.counters.complete.Store(false)
	for _, f := range bgp.Families {
		r := p.kept[f]
		if r.phase == none {
			continue
		}
		if !neg.families[f] || !neg.restart.families[f] && !neg.longLived.families[f] {
			p.sweep(f) // nobody would tell when they are stale no more
			continue
		}
		r.lost = !neg.restart.forwarding[f] && !neg.longLived.forwarding[f]
		if r.lost {
			address := p.cfg.Address.WithZone("")
			p.rib.walk(func(r *bgp.RIB) *bgp.Walk { return r.SweepThrough(p.source, f, address) })
		}
		r.back, r.due = true, time.Now().Add(p.s.cfg.StaleTime)
		if r.phase == longLived && r.final.Before(r.due) {
			r.due = r.final
		}
		p.set(f, r)
	}
}

// expire ends the phases that are due.
func (p *peer) expire() {
	p.keeping.Lock()
	defer p.keeping.Unlock()
	for _, f := range bgp.Families {
		r := p.kept[f]
		switch {
		case r.phase == none || time.Now().Before(r.due):
		case r.phase == restarting && !r.back && r.due.Before(r.final):
			p.linger(f)
		default:
			p.sweep(f)
		}
	}
}

// toldAll takes out what the peer did not tell again by its End-of-RIB. One
// that began from nothing, and kept its End-of-RIB for nobody (RFC 4724 section
// 4.1), may have heard of none of its other clients by then, while they come
// back to it just like us: the deferral is for them.
func (p *peer) toldAll(f bgp.Family) {
	p.keeping.Lock()
	defer p.keeping.Unlock()
	r := p.kept[f]
	if r.phase == none || !r.lost {
		p.sweep(f)
		return
	}
	if at := time.Now().Add(p.s.cfg.Deferral); at.Before(r.due) {
		r.due = at
		p.set(f, r)
	}
}

// forget takes out what is kept of a family.
func (p *peer) forget(f bgp.Family) {
	p.keeping.Lock()
	defer p.keeping.Unlock()
	p.sweep(f)
}

// sweep is forget with p.keeping held.
func (p *peer) sweep(f bgp.Family) {
	if p.kept[f].phase == none {
		return
	}
	p.set(f, retention{})
	p.rib.walk(func(r *bgp.RIB) *bgp.Walk { return r.Sweep(p.source, f) })
}

func (p *peer) set(f bgp.Family, r retention) {
	p.mu.Lock()
	p.kept[f] = r
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}
