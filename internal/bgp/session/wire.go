package session

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/hostroute/hostroute/internal/bgp"
)

const (
	headerSize = packet.BGP_HEADER_LENGTH
	maxMessage = packet.BGP_MAX_MESSAGE_LENGTH

	// late is what a peer gets when its hold timer expires: whoever was not
	// scheduled for a while finds what arrived meanwhile before it gives up.
	late = 50 * time.Millisecond
)

// minimum gives the shortest message of each type (RFC 4271 section 4, RFC 2918).
var minimum = map[uint8]int{
	packet.BGP_MSG_OPEN: 29, packet.BGP_MSG_UPDATE: 23, packet.BGP_MSG_NOTIFICATION: 21,
	packet.BGP_MSG_KEEPALIVE: 19, packet.BGP_MSG_ROUTE_REFRESH: 23,
}

// errHold is what reading gives when the peer was silent for too long.
var errHold = errors.New("silent for longer than the hold time")

// errClosed is what reading gives at the end of the connection.
var errClosed = errors.New("the peer closed the connection")

// receiver reads messages. The body is valid until the next call.
type receiver struct {
	ctx  context.Context // why reading may end early; see await
	conn net.Conn
	buf  *bufio.Reader
	body [maxMessage]byte
}

func newReceiver(ctx context.Context, c net.Conn) *receiver {
	return &receiver{ctx: ctx, conn: c, buf: bufio.NewReaderSize(c, 64<<10)}
}

// next reads a message; hold is the longest silence, 0 any.
func (r *receiver) next(hold time.Duration) (kind uint8, body []byte, err error) {
	if err := r.await(hold); err != nil {
		return 0, nil, err
	}
	header := r.body[:headerSize]
	if _, err := io.ReadFull(r.buf, header); err != nil {
		return 0, nil, readError(err)
	}
	for _, b := range header[:16] {
		if b != 0xff {
			return 0, nil, newFault(bgp.CodeHeader, 1, nil, "a message without the marker")
		}
	}
	length, kind := int(binary.BigEndian.Uint16(header[16:])), header[18]
	shortest, known := minimum[kind]
	if !known && length >= headerSize {
		return 0, nil, newFault(bgp.CodeHeader, 3, []byte{kind}, "a message of unknown type %d", kind)
	}
	if length < shortest || length < headerSize || length > maxMessage || kind == packet.BGP_MSG_KEEPALIVE && length != headerSize {
		return 0, nil, newFault(bgp.CodeHeader, 2, []byte{header[16], header[17]}, "a message of type %d with %d bytes", kind, length)
	}
	body = r.body[:length-headerSize]
	if _, err := io.ReadFull(r.buf, body); err != nil {
		return 0, nil, readError(err)
	}
	return kind, body, nil
}

// await waits for the next message to begin, and leaves a deadline for the
// rest of it.
func (r *receiver) await(hold time.Duration) error {
	if err := r.deadline(hold); err != nil {
		return err
	}
	if _, err := r.buf.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // whatever it is comes up again
	}
	if err := r.deadline(late); err != nil {
		return err
	}
	if _, err := r.buf.Peek(1); errors.Is(err, os.ErrDeadlineExceeded) {
		return errHold
	}
	return r.deadline(hold)
}

// deadline sets one for reading. Who ends ctx sets one in the past afterwards:
// whichever comes first, the end is seen.
func (r *receiver) deadline(hold time.Duration) error {
	at := time.Time{}
	if hold > 0 {
		at = time.Now().Add(hold)
	}
	if err := r.conn.SetReadDeadline(at); err != nil {
		return err
	}
	return r.ctx.Err()
}

func readError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errHold
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errClosed
	}
	return fmt.Errorf("reading: %w", bare(err))
}

// bare is an error of the network without the addresses that package net puts
// before it: ours has a port that changes, and both are known anyway.
func bare(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// send writes whole messages; a peer that takes nothing for a hold time is
// dead (RFC 9687).
func send(c net.Conn, hold time.Duration, messages []byte) error {
	deadline := time.Time{}
	if hold > 0 {
		deadline = time.Now().Add(hold)
	}
	if err := c.SetWriteDeadline(deadline); err != nil {
		return err
	}
	if _, err := c.Write(messages); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.New("the peer took nothing for a hold time")
		}
		return fmt.Errorf("writing: %w", bare(err))
	}
	return nil
}

// serialize turns a message of the codec into bytes. The codec has panicked
// before (CVE-2026-41643 for one): that must not cost more than the session.
func serialize(dst []byte, m *packet.BGPMessage) (_ []byte, err error) {
	defer recoverInto(&err, "writing a message")
	b, err := m.Serialize()
	if err != nil {
		return dst, fmt.Errorf("writing a message: %w", err)
	}
	return append(dst, b...), nil
}

// countMessages counts the messages in what serialize made.
func countMessages(b []byte) (n uint64) {
	for ; len(b) >= headerSize; n++ {
		b = b[binary.BigEndian.Uint16(b[16:]):]
	}
	return n
}

func recoverInto(err *error, doing string) {
	if r := recover(); r != nil {
		*err = newFault(codeCease, 8, nil, "%s: %v", doing, r)
	}
}

// notify tells the peer why the session ends, and gives it a moment to take
// that before the connection is gone: bytes of its own that are still unread
// would turn the close into a reset, and that would overtake the reason.
func notify(c net.Conn, code, subcode uint8, data []byte) {
	const linger = 500 * time.Millisecond
	b, err := serialize(nil, packet.NewBGPNotificationMessage(code, subcode, data))
	if err != nil || send(c, linger, b) != nil {
		return
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok || tcp.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(linger)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, c) // ends with the peer's close or the deadline
}
