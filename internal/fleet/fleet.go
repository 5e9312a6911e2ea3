package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// Task serves one tap.
type Task[S any] interface {
	// Run serves until the context ends and then returns nil. The cause of the
	// end is [ErrDropped] if the tap is not to be served any more; otherwise the
	// process ends, which is a restart as far as the guest is concerned.
	Run(ctx context.Context) error
	// Update changes what is served. It may be called before and during Run.
	Update(S)
}

// ErrDropped is the cause of the end of a task whose tap is not to be served
// any more.
var ErrDropped = errors.New("not desired any more")

// errOccupied keeps a task from running until its predecessor has ended.
var errOccupied = errors.New("the former service of this tap has not ended yet")

// How long a failed task waits before it is started again.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 10 * time.Second
)

// Fleet runs a task for each desired tap.
type Fleet[S any, T Task[S]] struct {
	build func(Port, S) T
	log   *slog.Logger
	wake  chan struct{} // capacity 1

	mu      sync.Mutex
	desired map[Port]S
	crew    map[Port]*member[S, T]
	ending  []*member[S, T] // dropped, and perhaps running still
}

// member is a running task.
type member[S any, T Task[S]] struct {
	port    Port
	task    T
	service S
	stop    context.CancelCauseFunc
	done    chan struct{}
	err     error  // why it doesn't run just now; nil: it does
	said    string // the error that was logged last
}

// New makes a fleet that gets its tasks from build. It is inert before Run.
func New[S any, T Task[S]](build func(Port, S) T, log *slog.Logger) *Fleet[S, T] {
	return &Fleet[S, T]{build: build, log: log, wake: make(chan struct{}, 1), crew: map[Port]*member[S, T]{}}
}

// Set says what is to be served, all of it. The map belongs to the fleet then.
func (f *Fleet[S, T]) Set(desired map[Port]S) {
	f.mu.Lock()
	f.desired = desired
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Each calls do for every task that is desired and was started, with the error
// that keeps it from running, if any. do must not call the fleet.
func (f *Fleet[S, T]) Each(do func(Port, T, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for port, m := range f.crew {
		do(port, m.task, m.err)
	}
}

// Run keeps the tasks until the context ends.
func (f *Fleet[S, T]) Run(ctx context.Context) error {
	for {
		f.settle(ctx)
		select {
		case <-ctx.Done():
			f.wait()
			return nil
		case <-f.wake:
		}
	}
}

// settle starts, updates and stops tasks, and waits for none of them: a task
// that doesn't end, whatever its guest does for it, is its tap's affair alone.
func (f *Fleet[S, T]) settle(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ending = slices.DeleteFunc(f.ending, func(m *member[S, T]) bool {
		select {
		case <-m.done:
			return true
		default:
			return false
		}
	})
	for port, m := range f.crew {
		if _, ok := f.desired[port]; !ok {
			m.stop(ErrDropped)
			delete(f.crew, port)
			f.ending = append(f.ending, m)
		}
	}
	for port, service := range f.desired {
		m, ok := f.crew[port]
		switch {
		case !ok:
			f.crew[port] = f.start(ctx, port, service)
		case !reflect.DeepEqual(m.service, service):
			m.service = service
			m.task.Update(service)
		}
	}
}

// start starts a task, when those have ended that had its name or its device:
// both would want its socket. The lock is held.
func (f *Fleet[S, T]) start(ctx context.Context, port Port, service S) *member[S, T] {
	ctx, stop := context.WithCancelCause(ctx)
	m := &member[S, T]{port: port, task: f.build(port, service), service: service, stop: stop, done: make(chan struct{})}
	var before []<-chan struct{}
	for _, old := range f.ending {
		if old.port.Name == port.Name || old.port.Index == port.Index {
			before = append(before, old.done)
			m.err = errOccupied
		}
	}
	go func() {
		defer close(m.done)
		for _, ended := range before {
			select {
			case <-ctx.Done():
				return
			case <-ended:
			}
		}
		f.keep(ctx, port, m)
	}()
	return m
}

// keep runs a task until its context ends, whatever it does.
func (f *Fleet[S, T]) keep(ctx context.Context, port Port, m *member[S, T]) {
	pause := firstPause
	for {
		started := time.Now()
		f.note(m, nil)
		err := guarded(ctx, m.task.Run)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("it ended for no reason")
		}
		if f.note(m, err) {
			f.log.Warn("a service of a tap stopped; starting it again until it runs", "tap", port.Name, "err", err)
		}
		if time.Since(started) > longestPause {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}

// note keeps an error for Each and tells whether it is news.
func (f *Fleet[S, T]) note(m *member[S, T], err error) (news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.err = err
	if err == nil || err.Error() == m.said {
		return false
	}
	m.said = err.Error()
	return true
}

func guarded(ctx context.Context, run func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return run(ctx)
}

func (f *Fleet[S, T]) wait() {
	f.mu.Lock()
	all := slices.AppendSeq(f.ending, maps.Values(f.crew))
	f.crew, f.ending = map[Port]*member[S, T]{}, nil
	f.mu.Unlock()
	for _, m := range all {
		<-m.done
	}
}
