package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/vrf/kernel"
)

// carrierUser wants to know when an uplink lost its carrier or has it again.
type carrierUser interface {
	UplinkChanged(name string, up bool)
}

// learnedRoutes is what the watch needs of the FIB.
type learnedRoutes interface {
	UplinkChanged(ctx context.Context, uplink string, up bool) error
	Repair(ctx context.Context) error
}

// linkWatch turns changes in the kernel, whoever made them, into work: the
// loss of an uplink goes to sessions and FIB at once, all else is a new round
// of the apply loop.
type linkWatch struct {
	uplinks  []string
	fib      learnedRoutes
	sessions carrierUser
	changed  func(kernel.Notice)
	routes   func(kernel.Notice) // takes what a notice tells of routes; set before Run
	running  func(name string) (bool, error)
	watch    func(context.Context, func(kernel.Notice)) error
	log      *slog.Logger
	failed   chan struct{} // capacity 1: something is to be tried again

	mu   sync.Mutex
	up   map[string]bool // what was told last of the carrier
	lost map[string]bool // uplinks over which BFD reaches nobody
	// complaint is the error that was logged last.
	complaint string
}

func newLinkWatch(cfg *config.Config, fib learnedRoutes, sessions carrierUser, writer *kernel.Kernel, changed func(kernel.Notice), log *slog.Logger) *linkWatch {
	var tables []uint32
	for _, v := range cfg.VRFs {
		tables = append(tables, v.Table)
	}
	w := &linkWatch{
		up: map[string]bool{}, lost: map[string]bool{}, fib: fib, sessions: sessions, changed: changed, running: hasCarrier, log: log,
		failed: make(chan struct{}, 1),
		watch: func(ctx context.Context, f func(kernel.Notice)) error {
			return kernel.Watch(ctx, kernel.Options{Writer: writer}, tables, f)
		},
	}
	for _, u := range cfg.Uplinks {
		w.uplinks = append(w.uplinks, u.Interface)
		w.up[u.Interface] = true // as sessions and FIB take it
	}
	return w
}

// hasCarrier tells whether a link is there, up, and has its carrier. It asks
// for that link alone: a host has many, and the loss of a plane can't wait.
func hasCarrier(name string) (bool, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return false, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	err = unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request)
	if errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	return err == nil && request.Uint16()&unix.IFF_RUNNING != 0, err
}

// Run works until the context ends.
func (w *linkWatch) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.watch(ctx, func(n kernel.Notice) { w.notice(ctx, n) }) })
	group.Go(func() error { return w.retry(ctx) })
	return group.Wait()
}

// retry looks at all uplinks and next hops again, soon after a failure and
// else each resyncInterval: what the kernel refused is told by no notice.
func (w *linkWatch) retry(ctx context.Context) error {
	timer := time.NewTimer(resyncInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.failed:
			timer.Reset(retryInterval)
		case <-timer.C:
			timer.Reset(resyncInterval)
			w.look(ctx, w.uplinks)
		}
	}
}

func (w *linkWatch) notice(ctx context.Context, n kernel.Notice) {
	w.routes(n)
	n.Routes, n.AllRoutes = nil, false
	// On an uplink neighbours come and go with each flow, and none is ours.
	n.Neighbours = slices.DeleteFunc(n.Neighbours, func(name string) bool { return slices.Contains(w.uplinks, name) })
	if !n.Resync && !n.Rules && !n.NextHops && !n.Filter && !n.Settings && len(n.Links)+len(n.Neighbours) == 0 {
		return
	}
	w.changed(n) // guests don't wait for learned routes
	var uplinks []string
	for _, name := range w.uplinks {
		if n.Resync || slices.Contains(n.Links, name) {
			uplinks = append(uplinks, name)
		}
	}
	if len(uplinks) > 0 || n.NextHops {
		w.look(ctx, uplinks)
	}
}

// look tells what became of uplinks, the sessions first because they are
// quick, and repairs next hops.
func (w *linkWatch) look(ctx context.Context, uplinks []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	var changed []string
	for _, name := range uplinks {
		up, err := w.running(name)
		if err != nil { // what was told stays: this is no knowledge that it is lost
			errs = append(errs, fmt.Errorf("looking at uplink %s: %w", name, err))
		} else if up != w.up[name] {
			w.up[name] = up
			w.log.Info("uplink changed", "uplink", name, "up", up)
			w.sessions.UplinkChanged(name, up)
			changed = append(changed, name)
		}
	}
	for _, name := range changed {
		errs = append(errs, w.fib.UplinkChanged(ctx, name, w.up[name] && !w.lost[name]))
	}
	if len(changed) == 0 { // else that was part of it
		errs = append(errs, w.fib.Repair(ctx))
	}
	w.report(ctx, errors.Join(errs...))
}

// pathChanged tells the FIB that nobody is reached over an uplink, or that
// somebody is again, although it has its carrier.
func (w *linkWatch) pathChanged(ctx context.Context, name string, lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost[name] == lost {
		return
	}
	w.lost[name] = lost
	w.report(ctx, w.fib.UplinkChanged(ctx, name, w.up[name] && !lost))
}

// problem has what went wrong elsewhere with learned routes tried again.
func (w *linkWatch) problem(ctx context.Context, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report(ctx, err)
}

// report logs what went wrong, once, and has it tried again.
func (w *linkWatch) report(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err == nil:
		w.complaint = ""
	default:
		if err.Error() != w.complaint {
			w.complaint = err.Error()
			w.log.Warn("uplinks and next hops; trying again until it succeeds", "err", err)
		}
		select {
		case w.failed <- struct{}{}:
		default:
		}
	}
}
