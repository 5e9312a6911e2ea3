package feeder

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hostroute/hostroute/internal/bench/site"
)

// reflector is one that listens, with the session that it has.
type reflector struct {
	namespace string
	at        netip.AddrPort
	plane     int
	running   sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener
	session  *session
	changed  chan struct{}     // closed and made anew with each change of the session
	calls    map[net.Conn]bool // sessions, and what may become one
	heard    map[netip.Prefix]time.Time
}

func newReflector(namespace string, at netip.AddrPort, plane int) *reflector {
	return &reflector{
		namespace: namespace, at: at, plane: plane,
		changed: make(chan struct{}), calls: map[net.Conn]bool{}, heard: map[netip.Prefix]time.Time{},
	}
}

func (r *reflector) open() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener != nil {
		return nil
	}
	err := site.Do(r.namespace, func() (err error) {
		config := net.ListenConfig{Control: hopLimit}
		r.listener, err = config.Listen(context.Background(), "tcp4", r.at.String())
		return err
	})
	if err != nil {
		r.listener = nil
		return fmt.Errorf("listening as the reflector at %s: %w", r.at, err)
	}
	l := r.listener
	r.running.Go(func() { r.accept(l) })
	return nil
}

func (r *reflector) close() error {
	r.mu.Lock()
	l := r.listener
	r.listener = nil
	r.mu.Unlock()
	if l == nil {
		return nil
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("closing the reflector at %s: %w", r.at, err)
	}
	return nil
}

func (r *reflector) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return // closed
		}
		r.running.Go(func() {
			r.call(c, true)
			r.serve(c)
			r.call(c, false)
			_ = c.Close()
		})
	}
}

// call notes a connection, or that it has ended.
func (r *reflector) call(c net.Conn, begins bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !begins:
		delete(r.calls, c)
	case r.listener == nil: // it came with the end
		_ = c.Close()
	default:
		r.calls[c] = true
	}
}

// hangUp closes all connections; their readers notice.
func (r *reflector) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.calls {
		_ = c.Close()
	}
}

func (r *reflector) current() *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.session
}

// turn changes the session, from one to another.
func (r *reflector) turn(from, to *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if from != nil && r.session != from {
		return // there is another one already
	}
	r.session = to
	close(r.changed)
	r.changed = make(chan struct{})
}

// established waits for a session, unless nobody can call.
func (r *reflector) established(ctx context.Context) error {
	return r.until(ctx, func() bool { return r.session != nil || r.listener == nil })
}

func (r *reflector) ended(ctx context.Context) error {
	return r.until(ctx, func() bool { return r.session == nil })
}

func (r *reflector) until(ctx context.Context, so func() bool) error {
	for {
		r.mu.Lock()
		done, changed := so(), r.changed
		r.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
