package receive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// Stats counts what a loop did. It may be read at any time.
type Stats struct {
	Packets atomic.Uint64 // handled, panics included
	Limited atomic.Uint64 // how often reading stopped because the bucket was empty
	Panics  atomic.Uint64

	panicSaid Seldom
}

// Conn is a socket. Read returns one packet and who sent it, as far as the
// socket tells; it must return [os.ErrDeadlineExceeded] after a deadline in the past.
type Conn[From any] interface {
	Read(buf []byte) (n int, from From, err error)
	SetReadDeadline(t time.Time) error
}

// packetSize is the greatest packet that is read whole; guests' messages are
// far smaller, and a longer one is cut and then fails to parse.
const packetSize = 9216

// Serve hands each packet of a socket to handle until the context ends, and
// then returns nil. The buffer is reused: handle keeps nothing of it. An error
// is the socket's.
func Serve[From any](ctx context.Context, conn Conn[From], rate Rate, stats *Stats, log *slog.Logger, handle func(packet []byte, from From)) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	limit := newBucket(rate, time.Now())
	buf := make([]byte, packetSize)
	for {
		if wait := limit.take(time.Now()); wait > 0 {
			stats.Limited.Add(1)
			if !pause(ctx, wait) {
				return nil
			}
			continue
		}
		n, from, err := conn.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			return fmt.Errorf("reading from the socket: %w", err)
		}
		stats.Packets.Add(1)
		Guard(stats, log, func() { handle(buf[:n], from) })
	}
}

// Guard runs f and outlives its panic, which it counts, and logs once a minute:
// a packet that made one can be sent again and again.
func Guard(stats *Stats, log *slog.Logger, f func()) {
	defer func() {
		if p := recover(); p != nil {
			n := stats.Panics.Add(1)
			if stats.panicSaid.Pass(time.Now()) {
				log.Error("a packet made its handler panic; it is dropped", "panic", p, "panics", n, "stack", string(debug.Stack()))
			}
		}
	}()
	f()
}

// pause waits, and tells whether the context still goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
