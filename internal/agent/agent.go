package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/vrf/kernel"
)

// Agent serves one hypervisor.
type Agent struct {
	cfg *config.Config
	log *slog.Logger
	// Version is what Status tells of the program.
	Version string
	started time.Time

	kernel  *kernel.Kernel
	fib     *kernel.FIB
	speaker *session.Speaker
	ledger  *logTask
	apply   *applier
	links   *linkWatch
	guests  *services
	paths   *pathWatch
	leaver  *leaver
	drain   *drainWatch
	effects *effects
	written *writtenFIB
	flight  *flightRecorder
	steps   *steps
}

// AllowMassWithdrawal has the agent believe a log from which many guests have
// vanished without an event that ends them. It is for before Run.
func (a *Agent) AllowMassWithdrawal() { a.ledger.guard.allow = true }

// New makes an agent of a configuration that CheckAgent accepts. It touches
// nothing before Run.
func New(cfg *config.Config, log *slog.Logger) (*Agent, error) {
	if err := cfg.CheckAgent(); err != nil {
		return nil, err
	}
	host := cfg.Host()
	a := &Agent{
		cfg: cfg, log: log,
		kernel: kernel.New(kernel.Options{}),
		fib:    kernel.NewFIB(kernel.Options{}, host.VRFs, host.Uplinks),
		ledger: newLogTask(cfg, log),
		guests: newServices(log),
	}
	a.flight = newFlightRecorder(cfg.FlightRecorder, cfg.State, log.With("task", "flight recorder"))
	a.steps = newSteps(a.flight)
	a.apply = newApplier(cfg.Hypervisor, host, a.ledger, timedKernel{a.kernel, a.steps}, a.guests, log)
	a.apply.steps, a.ledger.steps = a.steps, a.steps
	a.effects = &effects{hypervisor: cfg.Hypervisor, look: a.holdings}
	a.drain = newDrainWatch(cfg.Hypervisor, a.ledger.State, a.effects.Wake, log.With("task", "drain"))
	a.apply.rounded, a.ledger.connected = a.effects.Wake, a.effects.serve
	a.apply.moving.clock = sinceBoot
	a.guests.saw = a.apply.Saw
	a.fib.Share(a.kernel, func() { a.apply.Notice(kernel.Notice{AllRoutes: true}) })
	return a, nil
}

// Run serves until the context ends, and then leaves everything in place: see
// the package comment on stopping. An error is one that a retry can't mend, or
// ErrLeft.
func (a *Agent) Run(ctx context.Context) error {
	a.started = time.Now()
	boundGarbage()
	socket := a.socket()
	listener, err := socket.listen(ctx) // first, since it keeps a second agent out
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	defer func() { _ = errors.Join(a.fib.Close(), a.kernel.Close()) }()
	adopted, err := a.fib.Adopt(ctx)
	if err != nil {
		return fmt.Errorf("reading the learned routes of a former run: %w", err)
	}
	a.log.Info("agent starts", "hypervisor", a.cfg.Hypervisor, "adopted_routes", adopted)
	a.written = newWrittenFIB(timedFIB{a.fib, a.steps}, a.effects.Wake)
	sessions := sessionConfig(a.cfg, adopted > 0)
	sessions.Steps = a.steps
	a.speaker = session.New(sessions, a.written, a.log.With("task", "bgp"))
	a.apply.announcer, a.apply.moving.paths = a.speaker, a.speaker
	if err := a.preflight(ctx); err != nil {
		return err
	}
	a.links = newLinkWatch(a.cfg, a.fib, a.speaker, a.kernel, a.apply.Notice, a.log.With("task", "links"))
	mender := newMender(a.cfg.Host().VRFs, timedVerify{a.fib, a.steps}, a.apply.Notice, a.links.problem, a.log.With("task", "routes"))
	a.links.routes = mender.Notice

	a.ledger.prepare.Do(a.ledger.restore) // for the first round that may use it
	a.apply.left.unproven = a.ledger.unproven()
	group, ctx := errgroup.WithContext(ctx)
	a.paths = newPathWatch(ctx, a.cfg, a.speaker, a.links.pathChanged, a.log.With("task", "bfd"))
	a.leaver = newLeaver(a.cfg, a.speaker, a.paths, a.log.With("task", "leave"))
	a.leaver.guests, a.leaver.announced = a.stayingGuests, a.apply.announcedCount
	socket.orders = map[string]http.Handler{PathLeave: a.leaver}
	group.Go(func() error { return a.paths.Run(ctx) })
	group.Go(func() error { return a.leaver.Run(ctx) })
	group.Go(func() error { return a.ledger.Run(ctx) })
	group.Go(func() error { return a.forwardChanges(ctx) })
	group.Go(func() error { return a.forwardPaths(ctx) })
	group.Go(func() error { return a.apply.Run(ctx) })
	group.Go(func() error { return a.pauses().Run(ctx) })
	group.Go(func() error { return a.links.Run(ctx) })
	group.Go(func() error { return a.guests.Run(ctx) })
	group.Go(func() error { return a.drain.Run(ctx) })
	group.Go(func() error { return a.speak(ctx) })
	group.Go(func() error { return mender.Run(ctx) })
	group.Go(func() error { return a.manager().Run(ctx) })
	group.Go(func() error { return a.watchdog(ctx) })
	group.Go(func() error { return a.monitoring().Run(ctx) })
	group.Go(func() error { return a.flight.Run(ctx) })
	group.Go(func() error { return panicWhenTold(ctx) })
	group.Go(func() error { return socket.Serve(ctx, listener) })
	return group.Wait()
}

// preflight makes the devices of the configuration, and finds what no retry
// can mend: a kernel without VRF, or a process that may not change it. Any
// other failure is for the apply loop, which tries again.
func (a *Agent) preflight(ctx context.Context) error {
	_, err := a.apply.round(ctx)
	for _, fatal := range []error{kernel.ErrNotPermitted, kernel.ErrNoVRF} {
		if errors.Is(err, fatal) {
			return fatal
		}
	}
	return nil
}

// forwardChanges wakes the apply loop when the projection changed.
func (a *Agent) forwardChanges(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.ledger.Changes():
			a.effects.learned(a.ledger.tick(), time.Now())
			a.apply.Wake()
		}
	}
}

// forwardPaths wakes the apply loop when a path of a prefix changed that is ours,
// was ours, or will be.
func (a *Agent) forwardPaths(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.speaker.Watched():
			a.apply.Wake()
		}
	}
}

// speak runs the sessions once the guests of this hypervisor are in the
// kernel, and sweeps what a former run had learned when they are in sync.
func (a *Agent) speak(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.apply.applied:
	case <-a.leaver.asked: // to be told that there is nothing, whatever there is
	}
	if len(a.cfg.BGP.Reflectors) == 0 { // a hypervisor alone: nobody has anything to tell
		told := make(chan struct{})
		close(told)
		return a.sweepWhenInformed(ctx, told)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.speaker.Run(ctx) })
	group.Go(func() error { return a.sweepWhenInformed(ctx, a.speaker.Synced()) })
	return group.Wait()
}

// sweepWhenInformed sweeps each VRF once, when the sessions are in sync.
func (a *Agent) sweepWhenInformed(ctx context.Context, synced <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return nil
	case <-synced:
	}
	again := time.NewTicker(retryInterval)
	defer again.Stop()
	for waiting := a.sweep(ctx, a.vrfs()); len(waiting) > 0; waiting = a.sweep(ctx, waiting) {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
	}
	return nil
}

// sweep removes what a former run had learned and nobody confirmed, VRF by VRF,
// and returns those that must wait: where no reflector has told all it knows,
// what is unconfirmed may only be unknown.
func (a *Agent) sweep(ctx context.Context, vrfs []string) (waiting []string) {
	for _, name := range vrfs {
		if !a.informed(name) {
			waiting = append(waiting, name)
			continue
		}
		n, err := a.fib.Sweep(ctx, name)
		switch {
		case err != nil:
			waiting = append(waiting, name)
			a.log.Warn("sweeping learned routes of a former run", "vrf", name, "err", err)
		case n > 0:
			a.log.Info("learned routes of a former run swept", "vrf", name, "routes", n)
		}
	}
	return waiting
}

// informed tells whether a VRF has a reflector that has told all it knows, and
// all of that is in the kernel; or has no reflector at all.
func (a *Agent) informed(name string) bool {
	for _, t := range a.speaker.Tables() {
		if t.VRF == name && t.Pending > 0 {
			return false
		}
	}
	peers := 0
	for _, p := range a.speaker.Peers() {
		if p.VRF != name {
			continue
		}
		if p.Complete {
			return true
		}
		peers++
	}
	return peers == 0
}

// sessionConfig makes one session of every reflector, bound to the uplink of
// its VRF and plane, whose addresses are the next hops of what is announced.
func sessionConfig(cfg *config.Config, restarting bool) session.Config {
	c := session.Config{
		AS: cfg.BGP.AS, RouterID: cfg.BGP.RouterID, HoldTime: cfg.BGP.HoldTime,
		ConnectRetry: cfg.BGP.ConnectRetry, RestartTime: cfg.BGP.RestartTime, LongLivedStaleTime: cfg.BGP.LongLived, Restarting: restarting,
	}
	for _, r := range cfg.BGP.Reflectors {
		uplink, _ := cfg.Uplink(r.VRF, r.Plane) // there is one: the configuration was checked
		p := session.Peer{
			VRF: r.VRF, Plane: r.Plane, Uplink: uplink.Interface,
			Address: r.Address, Port: r.Port, AS: r.AS, Password: r.Password, NoTTLSecurity: !r.TTLSecurity,
		}
		for _, prefix := range uplink.Addresses {
			switch at := prefix.Addr(); {
			case at.Is4() && !p.LocalV4.IsValid():
				p.LocalV4 = at
			case at.Is6() && !p.LocalV6.IsValid() && !at.IsLinkLocalUnicast():
				p.LocalV6 = at
			}
		}
		c.Peers = append(c.Peers, p)
	}
	return c
}
