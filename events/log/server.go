package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/access"
)

// ServerOptions of an embedded [Server].
type ServerOptions struct {
	// Store is the directory that holds the log.
	Store string
	// Listen is the address for other hosts, "127.0.0.1:4222" or with port 0
	// for any free one. Without it only this process can connect.
	Listen string
	// SyncInterval is how often what was stored is forced to disk. 0 is always,
	// before it is acknowledged: slow for single events (tens a second on a
	// disk with 1 ms), and nothing acknowledged is ever lost. Anything else
	// risks that much time at a power failure.
	SyncInterval time.Duration
	// ReadyTimeout bounds the start; 30 s by default. A large log is indexed
	// again after a crash, 2 s a million messages.
	ReadyTimeout time.Duration
	Logger       *slog.Logger
}

// Server is a NATS server inside this process, so that one machine needs
// nothing else.
type Server struct {
	options ServerOptions
	log     *slog.Logger
	ready   chan struct{}

	mu     sync.Mutex
	server *server.Server // while it runs
}

// NewServer makes a server; Run starts it.
func NewServer(o ServerOptions) *Server {
	if o.ReadyTimeout <= 0 {
		o.ReadyTimeout = 30 * time.Second
	}
	return &Server{options: o, log: orDiscard(o.Logger), ready: make(chan struct{})}
}

// Ready is closed when connections are served.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// URL is where clients connect; empty while the server isn't ready or where
// nobody outside the process can.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil || s.options.Listen == "" {
		return ""
	}
	return s.server.ClientURL()
}

// InProcessConn makes connections without a socket, for nats.InProcessServer.
func (s *Server) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	running := s.server
	s.mu.Unlock()
	if running == nil {
		return nil, errors.New("the embedded log isn't running")
	}
	return running.InProcessConn()
}

// Run serves until the context ends. A Server runs once.
func (s *Server) Run(ctx context.Context) error {
	options, err := s.serverOptions()
	if err != nil {
		return fmt.Errorf("starting the embedded log: %w", err)
	}
	unlock, err := lockStore(s.options.Store)
	if err != nil {
		return fmt.Errorf("starting the embedded log: %w", err)
	}
	defer unlock()
	running, err := server.NewServer(options)
	if err != nil {
		return fmt.Errorf("starting the embedded log: %w", err)
	}
	fatal := newServerLogger(s.log)
	running.SetLoggerV2(fatal, false, false, false)
	go running.Start()
	defer func() {
		running.Shutdown()
		running.WaitForShutdown()
	}()
	if err := awaitReady(ctx, running, fatal, s.options.ReadyTimeout); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("starting the embedded log in %s: %w", s.options.Store, err)
	}
	s.set(running)
	defer s.set(nil)
	close(s.ready)
	s.log.Info("embedded log serves", "store", s.options.Store, "url", s.URL())
	select {
	case <-ctx.Done():
		return nil
	case reason := <-fatal.fatal:
		return fmt.Errorf("the embedded log in %s stopped: %s", s.options.Store, reason)
	}
}

func (s *Server) set(running *server.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = running
}

func (s *Server) serverOptions() (*server.Options, error) {
	if s.options.Store == "" {
		return nil, errors.New("no directory for the store is given")
	}
	limits := access.DefaultLimits()
	o := &server.Options{
		ServerName:   "hostroute",
		JetStream:    true,
		StoreDir:     s.options.Store,
		SyncAlways:   s.options.SyncInterval == 0,
		SyncInterval: s.options.SyncInterval,
		NoSigs:       true,
		DontListen:   s.options.Listen == "",
		JetStreamLimits: server.JSLimitOpts{
			MaxBatchInflightPerStream: limits.BatchesPerStream,
			MaxBatchInflightTotal:     limits.Batches,
			DefaultMaxConsumers:       -1,
		},
		MaxPayload:    limits.Payload,
		WriteDeadline: limits.WriteDeadline,
	}
	if o.DontListen {
		return o, nil
	}
	host, port, err := net.SplitHostPort(s.options.Listen)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", s.options.Listen, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("address %q: port must be 0 to 65535", s.options.Listen)
	}
	o.Host, o.Port = host, int(n)
	if n == 0 {
		o.Port = server.RANDOM_PORT
	}
	return o, nil
}

// awaitReady waits until connections are served, with the server's own words
// about why they never will be.
func awaitReady(ctx context.Context, running *server.Server, l *serverLogger, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for !running.ReadyForConnections(10 * time.Millisecond) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case reason := <-l.fatal:
			return startError(reason)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready after %s", timeout)
		}
	}
	select { // a server without JetStream calls itself ready all the same
	case reason := <-l.fatal:
		return startError(reason)
	default:
		return nil
	}
}

func startError(reason string) error {
	if strings.Contains(reason, "address already in use") {
		return fmt.Errorf("%s: does another server run here already?", reason)
	}
	return errors.New(reason)
}

// lockStore keeps a second server out of the same files, which NATS doesn't.
func lockStore(dir string) (func(), error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the store: %w", err)
	}
	path := filepath.Join(dir, "hostroute.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the store: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("store %s is in use by another process", dir)
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}
