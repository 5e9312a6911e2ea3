package session

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/vrf"
)

const (
	largestBatch = 512
	firstPause   = 100 * time.Millisecond
	longestPause = 10 * time.Second
)

// rib is the RIB of one VRF, shared by its sessions, and the goroutine that
// writes what comes out of it.
type rib struct {
	vrf  string
	log  *slog.Logger
	wake chan struct{}

	mu      sync.Mutex
	rib     *bgp.RIB
	idle    []chan struct{} // closed when nothing is pending
	lastErr error
	errs    uint64
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
	return &rib{vrf: name, log: log.With("vrf", name), wake: make(chan struct{}, 1), rib: bgp.NewRIB(c)}
}

// update applies a message of a session.
func (r *rib) update(source int, u *bgp.Update) {
	r.mu.Lock()
	defer func() {
		r.mu.Unlock()
		r.poke()
	}()
	r.rib.Update(source, u)
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
	r.mu.Lock()
	w := start(r.rib)
	for more := true; more; {
		more = w.Step()
		r.mu.Unlock()
		r.poke()
		r.mu.Lock()
	}
	r.mu.Unlock()
}

func (r *rib) view(look func(*bgp.RIB)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	look(r.rib)
}

// run writes changes until ctx ends. Batches that failed are offered again
// after a pause that grows, and are small then, so that one route that can't
// be written holds up no other.
func (r *rib) run(ctx context.Context, fib FIB) {
	var retry <-chan time.Time
	pause, size := firstPause, largestBatch
	changes := make([]vrf.Change, 0, largestBatch)
	for ctx.Err() == nil {
		select {
		case <-retry:
			retry = nil
			r.walk((*bgp.RIB).Retry)
		default:
		}
		if changes = r.take(changes[:0], size); len(changes) > 0 {
			if r.apply(ctx, fib, changes) {
				size = min(2*size, largestBatch)
				continue
			}
			size = max(1, size/4)
			if retry == nil {
				retry = time.After(pause)
				pause = min(2*pause, longestPause)
			}
			continue
		}
		if retry == nil {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-retry:
			retry = nil
			r.walk((*bgp.RIB).Retry)
		}
	}
}

// take gets the next batch, or tells those who wait that there is none.
func (r *rib) take(dst []vrf.Change, n int) []vrf.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	dst = r.rib.AppendChanges(dst, n)
	if len(dst) == 0 && r.rib.Failed() == 0 {
		for _, c := range r.idle {
			close(c)
		}
		r.idle = nil
	}
	return dst
}

func (r *rib) apply(ctx context.Context, fib FIB, changes []vrf.Change) bool {
	err := fib.Apply(ctx, r.vrf, changes)
	if err == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rib.Redo(changes)
	if r.lastErr == nil || r.lastErr.Error() != err.Error() {
		r.log.Error("writing routes", "first", changes[0].Prefix, "routes", len(changes), "error", err)
	}
	r.lastErr = err
	r.errs++
	return false
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
