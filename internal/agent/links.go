package agent

import (
	"context"
	"log/slog"
	"net"
	"slices"

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
	up       map[string]bool // what was told last
	fib      learnedRoutes
	sessions carrierUser
	changed  func(kernel.Notice)
	running  func(name string) bool
	watch    func(context.Context, func(kernel.Notice)) error
	log      *slog.Logger
}

func newLinkWatch(cfg *config.Config, fib learnedRoutes, sessions carrierUser, changed func(kernel.Notice), log *slog.Logger) *linkWatch {
	w := &linkWatch{
		up: map[string]bool{}, fib: fib, sessions: sessions, changed: changed, running: hasCarrier, log: log,
		watch: func(ctx context.Context, f func(kernel.Notice)) error { return kernel.Watch(ctx, kernel.Options{}, f) },
	}
	for _, u := range cfg.Uplinks {
		w.uplinks = append(w.uplinks, u.Interface)
		w.up[u.Interface] = true // as sessions and FIB take it
	}
	return w
}

// hasCarrier tells whether a link is there, up, and has its carrier.
func hasCarrier(name string) bool {
	link, err := net.InterfaceByName(name)
	return err == nil && link.Flags&net.FlagRunning != 0
}

// Run works until the context ends.
func (w *linkWatch) Run(ctx context.Context) error {
	return w.watch(ctx, func(n kernel.Notice) { w.notice(ctx, n) })
}

func (w *linkWatch) notice(ctx context.Context, n kernel.Notice) {
	touched := n.Resync || n.NextHops
	for _, name := range w.uplinks {
		if !n.Resync && !slices.Contains(n.Links, name) {
			continue
		}
		touched = true
		if up := w.running(name); up != w.up[name] {
			w.up[name] = up
			w.log.Info("uplink changed", "uplink", name, "up", up)
			w.sessions.UplinkChanged(name, up)
			w.report("taking an uplink in or out", w.fib.UplinkChanged(ctx, name, up))
		}
	}
	if touched {
		w.report("repairing next hops", w.fib.Repair(ctx))
	}
	w.changed(n)
}

// report logs what went wrong; it is tried again with the next notice, and by
// the FIB's own retry.
func (w *linkWatch) report(what string, err error) {
	if err != nil {
		w.log.Warn(what, "err", err)
	}
}
