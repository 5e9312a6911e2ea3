package ra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
	"github.com/hostroute/hostroute/ipv6"
)

// wire is the way to the guest.
type wire interface {
	send(a ipv6.Advertisement, to netip.Addr) error
}

var _ wire = (*socket)(nil)

// tap is the task of one tap.
type tap struct {
	port fleet.Port
	in   func(func() error) error
	log  *slog.Logger

	stays func(fleet.Port) bool

	received receive.Stats
	wake     chan struct{} // capacity 1: what is due has changed

	mu       sync.Mutex
	router   ipv6.Router
	schedule *ipv6.Schedule // nil: not running
	status   Status
	said     string // the error of sending that was logged last
	seldom   receive.Seldom
}

var _ fleet.Task[ipv6.Service] = (*tap)(nil)

// Update implements [fleet.Task].
func (t *tap) Update(s ipv6.Service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.router = s.Router
	if t.schedule != nil {
		t.schedule.Update(time.Now(), s.Router)
		t.rouse()
	}
}

// rouse has the sender look again at what is due.
func (t *tap) rouse() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Run implements [fleet.Task].
func (t *tap) Run(ctx context.Context) error {
	var conn *socket
	open := func() (err error) { conn, err = listen(t.port); return err }
	if err := t.in(open); err != nil {
		return fmt.Errorf("advertising a router on %s: %w", t.port.Name, err)
	}
	defer conn.Close()
	t.begin()
	serving, stop := context.WithCancel(ctx)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		t.advertise(serving, conn)
	}()
	err := receive.Serve(serving, conn, rate, &t.received, t.log, func(packet []byte, from sender) { t.answer(conn, packet, from) })
	stop()
	<-sent
	if final := t.end(); errors.Is(context.Cause(ctx), fleet.ErrDropped) && t.stays(t.port) {
		// The device may have gone before; then there is nobody to tell.
		if err := conn.send(final, allNodes); err != nil {
			t.log.Debug("the last router advertisement could not be sent", "err", err)
		}
	}
	return err
}

func (t *tap) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.schedule = ipv6.NewSchedule(time.Now(), t.router)
}

// end returns what is to be said last.
func (t *tap) end() ipv6.Advertisement {
	t.mu.Lock()
	defer t.mu.Unlock()
	final := t.schedule.Final()
	t.schedule = nil
	return final
}

// advertise sends what is due until its context ends.
func (t *tap) advertise(ctx context.Context, conn wire) {
	for {
		wait := ipv6.MinDelayBetweenRAs
		receive.Guard(&t.received, t.log, func() { wait = t.multicast(conn) })
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-t.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// multicast sends an advertisement to the guest if one is due, and returns how
// long it is until the next.
func (t *tap) multicast(conn wire) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if now.Before(t.schedule.Next()) {
		return t.schedule.Next().Sub(now)
	}
	if t.send(conn, allNodes, now) {
		t.schedule.Sent(now, rand.Float64())
	} else {
		t.schedule.Postpone(now)
	}
	return t.schedule.Next().Sub(now)
}

// answer handles a packet of the guest.
func (t *tap) answer(conn wire, packet []byte, from sender) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if ipv6.CheckRouterSolicitation(packet, from.source, from.hopLimit) != "" {
		t.status.Invalid++
		return
	}
	t.status.Solicitations++
	t.status.LastSolicitation, t.status.LastSolicitor = now, from.source
	if t.schedule.Solicited(now, from.source) {
		t.send(conn, from.source, now)
	} else {
		t.rouse()
	}
}

// send sends the advertisement of the moment and tells whether it could. The
// lock is held.
func (t *tap) send(conn wire, to netip.Addr, now time.Time) bool {
	if err := conn.send(t.schedule.Advertisement(), to); err != nil {
		t.status.Failed++
		if t.said != err.Error() && t.seldom.Pass(now) { // it names whom the guest claims to be
			t.said = err.Error()
			t.log.Warn("a router advertisement could not be sent; trying on", "err", err)
		}
		return false
	}
	t.said = ""
	t.status.Advertisements++
	t.status.LastAdvertisement = now
	return true
}

// now is what the tap did so far.
func (t *tap) now(err error) Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.status
	s.Limited, s.Panics = t.received.Limited.Load(), t.received.Panics.Load()
	if err != nil {
		s.Error = err.Error()
	}
	return s
}
