package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// FIB writes learned routes. It is safe for concurrent use; calls wait for
// each other, but only some milliseconds for a Verify or a Sweep. See package vrf
// for what each does.
type FIB struct {
	mu    sync.Mutex
	plane *dataplane
	fib   *vrf.FIB

	verifying struct {
		sync.Mutex
		stop   context.CancelCauseFunc // nil while nobody verifies
		beside int                     // changes of IPv6 routes since it began
	}
}

// ErrInterrupted: a plane was lost, or is back, and that could not wait.
var ErrInterrupted = errors.New("interrupted by the change of an uplink")

// ErrBusy: so many IPv6 routes were written that reading them would have taken for ever.
var ErrBusy = errors.New("interrupted by changes of many routes")

// busy is how many routes of IPv6 may change while all are read. The kernel goes through the
// table from its beginning again for each slice of a dump that comes after a change,
// and has it locked meanwhile: with a million routes each batch waits for most of a second.
const busy = 2048

// NewFIB is inert, like New. Call Adopt before anything else.
func NewFIB(o Options, vrfs []vrf.VRF, uplinks []vrf.Uplink) *FIB {
	f := &FIB{plane: newDataplane(o)}
	f.fib = vrf.NewFIB(f.plane, vrfs, uplinks)
	if o.Resilience.Buckets > 0 {
		f.fib.SetResilience(o.Resilience)
	}
	return f
}

// Close closes the sockets. The kernel keeps its routes.
func (f *FIB) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.plane.close()
}

// Adopt takes over what an earlier run left, and says how many routes.
func (f *FIB) Adopt(ctx context.Context) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fib.Adopt(ctx)
}

// Apply brings changes into the kernel.
func (f *FIB) Apply(ctx context.Context, vrf string, changes []vrf.Change) error {
	f.besideVerify(changes)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fib.Apply(ctx, vrf, changes)
}

// besideVerify ends a Verify under way if too much changes beside it.
func (f *FIB) besideVerify(changes []vrf.Change) {
	f.verifying.Lock()
	defer f.verifying.Unlock()
	v := &f.verifying
	if v.stop == nil {
		return
	}
	for i := range changes {
		if changes[i].Prefix.Addr().Is6() {
			v.beside++
		}
	}
	if v.beside > busy {
		v.stop(ErrBusy)
	}
}

// UplinkChanged tells that the plane behind an uplink is lost or back. A Verify
// under way ends for it.
func (f *FIB) UplinkChanged(ctx context.Context, uplink string, up bool) error {
	f.verifying.Lock()
	if stop := f.verifying.stop; stop != nil {
		stop(ErrInterrupted)
	}
	f.verifying.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fib.UplinkChanged(ctx, uplink, up)
}

// Repair mends what the kernel or somebody else did to next hops, and tries
// again what failed. Call it on a Notice about links or next hops.
func (f *FIB) Repair(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fib.Repair(ctx)
}

// Verify reads all learned routes back and mends what differs. It gives
// ErrInterrupted where it ended for a change of an uplink, and ErrBusy where it did for
// changes of many routes. Two don't run at a time.
func (f *FIB) Verify(ctx context.Context) error {
	ours, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f.setVerifying(cancel)
	defer f.setVerifying(nil)
	err := f.fib.VerifyInTurns(ours, f.turn)
	if ours.Err() != nil && ctx.Err() == nil {
		return context.Cause(ours)
	}
	return err
}

// turn does a step of something that others need not wait for.
func (f *FIB) turn(step func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	step()
}

func (f *FIB) setVerifying(stop context.CancelCauseFunc) {
	f.verifying.Lock()
	defer f.verifying.Unlock()
	f.verifying.stop, f.verifying.beside = stop, 0
}

// Lost writes routes again that somebody deleted or replaced.
func (f *FIB) Lost(ctx context.Context, vrf string, prefixes []netip.Prefix) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fib.Lost(ctx, vrf, prefixes)
}

// Sweep removes adopted routes that nobody confirmed, and says how many.
func (f *FIB) Sweep(ctx context.Context, vrf string) (int, error) {
	return f.fib.SweepInTurns(ctx, vrf, f.turn)
}

// Stats counts a VRF's learned routes.
func (f *FIB) Stats(vrf string) vrf.Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fib.Stats(vrf)
}

// dataplane is the kernel as the FIB of package vrf sees it.
type dataplane struct {
	ns          int
	noObjects   bool
	noResilient bool
	probed      bool // whether there are resilient groups
	resilient   bool
	socket      *socket
	handle      *netlink.Handle
	beside      *Kernel // nil, or who knows the routes that are not learned
	changed     func()  // and is told that it knew wrong
}

var _ vrf.Dataplane = (*dataplane)(nil)

func newDataplane(o Options) *dataplane {
	return &dataplane{ns: o.NetNS, noObjects: o.NoNextHopObjects, noResilient: o.NoResilientGroups}
}

func (p *dataplane) open() error {
	k := Kernel{ns: p.ns, socket: p.socket, handle: p.handle}
	err := k.open()
	p.socket, p.handle = k.socket, k.handle
	return err
}

func (p *dataplane) close() error {
	if p.socket == nil {
		return nil
	}
	p.handle.Close()
	err := p.socket.close()
	p.socket, p.handle = nil, nil
	return err
}

// State reads the uplinks and the next hops of ours.
func (p *dataplane) State(ctx context.Context, links []string) (vrf.State, error) {
	state := vrf.State{Ports: map[string]vrf.Port{}}
	if err := p.open(); err != nil {
		return state, err
	}
	for _, name := range links {
		link, err := p.handle.LinkByName(name)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			continue
		}
		if err != nil {
			return state, fmt.Errorf("looking up %s: %w", name, err)
		}
		a := link.Attrs()
		state.Ports[name] = vrf.Port{Index: a.Index, Master: p.nameOf(a.MasterIndex), Running: running(a)}
	}
	if p.noObjects {
		return state, nil
	}
	var err error
	state.NextHops, state.Objects, err = p.socket.nextHops(ctx)
	if err == nil && state.Objects && !p.noResilient && !p.probed {
		p.resilient, err = p.socket.resilient(ctx)
		p.probed = err == nil
	}
	state.Resilient = p.resilient
	if err == nil {
		err = p.socket.readFloors(ctx, state.NextHops)
	}
	return state, err
}

func (p *dataplane) nameOf(index int) string {
	if index == 0 {
		return ""
	}
	link, err := p.handle.LinkByIndex(index)
	if err != nil {
		return "" // it is going away, and a notice will say so
	}
	return link.Attrs().Name
}

// LearnedRoutes dumps the learned routes of a table, on a socket of its own: what is
// written meanwhile goes over the other one.
func (p *dataplane) LearnedRoutes(ctx context.Context, table uint32, f func(vrf.LearnedRoute)) error {
	s, err := dial(p.ns)
	if err != nil {
		return err
	}
	var d dumped
	err = p.surveying(ctx, s, table, func(g *glance, payload []byte) {
		if g.metric != vrf.MetricLearned {
			return
		}
		r := vrf.LearnedRoute{Prefix: g.prefix, NextHopID: g.nextHopID}
		if r.NextHopID == 0 && d.parse(payload) {
			r.Hops = d.hops
		}
		f(r)
	})
	return errors.Join(err, s.close())
}

// batchNextHops keeps a send well below the socket's buffer: a group may have
// hundreds of members.
const batchNextHops = 64

// WriteNextHops writes next-hop objects in batches.
func (p *dataplane) WriteNextHops(ctx context.Context, ops []vrf.NextHopOp, failed func(int, error)) error {
	if err := p.open(); err != nil {
		return err
	}
	if err := p.socket.buryFloors(ops); err != nil {
		return fmt.Errorf("noting that nobody answers below a VRF's next hops: %w", err)
	}
	for from := 0; from < len(ops); from += batchNextHops {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch := ops[from:min(from+batchNextHops, len(ops))]
		p.socket.reset()
		for i := range batch {
			p.socket.nextHop(&batch[i])
		}
		err := p.socket.batch(len(batch), func(i int, err error) {
			if batch[i].Delete && errors.Is(err, unix.ENOENT) {
				return
			}
			if batch[i].Replace && errors.Is(err, unix.ENOENT) {
				err = fmt.Errorf("%w: %w", vrf.ErrGone, err)
			}
			failed(from+i, meaning(err))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// WriteRoutes writes routes in one batch.
func (p *dataplane) WriteRoutes(ctx context.Context, writes []vrf.RouteWrite, failed func(int, error)) error {
	if err := errors.Join(ctx.Err(), p.open()); err != nil || len(writes) == 0 {
		return err
	}
	p.socket.reset()
	var m route
	for i := range writes {
		w := &writes[i]
		m = route{
			prefix: w.Prefix, table: w.Table, metric: vrf.MetricLearned,
			kind: unix.RTN_UNICAST, nextHopID: w.NextHopID, hops: w.Hops,
		}
		p.socket.route(&m, w.Verb)
	}
	return p.socket.batch(len(writes), func(i int, err error) {
		if writes[i].Verb == vrf.Delete && (errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT)) {
			return
		}
		failed(i, meaning(err))
	})
}

// meaning wraps the kernel's error into what the FIB can act on.
func meaning(err error) error {
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: %w", vrf.ErrExists, err)
	case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: %w", vrf.ErrNotReady, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	}
	return err
}
