package log

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hostroute/hostroute/internal/pace"
)

// turns has requests for snapshots wait until others are done, in the order in
// which they came. Who waits is told so again and again, so that nobody takes a
// service that is busy for one that is gone: thousands of hypervisors that start
// together would ask again and again, and the service work on questions of which
// nobody wants the answer any more. Of those that one asker has sent all the
// same only the last counts.
type turns struct {
	mu     sync.Mutex
	free   int // how many may be worked on besides those that are
	queue  []*request
	latest map[string]*request
}

// request is one that waits.
type request struct {
	asker string
	ended chan turn // capacity 1
}

// turn is how waiting ended.
type turn int

const (
	turnCome turn = iota
	turnStopping
	turnSuperseded
)

// headerAsker names on a request who may have asked before.
const headerAsker = "hr-asker"

// assurance is how often who waits is told so; followers wait for longer than
// this.
const assurance = pace.Assurance

func newTurns(n int) *turns { return &turns{free: n, latest: map[string]*request{}} }

// await waits for the asker's turn and calls waits meanwhile. After turnCome
// the caller leaves. An asker without a name supersedes nobody.
func (t *turns) await(ctx context.Context, asker string, waits func()) turn {
	r := &request{asker: asker, ended: make(chan turn, 1)}
	t.enter(r)
	again := time.NewTicker(assurance)
	defer again.Stop()
	for {
		select {
		case how := <-r.ended:
			return how
		case <-ctx.Done():
			if t.withdraw(r) {
				return turnStopping
			}
			return <-r.ended
		case <-again.C:
			waits()
		}
	}
}

func (t *turns) enter(r *request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if before := t.latest[r.asker]; before != nil && t.drop(before) {
		before.ended <- turnSuperseded
	}
	if t.free > 0 {
		t.free--
		r.ended <- turnCome
		return
	}
	t.queue = append(t.queue, r)
	if r.asker != "" {
		t.latest[r.asker] = r
	}
}

// leave gives the place to the next.
func (t *turns) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		t.free++
		return
	}
	next := t.queue[0]
	t.drop(next)
	next.ended <- turnCome
}

// withdraw takes a request from the queue, unless its waiting has ended.
func (t *turns) withdraw(r *request) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.drop(r)
}

func (t *turns) drop(r *request) bool {
	i := slices.Index(t.queue, r)
	if i < 0 {
		return false
	}
	t.queue = slices.Delete(t.queue, i, i+1)
	if t.latest[r.asker] == r {
		delete(t.latest, r.asker)
	}
	return true
}
