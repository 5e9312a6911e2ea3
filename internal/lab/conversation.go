package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Conversation is a TCP connection on which both ends send all the time. It has four goroutines until it is stopped.
type Conversation struct {
	Flow
	talkers [2]*talker    // who opened it, who accepted it
	quit    chan struct{} // ends what is said, so that nobody speaks to one who has hung up
	talking sync.WaitGroup
	hearing sync.WaitGroup
	stopped atomic.Bool
}

// talker is one end.
type talker struct {
	conn net.Conn
	got  atomic.Uint64 // numbers read, each the one after the one before
	mu   sync.Mutex
	err  error // the first
}

// talkInterval is how often each end sends a number: seldom enough that a move waits for a retransmission at most once.
const talkInterval = 20 * time.Millisecond

// StartConversation opens a connection from one end of a flow to the other.
func (l *Lab) StartConversation(ctx context.Context, f Flow) (*Conversation, error) {
	server, err := l.listenTCP(ctx, f.To, f.Target)
	if err != nil {
		return nil, fmt.Errorf("opening a connection %s: %w", f, err)
	}
	defer server.Close()
	c := &Conversation{Flow: f, quit: make(chan struct{})}
	accepted := make(chan error, 1)
	go func() {
		conn, err := server.Accept()
		c.talkers[1] = &talker{conn: conn}
		accepted <- err
	}()
	dialler := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.Source, 0)), Timeout: time.Duration(float64(startLimit) * TimeFactor())}
	conn, err := l.dial(ctx, dialler, f.From, "tcp", server.Addr().String())
	if err != nil {
		_ = server.Close() // ends the goroutine
		<-accepted
		return nil, fmt.Errorf("opening a connection %s: %w", f, err)
	}
	c.talkers[0] = &talker{conn: conn}
	if err := <-accepted; err != nil {
		return nil, errors.Join(fmt.Errorf("opening a connection %s: %w", f, err), conn.Close())
	}
	for _, t := range c.talkers {
		c.talking.Go(func() { c.talk(t) })
		c.hearing.Go(func() { c.listen(t) })
	}
	return c, nil
}

func (l *Lab) listenTCP(ctx context.Context, node string, on netip.Addr) (server net.Listener, err error) {
	err = within(l.Topology.Namespace(node), func() error {
		server, err = (&net.ListenConfig{}).Listen(ctx, "tcp", netip.AddrPortFrom(on, 0).String())
		return err
	})
	return server, err
}

// Dial opens a connection from a node.
func (l *Lab) Dial(ctx context.Context, node, network, address string) (net.Conn, error) {
	return l.dial(ctx, net.Dialer{}, node, network, address)
}

func (l *Lab) dial(ctx context.Context, dialler net.Dialer, node, network, address string) (conn net.Conn, err error) {
	err = within(l.Topology.Namespace(node), func() error {
		conn, err = dialler.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// talk ends with quit or the connection.
func (c *Conversation) talk(t *talker) {
	ticks := time.NewTicker(talkInterval)
	defer ticks.Stop()
	for n := uint64(1); ; n++ {
		if _, err := t.conn.Write(binary.BigEndian.AppendUint64(nil, n)); err != nil {
			c.fails(t, err)
			return
		}
		select {
		case <-c.quit:
			return
		case <-ticks.C:
		}
	}
}

// listen ends with the connection.
func (c *Conversation) listen(t *talker) {
	number := make([]byte, 8)
	for {
		if _, err := io.ReadFull(t.conn, number); err != nil {
			c.fails(t, err)
			return
		}
		if got, want := binary.BigEndian.Uint64(number), t.got.Load()+1; got != want {
			c.fails(t, fmt.Errorf("it got number %d instead of %d", got, want))
		}
		t.got.Add(1)
	}
}

// fails keeps the first thing that went wrong; the end of a connection that was stopped is none.
func (c *Conversation) fails(t *talker, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil && !c.stopped.Load() {
		t.err = err
	}
}

// Alive waits until both ends hear each other from now on.
func (c *Conversation) Alive(ctx context.Context) error {
	before := [2]uint64{c.talkers[0].got.Load(), c.talkers[1].got.Load()}
	return Eventually(ctx, "the connection "+c.String(), startLimit, func() error {
		for i, t := range c.talkers {
			t.mu.Lock()
			err := t.err
			t.mu.Unlock()
			if err != nil {
				return err
			}
			if t.got.Load() < before[i]+5 {
				return fmt.Errorf("%s hears nothing: %w", []string{c.From, c.To}[i], ErrNoAnswer)
			}
		}
		return nil
	})
}

// Stop ends the connection, once. Its error is what went wrong before.
func (c *Conversation) Stop() error {
	if c.stopped.Swap(true) {
		return nil
	}
	close(c.quit)
	for _, t := range c.talkers {
		_ = t.conn.SetWriteDeadline(time.Unix(1, 0)) // one who can't get through
	}
	c.talking.Wait()
	for _, t := range c.talkers {
		_ = t.conn.Close() // what is under way is of no interest
	}
	c.hearing.Wait()
	var wrong []error
	for i, t := range c.talkers {
		if t.err != nil {
			wrong = append(wrong, fmt.Errorf("%s at %s: %w", c.Flow, []string{c.From, c.To}[i], t.err))
		}
	}
	return errors.Join(wrong...)
}
