package udp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/bfd"
)

// Options are what an engine needs of its surroundings.
type Options struct {
	Log *slog.Logger
	// In runs the opening of sockets; a test opens them in a namespace. Nil: they
	// are opened where Run runs.
	In func(func() error) error
	// State is a file in which sessions are kept for the next process, so that it
	// can go on with them; it must not outlive a boot of the host. Then the end of
	// Run says nothing to the peers. Empty: nothing is kept, and they are told.
	State string
	// Ordinary leaves scheduling and memory of the process as they are.
	Ordinary bool
}

// Engine runs sessions. See the package's documentation for what it guarantees.
type Engine struct {
	log      *slog.Logger
	in       func(func() error) error
	ordinary bool
	state    string

	wanted atomic.Pointer[order] // the newest set that the loop hasn't taken yet
	wake   waker

	setting sync.Mutex
	sets    uint64 // how many there were

	mu      sync.Mutex // the loop only tries to take it
	public  []bfd.Status
	set     uint64 // that they are of
	drops   [bfd.Drops]uint64
	changed chan struct{}
	save    chan struct{} // as changed, for the state file
}

// New makes an engine without sessions.
func New(o Options) *Engine {
	e := &Engine{
		log: o.Log, in: o.In, ordinary: o.Ordinary, state: o.State,
		changed: make(chan struct{}, 1), save: make(chan struct{}, 1),
	}
	if e.in == nil {
		e.in = func(f func() error) error { return f() }
	}
	return e
}

// Set takes the whole set of sessions that are wanted from now on. It returns
// before anything has happened; an error, which is the set's, leaves everything
// as it is.
func (e *Engine) Set(specs []bfd.Spec) error {
	if err := bfd.CheckAll(specs); err != nil {
		return err
	}
	e.setting.Lock()
	defer e.setting.Unlock()
	e.sets++
	e.wanted.Store(&order{append([]bfd.Spec(nil), specs...), e.sets})
	e.wake.up()
	return nil
}

// order is a numbered set.
type order struct {
	specs  []bfd.Spec
	number uint64
}

// Status is each session that is wanted, in the order of the set. It is at most
// a millisecond old in everything but counters, which are a second old at most.
func (e *Engine) Status() []bfd.Status {
	sessions, _ := e.Snapshot()
	return sessions
}

// Snapshot is the Status with the number of the set that it is of: 0 before the
// first one, and one more with every call of Set.
func (e *Engine) Snapshot() ([]bfd.Status, uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]bfd.Status(nil), e.public...), e.set
}

// Dropped counts the packets that changed nothing, by reason.
func (e *Engine) Dropped() [bfd.Drops]uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.drops
}

// Changed has something whenever the Status has changed in more than counters,
// and after every set.
// There is one channel, for one reader; changes that it is too slow for are one.
func (e *Engine) Changed() <-chan struct{} { return e.changed }

// Run works until the context ends. Then it keeps the sessions for the next
// process, or says AdminDown to every peer and returns when they know; see
// Options.State.
func (e *Engine) Run(ctx context.Context) error {
	wakeFD, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("opening an eventfd: %w", err)
	}
	e.wake.open(wakeFD)
	defer e.wake.close()
	defer context.AfterFunc(ctx, e.wake.up)()

	l := e.newLoop(wakeFD)
	if e.state != "" {
		l.former = e.resume()
		stop := e.keepState()
		defer stop()
	}
	// Never unlocked: the thread ends with its goroutine, and its urgency with it.
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if !e.ordinary {
			if err := urgent(); err != nil {
				e.log.Warn("sessions are scheduled like anything else, so that a busy host may lose some", "err", err)
			}
		}
		done <- l.run(ctx)
	}()
	return <-done
}

func (e *Engine) newLoop(wakeFD int) *loop {
	seed := randomBytes()
	return &loop{
		engine: e, log: e.log, origin: time.Now().Add(-time.Second),
		random: rand.New(rand.NewPCG(seed[0], seed[1])),
		table:  bfd.NewTable[*peer](), peers: map[bfd.Key]*peer{}, ports: map[place]*port{}, sources: map[uint16]bool{},
		polls: []unix.PollFd{{Fd: int32(wakeFD), Events: unix.POLLIN}},
	}
}

// waker ends the loop's wait. The loop never takes its lock.
type waker struct {
	mu sync.Mutex
	fd int // 0: none
}

func (w *waker) open(fd int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fd = fd
}

func (w *waker) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = unix.Close(w.fd)
	w.fd = 0
}

func (w *waker) up() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd != 0 {
		_, _ = unix.Write(w.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// errNoSource is for more sessions than there are source ports.
var errNoSource = errors.New("no source port is free")
