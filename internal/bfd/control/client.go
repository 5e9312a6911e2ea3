package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hostroute/hostroute/internal/bfd"
)

// The pause before the next try to connect grows from the one to the other.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// silence is how long a server may say nothing before the client connects anew.
const silence = 15 * time.Second

// Client asks a server for sessions, for as long as it runs, whatever becomes of
// the server meanwhile.
type Client struct {
	path    string
	log     *slog.Logger
	changed func(Status)

	mu        sync.Mutex
	wanted    []byte // the set as it goes over the wire; nil: none was set
	connected bool   // and the server has told its sessions
	lastError string
	known     map[string]Status
	newSet    chan struct{}
}

// NewClient makes a client of the server at a path. Changed is called with every
// session that changed in more than counters, by one goroutine, which waits for
// it; it must not call Run. It may be nil.
func NewClient(path string, log *slog.Logger, changed func(Status)) *Client {
	if changed == nil {
		changed = func(Status) {}
	}
	return &Client{path: path, log: log, changed: changed, known: map[string]Status{}, newSet: make(chan struct{}, 1)}
}

// Set replaces the sessions that are asked for. It is cheap, and goes out as soon
// as there is a connection. The same set changes nothing.
func (c *Client) Set(specs []bfd.Spec) error {
	if err := bfd.CheckAll(specs); err != nil {
		return err
	}
	r := request{Version: Version, Type: typeSet, Sessions: make([]Wanted, 0, len(specs))}
	for _, s := range specs {
		r.Sessions = append(r.Sessions, wanted(s))
	}
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing the set: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = append(line, '\n')
	poke(c.newSet)
	return nil
}

// State is what a client knows.
type State struct {
	Connected bool     `json:"connected"`
	LastError string   `json:"last_error,omitempty"` // why not
	Sessions  []Status `json:"sessions"`             // as last heard, by name
}

// State gives what was heard last. While there is no connection that may be old.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := State{Connected: c.connected, LastError: c.lastError, Sessions: make([]Status, 0, len(c.known))}
	for _, st := range c.known {
		s.Sessions = append(s.Sessions, st)
	}
	slices.SortFunc(s.Sessions, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// Session is one session as it was heard last.
func (c *Client) Session(name string) (Status, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.known[name]
	return s, ok
}

// Run keeps a connection until the context ends.
func (c *Client) Run(ctx context.Context) error {
	retry := firstRetry
	for {
		heard, err := c.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if heard {
			retry = firstRetry
		}
		c.disconnected(err)
		if !pause(ctx, retry/2+time.Duration(rand.Int64N(int64(retry)))) {
			return nil
		}
		retry = min(2*retry, lastRetry)
	}
}

// disconnected keeps the reason, and logs it when it is a new one.
func (c *Client) disconnected(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if text := err.Error(); c.connected || text != c.lastError {
		c.log.Warn("BFD's process isn't reachable: sessions are as heard last", "socket", c.path, "err", err)
		c.lastError = text
	}
	c.connected = false
}

// serve is one connection. It tells whether the server said anything useful.
func (c *Client) serve(ctx context.Context) (heard bool, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.path)
	if err != nil {
		return false, fmt.Errorf("connecting to %s: %w", c.path, reachable(err))
	}
	ctx, cancel := context.WithCancel(ctx)
	var writer sync.WaitGroup
	writer.Go(func() { c.write(ctx, conn) })
	defer func() {
		cancel()
		_ = conn.Close()
		writer.Wait()
	}()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	lines := bufio.NewScanner(conn)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return heard, fmt.Errorf("listening to %s: %w", c.path, err)
		}
		if !lines.Scan() {
			break
		}
		if err := c.take(lines.Bytes()); err != nil {
			return false, err
		}
		heard = true
	}
	if err := lines.Err(); err != nil {
		return heard, fmt.Errorf("listening to %s: %w", c.path, err)
	}
	return heard, fmt.Errorf("%s was closed: hostroute bfd ends or starts anew", c.path)
}

// write sends the set, and every newer one.
func (c *Client) write(ctx context.Context, conn net.Conn) {
	for {
		select { // what it tells of is sent now
		case <-c.newSet:
		default:
		}
		c.mu.Lock()
		line := c.wanted
		c.mu.Unlock()
		if line != nil {
			_ = conn.SetWriteDeadline(time.Now().Add(writeWithin))
			if _, err := conn.Write(line); err != nil {
				_ = conn.Close() // the reader tells why
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-c.newSet:
		}
	}
}

// take reads one line of the server.
func (c *Client) take(line []byte) error {
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return fmt.Errorf("reading what %s says: %w", c.path, err)
	}
	if a.Version != Version {
		return fmt.Errorf("%s speaks version %d of the protocol and not version %d: restart hostroute bfd", c.path, a.Version, Version)
	}
	switch a.Type {
	case typeError:
		return fmt.Errorf("%s refuses: %s", c.path, a.Error)
	case typeSessions, typeChange:
		for _, s := range c.note(a) {
			c.changed(s)
		}
	}
	return nil
}

// note remembers sessions, and finds those that changed.
func (c *Client) note(a answer) (changed []Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.connected {
		c.log.Info("BFD's process answers", "socket", c.path)
	}
	c.connected, c.lastError = true, ""
	before := c.known
	if a.Type == typeSessions {
		c.known = make(map[string]Status, len(a.Sessions))
	}
	for _, s := range a.Sessions {
		if old, ok := before[s.Name]; !ok || old.mark() != s.mark() || !old.Since.Equal(s.Since) {
			changed = append(changed, s)
		}
		c.known[s.Name] = s
	}
	return changed
}

// reachable says what can be done about a socket that nobody answers on.
func reachable(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return errors.New("there is no such socket; start hostroute bfd")
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("nobody answers; hostroute bfd has ended, so start it again")
	}
	return err
}
