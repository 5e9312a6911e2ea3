package observe

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/bench/site"
)

// Watcher is told by the kernel of each host route that is written to the table of a
// site, or deleted.
type Watcher struct {
	socket *socket
	done   sync.WaitGroup
	stop   chan struct{}

	mu     sync.Mutex
	writes int
	last   time.Time
	err    error
	of     netip.Addr
	wake   chan time.Time
}

// Watch begins to count.
func Watch(s *site.Site, f bench.Family) (*Watcher, error) {
	group := uint32(1 << (unix.RTNLGRP_IPV4_ROUTE - 1))
	if f == 6 {
		group = 1 << (unix.RTNLGRP_IPV6_ROUTE - 1)
	}
	k, err := open(s, group)
	if err != nil {
		return nil, err
	}
	// A short wait, so that Close is noticed.
	if err := unix.SetsockoptTimeval(k.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
		return nil, errors.Join(err, k.close())
	}
	w := &Watcher{socket: k, stop: make(chan struct{}), wake: make(chan time.Time, 64)}
	w.done.Go(w.run)
	return w, nil
}

func (w *Watcher) run() {
	var got route
	for {
		select {
		case <-w.stop:
			return
		default:
		}
		err := w.socket.receive(func(m message) error {
			if (m.kind == unix.RTM_NEWROUTE || m.kind == unix.RTM_DELROUTE) && got.parse(m.body) {
				w.note(&got)
			}
			return nil
		})
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			w.mu.Lock()
			w.err = err
			w.mu.Unlock()
		}
	}
}

func (w *Watcher) note(r *route) {
	if r.table != site.Table || !r.to.IsSingleIP() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	w.last = time.Now()
	if r.to.Addr() == w.of {
		select {
		case w.wake <- w.last:
		default: // there are enough to look at
		}
	}
}

// Of says whose writes are told of from now on.
func (w *Watcher) Of(a netip.Addr) <-chan time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.of = a
	for len(w.wake) > 0 {
		<-w.wake
	}
	return w.wake
}

// Writes is how many there were, and when the last one was. The error says that some
// were missed.
func (w *Watcher) Writes() (int, time.Time, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes, w.last, w.err
}

// Close ends the counting.
func (w *Watcher) Close() error {
	close(w.stop)
	w.done.Wait()
	return w.socket.close()
}
