package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// socket is a route netlink socket for batches and for dumps that are too
// large to hold. mdlayher/netlink opens it and waits on it; the messages are
// written and read in place, since at millions of routes every object counts.
type socket struct {
	conn   *netlink.Conn
	raw    syscall.RawConn
	seq    uint32
	out    []byte
	in     []byte
	strict bool // the kernel filters dumps
	spoilt bool // a dump was left unfinished: use another one
}

const (
	headerLen = unix.NLMSG_HDRLEN
	// replies holds the errors of a whole batch even if every message fails.
	replies = 4 << 20
	dumpLen = 128 << 10
)

// errInterrupted: the kernel's table changed while it was dumped.
var errInterrupted = errors.New("the table changed while it was read")

func dial(ns int) (*socket, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: ns})
	if err != nil {
		return nil, fmt.Errorf("opening a route netlink socket: %w", err)
	}
	s := &socket{conn: conn, in: make([]byte, dumpLen)}
	// Kernels that lack these still work, with poorer errors or slower dumps.
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true)
	_ = conn.SetOption(netlink.CapAcknowledge, true)
	s.strict = conn.SetOption(netlink.GetStrictCheck, true) == nil
	if s.raw, err = conn.SyscallConn(); err == nil {
		err = conn.SetReadBuffer(replies)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("preparing a route netlink socket: %w", err)
	}
	return s, nil
}

func (s *socket) close() error { return s.conn.Close() }

// ownSequence marks our messages. The kernel repeats the number of a request when
// it tells others of the route that it changed, and that of the first message of a
// transaction for the ruleset, so that Watch knows ours. Others count from a small
// number or from the time, so hardly ever up here; what is taken for ours
// nevertheless is found by the next comparison of everything.
const (
	ownSequence     = 0xc9000000
	ownSequenceMask = 0xff000000
)

// reset empties the batch, and sees to it that the next one fits into the numbers.
func (s *socket) reset() {
	s.out = s.out[:0]
	if s.seq&ownSequenceMask != ownSequence || s.seq&^ownSequenceMask > 1<<23 {
		s.seq = ownSequence
	}
}

// begin starts a message and returns its offset for end.
func (s *socket) begin(kind, flags uint16) int {
	at := len(s.out)
	s.seq++
	s.out = append(s.out, 0, 0, 0, 0)
	s.out = binary.NativeEndian.AppendUint16(s.out, kind)
	s.out = binary.NativeEndian.AppendUint16(s.out, flags|unix.NLM_F_REQUEST)
	s.out = binary.NativeEndian.AppendUint32(s.out, s.seq)
	s.out = append(s.out, 0, 0, 0, 0)
	return at
}

// end writes the length of the message that began at the offset. All fields
// are appended in multiples of four bytes, so nothing is padded here.
func (s *socket) end(at int) {
	binary.NativeEndian.PutUint32(s.out[at:], uint32(len(s.out)-at))
}

// attr appends an attribute.
func (s *socket) attr(kind uint16, data []byte) {
	s.out = binary.NativeEndian.AppendUint16(s.out, uint16(4+len(data)))
	s.out = binary.NativeEndian.AppendUint16(s.out, kind)
	s.out = append(s.out, data...)
	for len(s.out)%4 != 0 {
		s.out = append(s.out, 0)
	}
}

func (s *socket) attr32(kind uint16, value uint32) {
	s.out = binary.NativeEndian.AppendUint16(s.out, 8)
	s.out = binary.NativeEndian.AppendUint16(s.out, kind)
	s.out = binary.NativeEndian.AppendUint32(s.out, value)
}

// nest starts an attribute that holds others; endNest ends it.
func (s *socket) nest(kind uint16) int {
	at := len(s.out)
	s.out = binary.NativeEndian.AppendUint16(s.out, 0)
	s.out = binary.NativeEndian.AppendUint16(s.out, kind)
	return at
}

func (s *socket) endNest(at int) {
	binary.NativeEndian.PutUint16(s.out[at:], uint16(len(s.out)-at))
}

// do sends one message and waits for its answer.
func (s *socket) do() error {
	var failure error
	if err := s.batch(1, func(_ int, err error) { failure = err }); err != nil {
		return err
	}
	return failure
}

// batch sends the n messages written since reset in one go. The kernel works
// them off before the send returns and answers only those that fail, and the
// last, whose acknowledgement closes the batch.
func (s *socket) batch(n int, failed func(int, error)) error {
	first := s.seq - uint32(n) + 1
	s.acknowledgeLast(n)
	if err := s.send(); err != nil {
		return err
	}
	for {
		msgs, err := s.receive()
		if err != nil {
			return err
		}
		for len(msgs) >= headerLen {
			var m message
			if m, msgs, err = next(msgs); err != nil {
				return err
			}
			if m.kind != unix.NLMSG_ERROR || m.seq-first >= uint32(n) {
				continue // of an earlier request that was given up
			}
			if err := m.failure(); err != nil {
				failed(int(m.seq-first), err)
			}
			if m.seq == s.seq {
				return nil
			}
		}
	}
}

// acknowledgeLast asks for an answer to the last message of the batch.
func (s *socket) acknowledgeLast(n int) {
	at := 0
	for range n - 1 {
		at += int(binary.NativeEndian.Uint32(s.out[at:]))
	}
	flags := binary.NativeEndian.Uint16(s.out[at+6:])
	binary.NativeEndian.PutUint16(s.out[at+6:], flags|unix.NLM_F_ACK)
}

// dump sends the one message written since reset and calls f for every answer,
// whose payload is valid until f returns. When the context ends it doesn't read on,
// since what is left may be long, and the socket is spoilt.
func (s *socket) dump(ctx context.Context, f func(kind uint16, payload []byte)) error {
	if err := s.send(); err != nil {
		return err
	}
	interrupted := false
	for {
		msgs, err := s.receive()
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			s.spoilt = true
			return err
		}
		for len(msgs) >= headerLen {
			var m message
			if m, msgs, err = next(msgs); err != nil {
				return err
			}
			if m.seq != s.seq {
				continue
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			if m.kind == unix.NLMSG_DONE || m.kind == unix.NLMSG_ERROR {
				return dumpEnd(m, interrupted)
			}
			f(m.kind, m.payload)
		}
	}
}

func dumpEnd(m message, interrupted bool) error {
	if err := m.failure(); err != nil {
		return err
	}
	if interrupted {
		return errInterrupted
	}
	return nil
}

func (s *socket) send() error {
	var sendErr error
	err := s.raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendto(int(fd), s.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return sendErr != unix.EAGAIN
	})
	if err = errors.Join(err, sendErr); err != nil {
		return fmt.Errorf("sending to the kernel: %w", err)
	}
	return nil
}

func (s *socket) receive() ([]byte, error) {
	var n int
	var recvErr error
	err := s.raw.Read(func(fd uintptr) bool {
		n, _, recvErr = unix.Recvfrom(int(fd), s.in, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		return recvErr != unix.EAGAIN && recvErr != unix.EINTR
	})
	if err = errors.Join(err, recvErr); err != nil {
		return nil, fmt.Errorf("receiving from the kernel: %w", err)
	}
	if n > len(s.in) {
		return nil, fmt.Errorf("receiving from the kernel: an answer of %d bytes is longer than expected", n)
	}
	return s.in[:n], nil
}

// message is a received netlink message.
type message struct {
	kind, flags uint16
	seq         uint32
	payload     []byte
}

func next(b []byte) (message, []byte, error) {
	n := int(binary.NativeEndian.Uint32(b))
	if n < headerLen || n > len(b) {
		return message{}, nil, fmt.Errorf("a message of the kernel says it has %d of %d bytes", n, len(b))
	}
	m := message{
		kind: binary.NativeEndian.Uint16(b[4:]), flags: binary.NativeEndian.Uint16(b[6:]),
		seq: binary.NativeEndian.Uint32(b[8:]), payload: b[headerLen:n],
	}
	return m, b[min((n+3)&^3, len(b)):], nil
}

// failure is the error that an NLMSG_ERROR or NLMSG_DONE carries, with the
// kernel's explanation where it gives one.
func (m message) failure() error {
	if len(m.payload) < 4 {
		return nil
	}
	code := int32(binary.NativeEndian.Uint32(m.payload))
	if code == 0 {
		return nil
	}
	errno := syscall.Errno(-code)
	if text := m.explanation(); text != "" {
		return fmt.Errorf("%w: %s", errno, text)
	}
	return errno
}

func (m message) explanation() string {
	if m.flags&unix.NLM_F_ACK_TLVS == 0 {
		return ""
	}
	tlvs := m.payload[4:]
	if m.kind == unix.NLMSG_ERROR {
		skip := 4 + headerLen
		if m.flags&unix.NLM_F_CAPPED == 0 && len(m.payload) >= 8 {
			skip = 4 + (int(binary.NativeEndian.Uint32(m.payload[4:]))+3)&^3
		}
		if skip > len(m.payload) {
			return ""
		}
		tlvs = m.payload[skip:]
	}
	var text string
	attributes(tlvs, func(kind uint16, data []byte) {
		if kind == unix.NLMSGERR_ATTR_MSG && len(data) > 0 {
			text = string(data[:len(data)-1])
		}
	})
	return text
}

// attributes calls f for each attribute.
func attributes(b []byte, f func(kind uint16, data []byte)) {
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&nlaTypeMask, b[4:n])
		b = b[min((n+3)&^3, len(b)):]
	}
}
