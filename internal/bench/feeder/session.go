package feeder

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/bench/site"
)

const (
	holdTime   = 240              // seconds, as proposed; the other side's may be less
	keepalives = 2 * time.Second  // often enough for any hold time from 6 s on
	patience   = 20 * time.Second // for the other side's OPEN
)

// hopLimit makes packets have a TTL of 255 (RFC 5082); accepted sockets inherit that.
func hopLimit(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, 255) }); e != nil {
		return e
	}
	return err
}

// session is an established one.
type session struct {
	conn net.Conn
	mu   sync.Mutex // of writing
}

// serve has a session on a connection until it ends.
func (r *reflector) serve(c net.Conn) {
	s := &session{conn: c}
	if err := s.begin(r.plane); err != nil {
		return // whoever called will call again
	}
	r.turn(nil, s)
	defer r.turn(s, nil)
	stop := make(chan struct{})
	var keeping sync.WaitGroup
	keeping.Go(func() { s.keep(stop) })
	defer keeping.Wait()
	defer c.Close()
	defer close(stop)
	for {
		m, err := receive(c)
		if err != nil {
			return
		}
		if u, ok := m.Body.(*packet.BGPUpdate); ok {
			r.note(u, time.Now())
		}
	}
}

// begin exchanges OPENs and KEEPALIVEs.
func (s *session) begin(plane int) error {
	if err := s.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	open := packet.NewBGPOpenMessage(site.AS, holdTime, netip.AddrFrom4([4]byte{10, 127, 0, byte(1 + plane)}).String(),
		[]packet.OptionParameterInterface{packet.NewOptionParameterCapability([]packet.ParameterCapabilityInterface{
			packet.NewCapMultiProtocol(packet.RF_IPv4_UC), packet.NewCapMultiProtocol(packet.RF_IPv6_UC), packet.NewCapFourOctetASNumber(site.AS),
		})})
	for _, m := range []*packet.BGPMessage{open, packet.NewBGPKeepAliveMessage()} {
		raw, err := m.Serialize()
		if err != nil {
			return fmt.Errorf("encoding a message: %w", err)
		}
		if _, err := s.conn.Write(raw); err != nil {
			return err
		}
		got, err := receive(s.conn) // the same kind of message
		if err != nil {
			return err
		}
		if got.Header.Type != m.Header.Type {
			return fmt.Errorf("a message of type %d where %d is due", got.Header.Type, m.Header.Type)
		}
	}
	return s.conn.SetDeadline(time.Time{})
}

func receive(r io.Reader) (*packet.BGPMessage, error) {
	var header [packet.BGP_HEADER_LENGTH]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	h := &packet.BGPHeader{}
	if err := h.DecodeFromBytes(header[:]); err != nil {
		return nil, err
	}
	if h.Len < packet.BGP_HEADER_LENGTH {
		return nil, fmt.Errorf("a message of %d bytes", h.Len)
	}
	body := make([]byte, h.Len-packet.BGP_HEADER_LENGTH)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return packet.ParseBGPBody(h, body)
}

// note notes what is announced.
func (r *reflector) note(u *packet.BGPUpdate, at time.Time) {
	var list []packet.AddrPrefixInterface
	for _, p := range u.NLRI {
		list = append(list, p)
	}
	for _, a := range u.PathAttributes {
		if reach, ok := a.(*packet.PathAttributeMpReachNLRI); ok {
			list = append(list, reach.Value...)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range list {
		prefix, err := netip.ParsePrefix(p.String())
		if _, known := r.heard[prefix]; err == nil && !known {
			r.heard[prefix] = at
		}
	}
}

// keep sends KEEPALIVEs, but while something else is being sent, which does as well.
func (s *session) keep(stop <-chan struct{}) {
	raw, err := packet.NewBGPKeepAliveMessage().Serialize()
	if err != nil {
		panic(err) // it has no parts
	}
	tick := time.NewTicker(keepalives)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if !s.mu.TryLock() {
			continue
		}
		_, err := s.conn.Write(raw)
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// send writes messages, and lets nobody in before the last one.
func (s *session) send(messages []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.conn.Write(messages)
	return err
}

// cease ends the session as an administrator would (RFC 4486).
func (s *session) cease() error {
	raw, err := packet.NewBGPNotificationMessage(packet.BGP_ERROR_CEASE, packet.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN, []byte{0}).Serialize()
	if err != nil {
		return fmt.Errorf("encoding a NOTIFICATION: %w", err)
	}
	if err := s.send(raw); err != nil {
		return fmt.Errorf("sending a NOTIFICATION: %w", err)
	}
	if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing a session: %w", err)
	}
	return nil
}
