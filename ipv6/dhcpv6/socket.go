package dhcpv6

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/ipv6"
)

// RFC 8415, section 7.
const (
	serverPort = 547
	clientPort = 546
)

// allServers is All_DHCP_Relay_Agents_and_Servers (RFC 8415, section 7.1).
func allServers() netip.Addr { return netip.MustParseAddr("ff02::1:2") }

// sender is where a packet came from and to which address.
type sender struct {
	from, to netip.Addr
}

// socket receives what comes in on one tap for the server's port and sends to
// link-local addresses there.
//
// Its calls go to the kernel directly, because net.UDPConn wants every
// link-local address to have the name of its interface, and on the port of a VRF
// it takes that of the VRF device, where answers lead nowhere. Bound to the tap a
// socket needs no zone at all.
type socket struct {
	file *os.File
	raw  syscall.RawConn
	tap  int
	oob  [256]byte
}

// listen opens the socket of a tap in the thread's network namespace. It needs
// fe80::1 to be on the tap already.
func listen(tap string, index int) (*socket, error) {
	if err := probe(tap); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the DHCPv6 socket of %s: %w", tap, err)
	}
	if err := prepare(fd, tap, index); err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the DHCPv6 socket of %s: %w", tap, err), unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), "dhcpv6 of "+tap)
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the DHCPv6 socket of %s: %w", tap, err), file.Close())
	}
	return &socket{file: file, raw: raw, tap: index}, nil
}

// prepare binds to the device of that name, and makes sure that it is the one
// that was meant.
func prepare(fd int, tap string, index int) error {
	return firstError(
		func() error { return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1) },
		func() error { return unix.BindToDevice(fd, tap) },
		func() error { return checkIndex(fd, tap, index) },
		func() error { return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1) },
		func() error { return unix.Bind(fd, &unix.SockaddrInet6{Port: serverPort}) },
		func() error {
			group := &unix.IPv6Mreq{Multiaddr: allServers().As16(), Interface: uint32(index)}
			return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, group)
		},
	)
}

func checkIndex(fd int, tap string, index int) error {
	request, err := unix.NewIfreq(tap)
	if err != nil {
		return fmt.Errorf("naming the device: %w", err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return fmt.Errorf("asking for its index: %w", err)
	}
	if now := int(request.Uint32()); now != index {
		return fmt.Errorf("it has the index %d instead of %d: it is another device of that name", now, index)
	}
	return nil
}

// probe fails if the tap doesn't have fe80::1, by binding a socket to it.
func probe(tap string) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a socket: %w", err)
	}
	defer unix.Close(fd)
	err = firstError(
		func() error { return unix.BindToDevice(fd, tap) },
		func() error { return unix.Bind(fd, &unix.SockaddrInet6{Addr: ipv6.RouterAddress.As16()}) },
	)
	if err != nil {
		return fmt.Errorf("looking for %s on %s: %w", ipv6.RouterAddress, tap, err)
	}
	return nil
}

func firstError(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Read implements receive.Conn.
func (s *socket) Read(buf []byte) (n int, who sender, err error) {
	var oobn int
	var from unix.Sockaddr
	wait := s.raw.Read(func(fd uintptr) bool {
		n, oobn, _, from, err = unix.Recvmsg(int(fd), buf, s.oob[:], 0)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	if wait != nil {
		return 0, sender{}, wait
	}
	if err != nil {
		return 0, sender{}, fmt.Errorf("receiving: %w", err)
	}
	if in6, ok := from.(*unix.SockaddrInet6); ok {
		who.from = netip.AddrFrom16(in6.Addr)
	}
	who.to = destination(s.oob[:oobn])
	return n, who, nil
}

// SetReadDeadline implements receive.Conn.
func (s *socket) SetReadDeadline(t time.Time) error { return s.file.SetReadDeadline(t) }

// Close closes the socket.
func (s *socket) Close() error { return s.file.Close() }

// send sends from fe80::1 to the client's port of a link-local address on the
// tap. It never waits: what the tap has no room for is lost.
func (s *socket) send(packet []byte, to netip.Addr) error {
	info := unix.PktInfo6(&unix.Inet6Pktinfo{Addr: ipv6.RouterAddress.As16(), Ifindex: uint32(s.tap)})
	client := &unix.SockaddrInet6{Port: clientPort, Addr: to.As16()}
	var sent error
	err := s.raw.Control(func(fd uintptr) { sent = unix.Sendmsg(int(fd), packet, info, client, 0) })
	if err := errors.Join(err, sent); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	return nil
}

// destination finds the address that a packet was sent to (RFC 3542, section
// 6.2); the zero Addr if the kernel didn't say.
func destination(oob []byte) netip.Addr {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo {
			return netip.AddrFrom16([16]byte(m.Data[:16]))
		}
	}
	return netip.Addr{}
}
