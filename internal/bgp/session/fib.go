package session

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/vrf"
)

const (
	batch        = 512
	firstPause   = 100 * time.Millisecond
	longestPause = 3 * time.Second

	// patience is how many calls may fail for one batch before the rest of it
	// is left for later: enough to single out a few bad routes.
	patience = 24
)

// rib is the RIB of one VRF, shared by its sessions, and the goroutine that
// writes what comes out of it.
type rib struct {
	vrf  string
	log  *slog.Logger
	wake chan struct{}

	peers []*peer

	mu      sync.Mutex
	rib     *bgp.RIB
	heard   []time.Time     // when each session that tells its table was heard of last
	telling []time.Time     // and since when it tells
	idle    []chan struct{} // closed when nothing is pending
	lastErr error
	errs    uint64

	steps Steps
	since time.Time // since when there may be something to write; zero: there is nothing
	busy  bool      // and some of it was

	watcher func()         // called when a watched prefix changed, or was written
	writing []netip.Prefix // watched prefixes of the batch that is being written
}

func newRIB(name string, peers []*peer, log *slog.Logger) *rib {
	c := bgp.Config{Seed: [2]uint64{rand.Uint64(), rand.Uint64()}}
	for i, p := range peers {
		p.source = i
		c.Sources = append(c.Sources, bgp.Source{Peer: p.cfg.Name, Plane: p.cfg.Plane, Uplink: p.cfg.Uplink})
		for _, a := range []netip.Addr{p.cfg.LocalV4, p.cfg.LocalV6, p.cfg.Source} {
			if a.IsValid() {
				c.Local = append(c.Local, a)
			}
		}
	}
	return &rib{vrf: name, peers: peers, log: log.With("vrf", name), wake: make(chan struct{}, 1), rib: bgp.NewRIB(c), heard: make([]time.Time, len(peers)), telling: make([]time.Time, len(peers))}
}

// giveWay lets those run who wait for the CPU. Who goes through millions of routes calls it after
// each part, or what must be done at once, such as announcing a guest, would wait each time
// until the runtime thinks that it is another one's turn: for ten milliseconds.
func giveWay() { runtime.Gosched() }

// update applies a message of a session.
func (r *rib) update(source int, u *bgp.Update) {
	defer giveWay()
	defer r.poke()
	r.view(func(b *bgp.RIB) {
		b.Update(source, u)
		r.began()
		if b.Gathering() {
			r.heard[source] = time.Now()
		}
	})
}

func (r *rib) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// walk takes a walk, step by step, so that the other sessions and the writer
// get their turn in between.
func (r *rib) walk(start func(*bgp.RIB) *bgp.Walk) {
	began := time.Now()
	defer func() { r.steps.Walked(time.Since(began)) }()
	var w *bgp.Walk
	for more := true; more; {
		r.view(func(b *bgp.RIB) {
			if w == nil {
				w = start(b)
				r.began()
			}
			more = w.Step()
		})
		r.poke()
		giveWay()
	}
}

// view gives the RIB to look, and tells the watcher what that changed.
func (r *rib) view(look func(*bgp.RIB)) {
	if r.look(look) {
		r.watcher()
	}
}

func (r *rib) look(look func(*bgp.RIB)) (noticed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	look(r.rib)
	return r.rib.Noticed()
}

// hold waits until every session of the VRF has told everything, or for so
// long.
func (r *rib) hold(ctx context.Context, long time.Duration) {
	over := time.After(long)
	for _, p := range r.peers {
		select {
		case <-ctx.Done():
			return
		case <-p.delivered:
		case <-over:
			r.log.Warn("not all peers told their routes in time, going on", "missing", p.cfg.Name)
			return
		}
	}
}

// run writes changes until ctx ends. What failed is offered again after a
// pause that grows; a FIB that takes nothing at all gets the pause, too.
func (r *rib) run(ctx context.Context, fib FIB) {
	var retry <-chan time.Time
	pause := firstPause
	changes := make([]vrf.Change, 0, batch)
	for ctx.Err() == nil {
		select {
		case <-retry:
			retry = nil
			r.walk((*bgp.RIB).Retry)
		default:
		}
		waiting := r.rested()
		if changes = r.take(changes[:0], batch); len(changes) == 0 {
			r.wrote()
			if retry == nil {
				pause = firstPause
			}
			var look <-chan time.Time
			if waiting {
				look = time.After(lookAtRests)
			}
			retry = r.wait(ctx, retry, r.wake, look)
			continue
		}
		left := patience
		written := r.apply(ctx, fib, changes, &left)
		r.wrote()
		giveWay()
		if left < patience && retry == nil {
			retry = time.After(pause)
			pause = min(2*pause, longestPause)
		}
		if !written {
			retry = r.wait(ctx, retry, nil, nil)
		}
	}
}

// wait waits for a wake-up, the time to look, or the time to retry, and gives the
// timer of that back if it was not it.
func (r *rib) wait(ctx context.Context, retry <-chan time.Time, wake <-chan struct{}, look <-chan time.Time) <-chan time.Time {
	select {
	case <-ctx.Done():
	case <-wake:
	case <-look:
	case <-retry:
		r.walk((*bgp.RIB).Retry)
		return nil
	}
	return retry
}

// take gets the next batch, or tells those who wait that there is none.
func (r *rib) take(dst []vrf.Change, n int) []vrf.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	dst = r.rib.AppendChanges(dst, n)
	r.writing = r.rib.Handed()
	r.busy = r.busy || len(dst) > 0
	if len(dst) == 0 && r.rib.Failed() == 0 {
		r.settle()
		for _, c := range r.idle {
			close(c)
		}
		r.idle = nil
	}
	return dst
}

// apply writes a batch and tells whether any of it was written. One that fails
// is halved, so that a route that can't be written holds up no other, until
// there were too many failures.
func (r *rib) apply(ctx context.Context, fib FIB, changes []vrf.Change, left *int) (written bool) {
	err := fib.Apply(ctx, r.vrf, changes)
	if err == nil {
		return true
	}
	*left--
	if len(changes) > 1 && *left > 0 && ctx.Err() == nil {
		half := len(changes) / 2
		first := r.apply(ctx, fib, changes[:half], left)
		if *left > 0 {
			return r.apply(ctx, fib, changes[half:], left) || first
		}
		written, changes = first, changes[half:]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rib.Redo(changes)
	if r.lastErr == nil || r.lastErr.Error() != err.Error() {
		r.log.Error("writing routes", "first", changes[0].Prefix, "routes", len(changes), "error", err)
	}
	r.lastErr = err
	r.errs++
	return written
}

// settled gives a channel that is closed when all that is known now, and
// perhaps more, was written.
func (r *rib) settled() <-chan struct{} {
	c := make(chan struct{})
	r.mu.Lock()
	r.idle = append(r.idle, c)
	r.mu.Unlock()
	r.poke()
	return c
}
