package udp

import (
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/bfd"
)

// peer is a session with its socket.
type peer struct {
	spec    bfd.Spec
	session bfd.Session
	serial  uint64
	leaving bool // shut, and forgotten when its peer knows

	port   *port
	fd     int    // sends; -1 while it can't
	source uint16 // kept when the socket has to be opened anew
	to     destination

	place    int // in the queue; -1: not in it
	deadline bfd.Instant

	state    bfd.State
	since    time.Time
	falls    uint32
	fellAt   time.Time // from up, last
	revision uint32    // of the session, as noticed last
	changes  uint64    // noticed
	trouble  string    // of opening
	errno    unix.Errno
}

// say logs a change of state. Who fell is told in words.
func (p *peer) say(log *slog.Logger, r bfd.Report) {
	switch {
	case r.State == bfd.Up:
		log.Info("session is up", "session", p.spec.Name, "interface", p.spec.Interface, "remote", p.spec.Remote,
			"interval", r.TransmitInterval.String(), "detection", r.DetectionTime.String())
	case p.state == bfd.Up:
		log.Warn("session is down", "session", p.spec.Name, "interface", p.spec.Interface, "remote", p.spec.Remote,
			"failed", r.Failed, "reason", r.Reason())
	}
}

// status is what others are told.
func (p *peer) status() bfd.Status {
	s := bfd.Status{
		Spec: p.spec, Report: p.session.Report(), Serial: p.serial, Revision: p.changes, Since: p.since, FellAt: p.fellAt, Source: p.source, Trouble: p.trouble,
	}
	if s.Trouble == "" && p.errno != 0 {
		s.Trouble = p.errno.Error()
	}
	return s
}

// place is what a port is bound to.
type place struct {
	iface string
	local netip.Addr
}

// port is the socket that takes the packets for an address on an interface, for
// all sessions there.
type port struct {
	place place
	fd    int // -1 while it isn't open
	index int // of the interface that it is bound to
	users int

	request *unix.Ifreq // asks for the index that the interface's name has now
}
