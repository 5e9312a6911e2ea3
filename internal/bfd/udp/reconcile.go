package udp

import (
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/bfd"
)

// reconcile makes the sessions what the set says. Sessions are the same when
// they have the same ends on the same interface.
func (l *loop) reconcile(specs []bfd.Spec) {
	now := l.now()
	wanted := make(map[bfd.Key]bool, len(specs))
	l.order = l.order[:0]
	for _, spec := range specs {
		wanted[spec.Key] = true
		p := l.peers[spec.Key]
		if p == nil {
			p = l.add(spec, now)
		}
		if p.spec != spec || p.leaving {
			p.spec, p.leaving = spec, false
			p.changes++
		}
		p.session.SetAdminDown(spec.AdminDown, now)
		p.session.Configure(spec.Params)
		l.touch(p)
		l.order = append(l.order, p)
	}
	for key, p := range l.peers {
		if !wanted[key] && !p.leaving {
			p.leaving = true
			p.session.SetAdminDown(true, now)
			l.touch(p)
		}
	}
	l.former = nil
	l.tidyAt = 0 // opens what is not open yet
	l.dirty, l.news = true, true
}

// session makes the session of a spec, or goes on with that of a former process.
func (l *loop) session(spec bfd.Spec, now bfd.Instant) (s bfd.Session, f bfd.Status) {
	if f, ok := l.former[spec.Key]; ok && f.Resumable() && !l.table.Has(f.LocalDiscriminator) {
		return bfd.Resume(f.Report, spec.Params, now), f
	}
	discriminator := l.table.Discriminator(func() uint32 {
		var b [4]byte
		_, _ = crand.Read(b[:]) // never fails
		return binary.NativeEndian.Uint32(b[:])
	})
	return bfd.NewSession(discriminator, spec.Params, now), bfd.Status{Since: time.Now()}
}

func (l *loop) add(spec bfd.Spec, now bfd.Instant) *peer {
	l.serial++
	session, former := l.session(spec, now)
	p := &peer{
		spec: spec, session: session, serial: l.serial,
		fd: -1, place: -1, source: former.Source, state: session.Report().State, since: former.Since, falls: former.Falls, fellAt: former.FellAt,
	}
	at := place{spec.Interface, spec.Local}
	if l.ports[at] == nil {
		l.ports[at] = &port{place: at, fd: -1}
	}
	p.port = l.ports[at]
	p.port.users++
	l.peers[spec.Key] = p
	l.table.Add(session.Discriminator(), spec.Key, p)
	l.open(p)
	return p
}

// forget ends a session of which nobody needs to hear any more.
func (l *loop) forget(p *peer) {
	l.queue.remove(p)
	l.table.Remove(p.session.Discriminator(), p.spec.Key)
	delete(l.peers, p.spec.Key)
	l.closePeer(p)
	if p.port.users--; p.port.users == 0 {
		l.closePort(p.port)
		delete(l.ports, p.port.place)
	}
}

// open opens what a session lacks.
func (l *loop) open(p *peer) {
	err := l.openPort(p.port)
	if err == nil && p.fd < 0 {
		err = l.openSource(p)
	}
	trouble := ""
	if err != nil {
		trouble = err.Error()
	}
	if trouble != p.trouble {
		p.trouble = trouble
		p.changes++
		l.dirty, l.news = true, true
		if err != nil {
			l.log.Warn("a session can't send for now", "session", p.spec.Name, "err", err)
		}
	}
}

func (l *loop) openPort(at *port) error {
	if at.fd >= 0 {
		return nil
	}
	return l.engine.in(func() error {
		fd, err := openReceiver(at.place.iface, at.place.local)
		if err != nil {
			return err
		}
		request, err := interfaceNumber(fd, at.place.iface)
		if err != nil {
			_ = unix.Close(fd)
			return err
		}
		at.fd, at.request, at.index = fd, request, int(request.Uint32())
		l.arrange()
		return nil
	})
}

// openSource finds a source port for a session: the one that it had, or any that
// nobody else has.
func (l *loop) openSource(p *peer) error {
	return l.engine.in(func() error {
		const ports = lastSource - firstSource + 1
		start := l.random.IntN(ports)
		if p.source >= firstSource {
			start = int(p.source) - firstSource
		}
		for i := range ports {
			source := uint16(firstSource + (start+i)%ports)
			if l.sources[source] {
				continue
			}
			fd, err := openSender(p.spec.Key, source)
			if errors.Is(err, errPortTaken) {
				continue
			}
			if err != nil {
				return err
			}
			p.fd, p.source, p.errno = fd, source, 0
			p.to.set(p.spec.Remote, Port, p.port.index)
			l.sources[source] = true
			return nil
		}
		return errNoSource
	})
}

func (l *loop) closePeer(p *peer) {
	if p.fd >= 0 {
		_ = unix.Close(p.fd)
		delete(l.sources, p.source)
		p.fd = -1
	}
}

func (l *loop) closePort(at *port) {
	if at.fd >= 0 {
		_ = unix.Close(at.fd)
		at.fd = -1
		l.arrange()
	}
}

func (l *loop) closeAll() {
	for _, p := range l.peers {
		l.forget(p)
	}
}

// arrange makes the list of sockets to wait for.
func (l *loop) arrange() {
	l.polls, l.readable = l.polls[:1], l.readable[:0]
	for _, at := range l.ports {
		if at.fd >= 0 {
			l.polls = append(l.polls, unix.PollFd{Fd: int32(at.fd), Events: unix.POLLIN})
			l.readable = append(l.readable, at)
		}
	}
}

// tidy looks after what nobody tells: interfaces that went or came back, and
// counters that moved.
func (l *loop) tidy(now bfd.Instant) {
	l.tidyAt = now.Add(tidyEvery)
	for _, at := range l.ports {
		if at.fd >= 0 && !l.bound(at) {
			l.closePort(at)
			l.release(at)
		}
	}
	for _, p := range l.peers {
		if p.fd < 0 || p.port.fd < 0 {
			l.open(p)
		}
	}
	l.dirty = true
}

// bound tells whether a port's interface is still the one that it is bound to.
func (l *loop) bound(at *port) bool {
	err := unix.IoctlIfreq(at.fd, unix.SIOCGIFINDEX, at.request)
	return err == nil && int(at.request.Uint32()) == at.index
}

// release closes the senders of a port whose interface is another one now.
func (l *loop) release(at *port) {
	for _, p := range l.peers {
		if p.port == at {
			l.closePeer(p)
		}
	}
}
