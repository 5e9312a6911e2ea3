package udp

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/bfd"
)

const (
	batch     = 64               // packets of one socket before deadlines are looked at
	tidyEvery = time.Second      // between looks at interfaces, and at counters
	retryLock = time.Millisecond // until the next try to publish
	leaveMax  = 2 * time.Second  // that peers get to understand that Run ends
)

// loop is what the loop's goroutine alone knows.
type loop struct {
	engine *Engine
	log    *slog.Logger
	origin time.Time // of instants
	random *rand.Rand

	table   *bfd.Table[*peer]
	peers   map[bfd.Key]*peer
	order   []*peer // those that are wanted, in the order of the set
	ports   map[place]*port
	sources map[uint16]bool
	queue   queue
	serial  uint64
	former  map[bfd.Key]bfd.Status // sessions of a former process, until the first set
	set     uint64                 // the number of the set that order is of

	polls    []unix.PollFd // the eventfd, and a port each
	readable []*port       // the ports in the order of polls, from the second on
	in       datagram
	out      bfd.Packet
	bytes    [bfd.Size]byte

	drops   [bfd.Drops]uint64
	dirty   bool        // something to publish
	news    bool        // and it is more than counters
	tidyAt  bfd.Instant // the next look at interfaces and counters
	timeout unix.Timespec
}

func (l *loop) now() bfd.Instant { return bfd.Instant(time.Since(l.origin)) }

// run is the loop itself.
func (l *loop) run(ctx context.Context) error {
	defer l.closeAll()
	for ctx.Err() == nil {
		if o := l.engine.wanted.Swap(nil); o != nil {
			l.set = o.number
			l.reconcile(o.specs)
		}
		if err := l.step(bfd.Never); err != nil {
			return err
		}
	}
	return l.leave()
}

// leave shuts every session, unless the next process goes on with them, and lets
// the peers of those that are shut understand it.
func (l *loop) leave() error {
	now := l.now()
	end := now.Add(leaveMax)
	for _, p := range l.peers {
		if l.engine.state == "" {
			p.leaving = true
			p.session.SetAdminDown(true, now)
			l.touch(p)
		}
	}
	for l.leaving() && l.now() < end {
		if err := l.step(end); err != nil {
			return err
		}
	}
	return nil
}

func (l *loop) leaving() bool {
	for _, p := range l.peers {
		if p.leaving {
			return true
		}
	}
	return false
}

// step waits for something and does it.
func (l *loop) step(until bfd.Instant) error {
	if err := l.wait(min(until, l.queue.first(), l.tidyAt)); err != nil {
		return err
	}
	now := l.now()
	l.receiveAll(now)
	l.advance(now)
	if now >= l.tidyAt {
		l.tidy(now)
	}
	l.publish()
	return nil
}

// wait returns when a socket has something or at an instant, and sometimes
// sooner.
func (l *loop) wait(until bfd.Instant) error {
	d := max(until.Sub(l.now()), 0)
	if l.dirty {
		d = min(d, retryLock)
	}
	l.timeout = unix.NsecToTimespec(int64(min(d, time.Hour)))
	n, err := unix.Ppoll(l.polls, &l.timeout, nil)
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("waiting for packets: %w", err)
	}
	if n <= 0 {
		for i := range l.polls {
			l.polls[i].Revents = 0
		}
	}
	if l.polls[0].Revents != 0 {
		_, _ = unix.Read(int(l.polls[0].Fd), l.in.buf[:8])
	}
	return nil
}

func (l *loop) receiveAll(now bfd.Instant) {
	for i, p := range l.readable {
		if l.polls[i+1].Revents == 0 {
			continue
		}
		for range batch {
			n, errno := l.in.receive(p.fd)
			if errno != 0 {
				break // EAGAIN, or an error that the next tidy finds
			}
			if drop, ok := l.take(p, n, now).(bfd.Drop); ok {
				l.drops[drop]++
			}
		}
	}
}

// take gives a datagram to its session. The error is a [bfd.Drop].
func (l *loop) take(from *port, n int, now bfd.Instant) error {
	if l.in.ttl() != ttl {
		return bfd.DropTTL
	}
	packet, err := bfd.Decode(l.in.buf[:n])
	if err != nil {
		return err
	}
	key := bfd.Key{Interface: from.place.iface, Local: from.place.local, Remote: l.in.from()}
	p, err := l.table.Lookup(&packet, key)
	if err != nil {
		return err
	}
	if err := p.session.Receive(&packet, now); err != nil {
		return err
	}
	l.touch(p)
	return nil
}

// advance does what is due, earliest first.
func (l *loop) advance(now bfd.Instant) {
	for l.queue.first() <= now {
		p := l.queue[0]
		for p.session.Advance(now, l.random.Uint32(), &l.out) {
			l.send(p)
		}
		l.touch(p)
		if p.leaving && p.session.Gone(now) {
			l.forget(p)
		}
	}
}

func (l *loop) send(p *peer) {
	if p.fd < 0 {
		return
	}
	l.out.Encode(&l.bytes)
	errno := p.to.send(p.fd, l.bytes[:])
	if errno != p.errno {
		p.errno = errno
		l.dirty, l.news = true, true
		p.changes++
	}
}

// touch notes what may have changed in a session.
func (l *loop) touch(p *peer) {
	deadline := p.session.Deadline()
	if p.leaving {
		deadline = min(deadline, p.session.GoneAt())
	}
	l.queue.update(p, deadline)
	if r := p.session.Revision(); r != p.revision {
		l.notice(p)
		p.revision = r
	}
}

// notice keeps the time and the log of a session's changes.
func (l *loop) notice(p *peer) {
	l.dirty, l.news = true, true
	p.changes++
	report := p.session.Report()
	if report.State == p.state {
		return
	}
	p.since = time.Now()
	if report.Falls != p.falls {
		p.falls, p.fellAt = report.Falls, p.since
	}
	if !p.leaving {
		p.say(l.log, report)
	}
	p.state = report.State
}

func randomBytes() (seed [2]uint64) {
	var b [16]byte
	_, _ = crand.Read(b[:]) // never fails
	return [2]uint64{binary.NativeEndian.Uint64(b[:8]), binary.NativeEndian.Uint64(b[8:])}
}
