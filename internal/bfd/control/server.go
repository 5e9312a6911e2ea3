package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hostroute/hostroute/internal/bfd"
)

// Engine is what runs the sessions.
type Engine interface {
	// Set takes the whole set. Soon after, there is something in Changed, even when
	// the set is the same.
	Set(specs []bfd.Spec) error
	// Snapshot is every session, and the number of the set that they are of.
	Snapshot() ([]bfd.Status, uint64)
	// Changed has something whenever more than counters changed.
	Changed() <-chan struct{}
}

// repeatEvery is how often a client gets everything without a change.
const repeatEvery = 2 * time.Second

// writeWithin is how long a client may leave its socket full.
const writeWithin = 10 * time.Second

// Server hands clients' sets to an engine and its reports to them.
type Server struct {
	Engine Engine
	Log    *slog.Logger
	// Keep is how long sessions stay when the client that asked for them has
	// gone; 0: for ever.
	Keep time.Duration

	mu     sync.Mutex
	conns  map[*conn]bool
	asked  *conn       // the connection that sent the newest set
	forget *time.Timer // runs while that connection is gone
}

// conn is a connection of a client.
type conn struct {
	net.Conn
	kick chan struct{}   // something may have changed
	set  uint64          // that the client knows the sessions of
	sent map[string]mark // as the client knows them
}

// Run serves until the context ends, and closes the listener. It never touches
// the engine's sessions at its end.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	s.conns = map[*conn]bool{}
	var tasks sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer func() {
		cancel()
		stop()
		_ = l.Close()
		s.closeAll()
		tasks.Wait()
		s.stopForgetting()
	}()
	tasks.Go(func() { s.spread(ctx) })
	s.leave(nil) // of sessions that a former process left, whose client may be gone for good
	for {
		accepted, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("serving %s: %w", l.Addr(), err)
		case err != nil:
			s.Log.Warn("accepting a connection", "err", err)
			pause(ctx, 100*time.Millisecond) // of descriptors, most likely: they may be back soon
			continue
		}
		c := &conn{Conn: accepted, kick: make(chan struct{}, 1)}
		if !s.enter(ctx, c) {
			return nil
		}
		done := make(chan struct{})
		tasks.Go(func() { c.write(s.Engine, done); _ = c.Close() })
		tasks.Go(func() { defer close(done); s.read(c) })
	}
}

// spread tells every connection of a change.
func (s *Server) spread(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.Engine.Changed():
		}
		s.mu.Lock()
		for c := range s.conns {
			poke(c.kick)
		}
		s.mu.Unlock()
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *Server) enter(ctx context.Context, c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		_ = c.Close()
		return false
	}
	s.conns[c] = true
	return true
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// read takes a client's sets until it goes.
func (s *Server) read(c *conn) {
	defer s.leave(c)
	lines := bufio.NewScanner(c)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		specs, err := parse(lines.Bytes())
		if err == nil {
			err = s.Engine.Set(specs)
		}
		if err != nil {
			s.Log.Warn("a client's set is refused", "err", err)
			_ = c.send(answer{Version: Version, Type: typeError, Error: err.Error()})
			return
		}
		s.ask(c)
	}
}

// ask notes who sent the newest set.
func (s *Server) ask(c *conn) {
	s.stopForgetting()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = c
}

func (s *Server) stopForgetting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forget != nil {
		s.forget.Stop()
	}
}

// leave ends a connection. Its sessions stay.
func (s *Server) leave(c *conn) {
	if c != nil {
		_ = c.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.asked != c {
		return
	}
	s.asked = nil
	if s.Keep > 0 {
		s.forget = time.AfterFunc(s.Keep, s.expire)
	}
}

// expire shuts sessions that nobody asked for any more.
func (s *Server) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked != nil {
		return
	}
	s.Log.Warn("nobody has asked for the sessions anew: they are shut", "after", s.Keep)
	_ = s.Engine.Set(nil) // an empty set is always valid
}

// write sends everything, and then what changes, until the reader is done or the
// client doesn't take it.
func (c *conn) write(e Engine, done <-chan struct{}) {
	repeat := time.NewTicker(repeatEvery)
	defer repeat.Stop()
	err := c.report(e, true)
	for err == nil {
		select {
		case <-done:
			return
		case <-c.kick:
			err = c.report(e, false)
		case <-repeat.C:
			err = c.report(e, true)
		}
	}
}

// report sends the sessions that the client doesn't know as they are; all of them
// where the set is another one.
func (c *conn) report(e Engine, all bool) error {
	sessions, set := e.Snapshot()
	a := answer{Version: Version, Type: typeChange}
	if all || set != c.set {
		a.Type, c.set, c.sent = typeSessions, set, map[string]mark{}
	}
	for _, s := range sessions {
		st := status(s)
		if known, ok := c.sent[st.Name]; !ok || known != st.mark() {
			a.Sessions = append(a.Sessions, st)
			c.sent[st.Name] = st.mark()
		}
	}
	if a.Type == typeChange && len(a.Sessions) == 0 {
		return nil
	}
	return c.send(a)
}

func (c *conn) send(a answer) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := c.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return err
	}
	_, err = c.Write(append(b, '\n'))
	return err
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
