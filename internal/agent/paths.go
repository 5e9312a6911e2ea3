package agent

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hostroute/hostroute/internal/bfd"
	"github.com/hostroute/hostroute/internal/bfd/control"
	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/config"
)

// peerUser wants to know what paths are worth, and knows how sessions stand.
type peerUser interface {
	PeerDown(uplink string, address netip.Addr, reason string, tell bool)
	UplinkUnsound(uplink string, unsound bool)
	Peers() []session.PeerStatus
}

// lookInterval is how often sessions, carriers, and what BFD's process counts
// are looked at: nothing tells of them.
const lookInterval = time.Second

// pathWatch has the paths to the reflectors watched by BFD's process. A path
// that fell is told to the FIB first, by its uplink, which costs the same for
// any number of routes, and then to the session.
//
// A path that never was up is no loss: the reflector may not do BFD. And while
// BFD's process is away the paths are what they were last. One that comes and
// goes, or loses packets, is left as well while there is a sound one: see judge
// and docs/adr/0011.
type pathWatch struct {
	client   *control.Client // nil: no reflector is watched
	specs    []bfd.Spec
	sessions peerUser
	uplink   func(ctx context.Context, name string, lost bool)
	carrier  func(name string) (bool, error)
	counters func() control.State // what BFD's process counts
	log      *slog.Logger
	origin   time.Time // of instants

	acting sync.Mutex // held from a decision until it is told; before mu
	deaf   bool       // to whatever is told; with acting
	mu     sync.Mutex
	vrfs   [][]*watchedUplink // by VRF
}

// newPathWatch tells changes until the context ends.
func newPathWatch(ctx context.Context, cfg *config.Config, sessions peerUser, uplink func(context.Context, string, bool), log *slog.Logger) *pathWatch {
	w := &pathWatch{
		sessions: sessions, uplink: uplink, carrier: hasCarrier, log: log, specs: bfdSpecs(cfg),
		origin: time.Now().Add(-time.Second),
	}
	for _, v := range cfg.VRFs {
		var list []*watchedUplink
		for _, u := range cfg.Uplinks {
			if u.VRF == v.Name {
				list = append(list, newWatchedUplink(u, w.specs, cfg.BFD.MaxLoss.Fraction()))
			}
		}
		w.vrfs = append(w.vrfs, list)
	}
	if len(w.specs) > 0 {
		w.client = control.NewClient(cfg.BFD.Socket, log, func(s control.Status) { w.changed(ctx, s) })
		w.counters = w.client.State
	}
	return w
}

func newWatchedUplink(u config.Uplink, specs []bfd.Spec, limit float64) *watchedUplink {
	made := &watchedUplink{Uplink: u, paths: map[string]*watchedPath{}, carrier: true}
	for _, s := range specs {
		if s.Interface == u.Interface {
			made.paths[s.Name] = &watchedPath{Path: bfd.NewPath(limit)}
		}
	}
	return made
}

// Run keeps asking for the sessions until the context ends.
func (w *pathWatch) Run(ctx context.Context) error {
	if w.client == nil {
		<-ctx.Done()
		return nil
	}
	if err := w.client.Set(w.specs); err != nil {
		return fmt.Errorf("asking for BFD sessions: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.client.Run(ctx) })
	group.Go(func() error { return w.lookAgain(ctx) })
	return group.Wait()
}

// lookAgain looks at what nobody tells of until the context ends.
func (w *pathWatch) lookAgain(ctx context.Context) error {
	again := time.NewTicker(lookInterval)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
			w.look(ctx)
		}
	}
}

// state is what BFD's process told last; false: nothing is watched.
func (w *pathWatch) state() (control.State, bool) {
	if w.client == nil {
		return control.State{}, false
	}
	return w.client.State(), true
}

// bfdSpecs makes a session of every reflector that is to be watched.
func bfdSpecs(cfg *config.Config) []bfd.Spec {
	var specs []bfd.Spec
	for _, r := range cfg.BGP.Reflectors {
		uplink, _ := cfg.Uplink(r.VRF, r.Plane) // there is one: the configuration was checked
		local := slices.IndexFunc(uplink.Addresses, func(p netip.Prefix) bool { return p.Contains(r.Address) })
		name := bfdName(r.VRF, r.Plane, r.Address)
		if !r.BFD || local < 0 || slices.ContainsFunc(specs, func(s bfd.Spec) bool { return s.Name == name }) { // another port of it
			continue
		}
		specs = append(specs, bfd.Spec{
			Name:   name,
			Key:    bfd.Key{Interface: uplink.Interface, Local: uplink.Addresses[local].Addr(), Remote: r.Address},
			Params: bfd.Params{MinTx: cfg.BFD.Interval, MinRx: cfg.BFD.Interval, Multiplier: cfg.BFD.Multiplier},
		})
	}
	return specs
}

// bfdName is what the session with a reflector is called.
func bfdName(vrf, plane string, address netip.Addr) string {
	return fmt.Sprintf("%s/%s/%s", vrf, plane, address)
}

func (w *pathWatch) now() bfd.Instant { return bfd.Instant(time.Since(w.origin)) }

// changed takes a session's change. It is called by one goroutine.
func (w *pathWatch) changed(ctx context.Context, s control.Status) {
	w.acting.Lock()
	defer w.acting.Unlock()
	if w.deaf {
		return
	}
	fell := false
	w.mu.Lock()
	for u := range w.uplinks() {
		if p := u.paths[s.Name]; p != nil {
			before := p.Lost()
			fell = p.hear(s, w.now())
			if now := p.Lost(); now != before {
				w.log.Info("path changed", "session", s.Name, "state", s.State, "lost", now, "reason", s.Reason)
			}
		}
	}
	w.mu.Unlock()
	w.tell(ctx)
	if fell {
		w.sessions.PeerDown(s.Interface, s.Remote, "BFD: "+s.Reason, w.replaced(s.Interface))
	}
}

// replaced tells whether an uplink's VRF has another one that works, so that
// others needn't send to this host over this one.
func (w *pathWatch) replaced(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, list := range w.vrfs {
		if !slices.ContainsFunc(list, func(u *watchedUplink) bool { return u.Interface == name }) {
			continue
		}
		return slices.ContainsFunc(list, func(u *watchedUplink) bool { return u.Interface != name && u.sound(w.now()) })
	}
	return false
}

// uplinks yields every uplink.
func (w *pathWatch) uplinks() iter.Seq[*watchedUplink] {
	return func(yield func(*watchedUplink) bool) {
		for _, list := range w.vrfs {
			for _, u := range list {
				if !yield(u) {
					return
				}
			}
		}
	}
}

// look takes what nobody tells of. A path that falls doesn't wait for the
// answers.
func (w *pathWatch) look(ctx context.Context) {
	peers := w.sessions.Peers()
	carriers := map[string]bool{}
	for u := range w.uplinks() {
		if up, err := w.carrier(u.Interface); err == nil {
			carriers[u.Interface] = up
		}
	}
	told := w.counters()
	var forgotten []session.PeerStatus
	w.acting.Lock()
	defer w.acting.Unlock()
	if w.deaf {
		return
	}
	w.mu.Lock()
	for u := range w.uplinks() {
		if up, ok := carriers[u.Interface]; ok {
			u.carrier = up
		}
		u.observe(peers, time.Now())
		for _, peer := range peers {
			if p := u.paths[bfdName(peer.VRF, peer.Plane, peer.Address)]; p != nil && told.Connected && p.forgotten(peer, time.Now()) {
				forgotten = append(forgotten, peer)
			}
		}
		for _, s := range told.Sessions {
			if p := u.paths[s.Name]; p != nil && told.Connected {
				p.measure(s, w.now())
			}
		}
	}
	w.mu.Unlock()
	w.tell(ctx)
	for _, peer := range forgotten {
		w.sessions.PeerDown(peer.Uplink, peer.Address, "BFD stays down while BGP works: the reflector may have lost its session", false)
	}
}

// tell tells what became of the uplinks: those that may be used again first, so
// that no VRF is without one, and the sessions last.
func (w *pathWatch) tell(ctx context.Context) {
	var back, lost []string
	unsound := map[string]bool{}
	w.mu.Lock()
	for _, list := range w.vrfs {
		for i, v := range judge(list, w.now()) {
			u := list[i]
			if u.lost != v.lost && v.lost {
				lost = append(lost, u.Interface)
			} else if u.lost != v.lost {
				back = append(back, u.Interface)
			}
			if u.unsound != v.unsound {
				unsound[u.Interface] = v.unsound
			}
			u.lost, u.unsound = v.lost, v.unsound
		}
	}
	w.mu.Unlock()
	for _, name := range back {
		w.uplink(ctx, name, false)
	}
	for _, name := range lost {
		w.uplink(ctx, name, true)
	}
	for _, name := range slices.Sorted(maps.Keys(unsound)) {
		w.log.Info("uplink changed", "uplink", name, "unsound", unsound[name])
		w.sessions.UplinkUnsound(name, unsound[name])
	}
}
