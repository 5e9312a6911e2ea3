package session

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"golang.org/x/sys/unix"
)

// Departure is how a peer took it that we leave for good.
type Departure struct {
	Name    string     `json:"name"`
	VRF     string     `json:"vrf"`
	Plane   string     `json:"plane"`
	Address netip.Addr `json:"address"`
	// Confirmed is set when the peer has read that everything is withdrawn and
	// that we leave: it closed the connection on that. Reason says why not.
	Confirmed bool   `json:"confirmed"`
	Reason    string `json:"reason,omitempty"`
}

// Leave ends Run for good, unlike Stop and the end of its context: it withdraws
// everything from every peer, waits until their hosts have acknowledged that,
// sends a Cease (a hard reset where a plain one would have the peer keep our
// routes, RFC 8538 section 3), and waits until they close the connection. A
// BGP speaker reads in order, so that by then it knows. Meanwhile everything
// learned is forwarded as before.
//
// Peers without a session are dialled until ctx ends, since they may keep our
// routes from the last one (RFC 4724); none waits for another, and a Speaker
// that doesn't run yet is waited for. Leave returns when all have confirmed, or
// shortly after the end of ctx, and then says who did not: those forget our
// routes when their restart and long-lived stale times are over. What was
// learned stays in the FIB. See Departures for how far it is.
func (s *Speaker) Leave(ctx context.Context) []Departure {
	s.mu.Lock()
	s.leave = true
	s.mu.Unlock()
	for _, p := range s.peers {
		p.poke()
		p.wakeUp()
	}
	s.awaitDepartures(ctx)
	list := s.Departures()
	s.stop(ErrStopped)
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if running {
		<-s.done
	}
	return list
}

// Departures tells of each peer whether it knows that we leave for good, and
// else what keeps it from that just now.
func (s *Speaker) Departures() []Departure {
	list := make([]Departure, len(s.peers))
	for i, p := range s.peers {
		list[i] = p.departure()
	}
	return list
}

func (s *Speaker) awaitDepartures(ctx context.Context) {
	for _, p := range s.peers {
		select {
		case <-p.left:
		case <-ctx.Done():
			return
		case <-s.done:
			return
		}
	}
}

func (s *Speaker) leaving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leave
}

func (p *peer) departure() Departure {
	d := Departure{Name: p.cfg.Name, VRF: p.cfg.VRF, Plane: p.cfg.Plane, Address: p.cfg.Address.WithZone("")}
	select {
	case <-p.left:
		d.Confirmed = true
		return d
	default:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.state == Established && p.writer != nil && p.writer.departed.Load():
		d.Reason = "its host has everything, and it doesn't close the session"
	case p.state == Established:
		d.Reason = "told, and its host doesn't acknowledge that"
	case p.lastErr.text != "":
		d.Reason = "no session: " + p.lastErr.text
	default:
		d.Reason = "no session"
	}
	return d
}

// errLeft ends the work of a peer that knows that we leave.
var errLeft = errors.New("left")

// depart takes leave of a peer that was told that everything is withdrawn. The
// reader waits for its answer.
func (w *writer) depart(ctx context.Context) error {
	if !acknowledged(ctx, w.conn) {
		return nil // the reader knows why
	}
	b, err := serialize(nil, w.cease(ceaseShutdown))
	if err != nil {
		return err
	}
	if err := send(w.conn, w.neg.hold, b); err != nil {
		return err
	}
	w.departed.Store(true)
	if half, ok := w.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // fails if the peer has closed already, which is what we wait for
	}
	return nil
}

// cease ends a session so that the peer keeps nothing of it: a plain Cease would
// have one with RFC 8538 keep what we announced.
func (w *writer) cease(subcode uint8) *packet.BGPMessage {
	if w.neg.restart.notification {
		return packet.NewBGPNotificationMessage(codeCease, ceaseHardReset, []byte{codeCease, subcode})
	}
	return packet.NewBGPNotificationMessage(codeCease, subcode, nil)
}

// took tells whether the end of a connection, after our Cease, is the peer's
// answer to it.
func took(err error) bool {
	return errors.Is(err, errClosed) || errors.Is(err, syscall.ECONNRESET)
}

// acknowledged waits until the peer's host has everything that was sent. The
// kernel tells the amount that is under way, and no event when that is none.
func acknowledged(ctx context.Context, c net.Conn) bool {
	const often = 2 * time.Millisecond
	conn, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	again := time.NewTicker(often)
	defer again.Stop()
	for {
		under := 0
		if e := raw.Control(func(fd uintptr) { under, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); e != nil || err != nil {
			return false
		}
		if under == 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-again.C:
		}
	}
}
