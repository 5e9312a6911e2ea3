package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
)

const (
	serverPort = 67
	clientPort = 68
	// receiveBuffer is little: what a guest sends faster than it is served is
	// better lost than late, and there is one buffer for each tap.
	receiveBuffer = 32 << 10
)

// packetFrom is how a packet came.
type packetFrom struct {
	to netip.Addr // its destination
}

// socket is a UDP socket bound to a tap. It is bound to the tap itself even in a
// VRF: one that is bound to the VRF receives, but its broadcasts leave nowhere.
type socket struct {
	udp *net.UDPConn
	oob [64]byte
}

var _ receive.Conn[packetFrom] = (*socket)(nil)

// open makes the socket of a tap, which has to be the very device: one that
// replaced it under its name has a service of its own.
func open(ctx context.Context, tap fleet.Port) (*socket, error) {
	var failed error
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		if err := raw.Control(func(fd uintptr) { failed = prepare(int(fd), tap.Name) }); err != nil {
			return err
		}
		return failed
	}}
	conn, err := config.ListenPacket(ctx, "udp4", netip.AddrPortFrom(netip.IPv4Unspecified(), serverPort).String())
	if err != nil {
		return nil, fmt.Errorf("opening the DHCP socket of %s: %w", tap.Name, err)
	}
	if err := tap.Check(); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("opening the DHCP socket of %s: %w", tap.Name, err)
	}
	return &socket{udp: conn.(*net.UDPConn)}, nil
}

// prepare sets the options that must be set before the socket is bound. Answers
// carry no UDP checksum, which IPv4 allows: a tap leaves checksums to be
// completed by hardware that isn't there, and old clients, which read raw frames,
// take such an unfinished one for a wrong one.
func prepare(fd int, tap string) error {
	if err := unix.BindToDevice(fd, tap); err != nil {
		return fmt.Errorf("binding to the device: %w", err)
	}
	for _, o := range []struct {
		name                 string
		level, option, value int
	}{
		{"SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{"SO_BROADCAST", unix.SOL_SOCKET, unix.SO_BROADCAST, 1},
		{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer},
		{"SO_NO_CHECK", unix.SOL_SOCKET, unix.SO_NO_CHECK, 1},
		{"IP_PKTINFO", unix.IPPROTO_IP, unix.IP_PKTINFO, 1},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			return fmt.Errorf("setting %s: %w", o.name, err)
		}
	}
	return nil
}

// Read returns a packet and where it was sent to.
func (s *socket) Read(buf []byte) (int, packetFrom, error) {
	n, oobn, _, _, err := s.udp.ReadMsgUDPAddrPort(buf, s.oob[:])
	if err != nil {
		return 0, packetFrom{}, err
	}
	messages, err := unix.ParseSocketControlMessage(s.oob[:oobn])
	if err != nil {
		return n, packetFrom{}, nil // the destination is of little importance
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo {
			return n, packetFrom{to: netip.AddrFrom4([4]byte(m.Data[8:12]))}, nil
		}
	}
	return n, packetFrom{}, nil
}

// SetReadDeadline is that of the connection.
func (s *socket) SetReadDeadline(t time.Time) error { return s.udp.SetReadDeadline(t) }

// writePatience is how long a tap whose queue is full may hold up an answer, and the
// end of its service.
// A host that is busy may keep this process waiting for a good part of that.
const writePatience = 2 * time.Second

// write sends a message to the client port of an address behind the tap. The
// source is the server's identifier, whatever other addresses the tap has.
func (s *socket) write(packet []byte, source, to netip.Addr) error {
	if err := s.udp.SetWriteDeadline(time.Now().Add(writePatience)); err != nil {
		return fmt.Errorf("answering %s from %s: %w", to, source, err)
	}
	oob := unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: source.As4()})
	if _, _, err := s.udp.WriteMsgUDPAddrPort(packet, oob, netip.AddrPortFrom(to, clientPort)); err != nil {
		return fmt.Errorf("answering %s from %s: %w", to, source, err)
	}
	return nil
}
