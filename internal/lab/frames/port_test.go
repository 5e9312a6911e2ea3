package frames

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
)

// A token is 8 bytes: the magic, the part of the frame (a fragment), the frame's number.
var magic = [3]byte{0xa5, 'H', 'r'}

// token of a part of a frame.
func token(frame uint32, part byte) []byte {
	return binary.BigEndian.AppendUint32([]byte{magic[0], magic[1], magic[2], part}, frame)
}

// tokens calls f for each token in what arrived.
func tokens(raw []byte, f func(frame uint32, part byte)) {
	for {
		i := bytes.Index(raw, magic[:])
		if i < 0 || i+8 > len(raw) {
			return
		}
		f(binary.BigEndian.Uint32(raw[i+4:]), raw[i+3])
		raw = raw[i+8:]
	}
}

// port is one end of a cable, for raw frames.
type port struct {
	link string
	mac  [6]byte
	fd   int
	buf  []byte
}

// newPort opens the port for all that arrives there, which does not hear what it sends.
func newPort(t testing.TB, ns *testenv.Netns, link string) *port {
	t.Helper()
	p := &port{link: link, buf: make([]byte, 65536)}
	err := ns.Do(func() error {
		ifi, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		copy(p.mac[:], ifi.HardwareAddr)
		if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("opening a packet socket: %w", err)
		}
		t.Cleanup(func() { unix.Close(p.fd) })
		return errors.Join(
			unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
			unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
			unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifi.Index}))
	})
	if err != nil {
		t.Fatalf("port %s: %v", link, err)
	}
	return p
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// deaf makes a port that only sends, so that nothing piles up in it.
func (p *port) deaf() {
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	if err := unix.SetsockoptSockFprog(p.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]}); err != nil {
		panic(fmt.Errorf("closing the ear of %s: %w", p.link, err))
	}
}

// send puts a frame on the cable.
func (p *port) send(frame []byte) error {
	for {
		_, err := unix.Write(p.fd, frame)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// next is the next frame that arrived, valid until the following call. With a deadline in the past it does not wait.
func (p *port) next(deadline time.Time) ([]byte, error) { return receive(p.fd, p.buf, deadline) }

func receive(fd int, buf []byte, deadline time.Time) ([]byte, error) {
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		switch {
		case err == nil:
			return buf[:n], nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EAGAIN):
			return nil, fmt.Errorf("receiving: %w", err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return nil, os.ErrDeadlineExceeded
		}
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("waiting: %w", err)
		}
	}
}

// listen opens raw sockets of the hypervisor for everything that its own programs could receive: behind all
// hooks, and bound as a program of a VRF or a server of a tap would bind.
func (w *world) listen() {
	w.t.Helper()
	w.listenOn("")
	if w.devices {
		w.listenOn("public", "private", "tap1", "up0")
	}
	w.check(w.hv.Do(func() error { return w.serveDHCP(one.tap, two.tap, three.tap) }))
}

func (w *world) listenOn(devices ...string) {
	w.t.Helper()
	w.check(w.hv.Do(func() error {
		for _, device := range devices {
			for _, protocol := range []int{unix.IPPROTO_UDP, unix.IPPROTO_TCP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6, 253} {
				for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
					if err := w.listenRaw(family, protocol, device); err != nil {
						return fmt.Errorf("raw socket %d/%d on %q: %w", family, protocol, device, err)
					}
				}
			}
		}
		return nil
	}))
}

func (w *world) listenRaw(family, protocol int, device string) error {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	w.life.Cleanup(func() { unix.Close(fd) })
	w.local = append(w.local, fd)
	if device != "" {
		if err := unix.BindToDevice(fd, device); err != nil {
			return err
		}
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
}

// serveDHCP takes the place of the servers of DHCP on taps: their ports are open, and the group of DHCPv6 is
// joined. They answer nothing.
func (w *world) serveDHCP(taps ...string) error {
	for _, tap := range taps {
		for family, port := range map[int]int{unix.AF_INET: 67, unix.AF_INET6: 547} {
			if err := w.serveOne(family, tap, port); err != nil {
				return fmt.Errorf("port %d of %s: %w", port, tap, err)
			}
		}
	}
	return nil
}

func (w *world) serveOne(family int, tap string, port int) error {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	w.life.Cleanup(func() { unix.Close(fd) })
	w.local = append(w.local, fd)
	if err := unix.BindToDevice(fd, tap); err != nil {
		return err
	}
	if family == unix.AF_INET {
		return unix.Bind(fd, &unix.SockaddrInet4{Port: port})
	}
	return w.joinDHCPv6(fd, tap, port)
}

func (w *world) joinDHCPv6(fd int, tap string, port int) error {
	ifi, err := net.InterfaceByName(tap)
	if err != nil {
		return err
	}
	group := netip.MustParseAddr("ff02::1:2")
	return errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1),
		unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(ifi.Index)}),
		unix.Bind(fd, &unix.SockaddrInet6{Port: port}))
}
