package observe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/bench/site"
)

const (
	headerSize = unix.SizeofNlMsghdr
	routeSize  = unix.SizeofRtMsg
	bufferSize = 1 << 20
	typeMask   = 0x3fff // without the flags of an attribute
)

// errInterrupted: the table changed while it was read.
var errInterrupted = errors.New("the table changed while it was read")

// socket is a netlink socket of a namespace. It is for one goroutine.
type socket struct {
	fd     int
	buffer []byte
	seq    uint32
}

// open opens one, with the multicast groups that are given.
func open(s *site.Site, groups uint32) (*socket, error) {
	k := &socket{buffer: make([]byte, bufferSize)}
	err := site.Do(s.DUT, func() (err error) {
		k.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	const room = 64 << 20
	err = errors.Join(
		unix.SetsockoptInt(k.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room),
		unix.SetsockoptInt(k.fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1),
		unix.SetsockoptTimeval(k.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60}),
		unix.Bind(k.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing a netlink socket: %w", err), k.close())
	}
	return k, nil
}

func (k *socket) close() error { return os.NewSyscallError("close", unix.Close(k.fd)) }

// request appends a message of a body and attributes to b.
func (k *socket) request(b []byte, kind, flags uint16, body []byte, attributes ...[]byte) []byte {
	k.seq++
	start := len(b)
	b = append(b, make([]byte, headerSize)...)
	b = append(b, body...)
	for _, a := range attributes {
		b = append(b, a...)
	}
	h := b[start:]
	binary.NativeEndian.PutUint32(h, uint32(len(h)))
	binary.NativeEndian.PutUint16(h[4:], kind)
	binary.NativeEndian.PutUint16(h[6:], flags|unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(h[8:], k.seq)
	return b
}

// attribute is one that is padded to four bytes.
func attribute(kind uint16, value []byte) []byte {
	a := make([]byte, 4, 4+(len(value)+3)&^3)
	binary.NativeEndian.PutUint16(a, uint16(4+len(value)))
	binary.NativeEndian.PutUint16(a[2:], kind)
	a = append(a, value...)
	return a[:cap(a)]
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// message is what the kernel says; the body is valid until the next receiving.
type message struct {
	kind        uint16
	seq         uint32 // of the request that it answers
	interrupted bool
	errno       syscall.Errno
	body        []byte
}

// each sends count requests that were made last, and gives take one answer to each, by
// the number of the request. The kernel answers in their order.
func (k *socket) each(requests []byte, count int, take func(n int, m message) error) error {
	if err := k.send(requests); err != nil {
		return err
	}
	first := k.seq - uint32(count) + 1
	for next := 0; next < count; {
		err := k.receive(func(m message) error {
			if m.seq != first+uint32(next) {
				return nil
			}
			next++
			return take(next-1, m)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dump sends a request for many things, made last, and gives take each.
func (k *socket) dump(request []byte, take func(message) error) error {
	if err := k.send(request); err != nil {
		return err
	}
	interrupted, done := false, false
	for !done {
		err := k.receive(func(m message) error {
			interrupted = interrupted || m.interrupted
			switch {
			case m.seq != k.seq:
				return nil
			case m.kind == unix.NLMSG_DONE:
				done = true
				return nil
			case m.kind == unix.NLMSG_ERROR:
				return m.errno
			}
			return take(m)
		})
		if err != nil {
			return err
		}
	}
	if interrupted {
		return errInterrupted
	}
	return nil
}

func (k *socket) send(requests []byte) error {
	if err := unix.Sendto(k.fd, requests, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("asking the kernel: %w", err)
	}
	return nil
}

// receive takes what one call of the kernel brings.
func (k *socket) receive(take func(message) error) error {
	n, _, err := unix.Recvfrom(k.fd, k.buffer, 0)
	if err != nil {
		return fmt.Errorf("hearing the kernel: %w", err)
	}
	for b := k.buffer[:n]; len(b) >= headerSize; {
		size := int(binary.NativeEndian.Uint32(b))
		if size < headerSize || size > len(b) {
			return fmt.Errorf("hearing the kernel: a message of %d bytes in %d", size, len(b))
		}
		m := message{
			kind: binary.NativeEndian.Uint16(b[4:]), seq: binary.NativeEndian.Uint32(b[8:]), body: b[headerSize:size],
			interrupted: binary.NativeEndian.Uint16(b[6:])&unix.NLM_F_DUMP_INTR != 0,
		}
		if m.kind == unix.NLMSG_ERROR && len(m.body) >= 4 {
			m.errno = syscall.Errno(-int32(binary.NativeEndian.Uint32(m.body)))
		}
		if err := take(m); err != nil {
			return err
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return nil
}

// attributes calls f with each attribute of b.
func attributes(b []byte, f func(kind uint16, value []byte)) {
	for len(b) >= 4 {
		size := int(binary.NativeEndian.Uint16(b))
		if size < 4 || size > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&typeMask, b[4:size])
		b = b[min(len(b), (size+3)&^3):]
	}
}
