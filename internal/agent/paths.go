package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/hostroute/hostroute/internal/bfd"
	"github.com/hostroute/hostroute/internal/bfd/control"
	"github.com/hostroute/hostroute/internal/config"
)

// peerUser wants to know of a peer that can't be reached.
type peerUser interface {
	PeerDown(uplink string, address netip.Addr, reason string)
}

// pathWatch has the paths to the reflectors watched by BFD's process. A path
// that fell is told to the FIB first, by its uplink, which costs the same for
// any number of routes, and then to the session.
//
// A path that never was up is no loss: the reflector may not do BFD. And while
// BFD's process is away the paths are what they were last.
type pathWatch struct {
	client   *control.Client // nil: no reflector is watched
	specs    []bfd.Spec
	sessions peerUser
	uplink   func(ctx context.Context, name string, lost bool)
	log      *slog.Logger

	mu   sync.Mutex
	lost map[string]bool     // sessions that failed and have not been up since, by name
	on   map[string][]string // sessions by uplink
}

// newPathWatch tells changes until the context ends.
func newPathWatch(ctx context.Context, cfg *config.Config, sessions peerUser, uplink func(context.Context, string, bool), log *slog.Logger) *pathWatch {
	w := &pathWatch{sessions: sessions, uplink: uplink, log: log, lost: map[string]bool{}, on: map[string][]string{}, specs: bfdSpecs(cfg)}
	for _, s := range w.specs {
		w.on[s.Interface] = append(w.on[s.Interface], s.Name)
	}
	if len(w.specs) > 0 {
		w.client = control.NewClient(cfg.BFD.Socket, log, func(s control.Status) { w.changed(ctx, s) })
	}
	return w
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
	return w.client.Run(ctx)
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

// adminDown is the state of a reflector that has been told to do no BFD, which
// is no failure (RFC 5882, section 3.2).
var adminDown = bfd.AdminDown.String()

// changed takes a session's change. It is called by one goroutine.
func (w *pathWatch) changed(ctx context.Context, s control.Status) {
	w.mu.Lock()
	before := w.lost[s.Name]
	switch {
	case s.Failed:
		w.lost[s.Name] = true
	case s.Up(), s.RemoteState == adminDown: // one that is heard to do no BFD may be reached
		delete(w.lost, s.Name)
	}
	now := w.lost[s.Name]
	all := !slices.ContainsFunc(w.on[s.Interface], func(name string) bool { return !w.lost[name] })
	w.mu.Unlock()
	if before == now {
		return
	}
	w.log.Info("path changed", "session", s.Name, "state", s.State, "lost", now, "reason", s.Reason)
	w.uplink(ctx, s.Interface, now && all)
	if now {
		w.sessions.PeerDown(s.Interface, s.Remote, "BFD: "+s.Reason)
	}
}
