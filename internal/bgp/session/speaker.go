package session

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hostroute/hostroute/internal/bgp"
)

// maxCommunities leaves room for prefixes beside them in a message.
const maxCommunities = 512

// Speaker holds the BGP sessions of a hypervisor.
type Speaker struct {
	cfg   Config
	fib   FIB
	log   *slog.Logger
	ribs  map[string]*rib
	peers []*peer

	synced      chan struct{}
	watched     chan struct{} // capacity 1
	pathVersion atomic.Uint64
	done        chan struct{} // closed when Run returned
	stop        context.CancelCauseFunc
	ctx         context.Context // ends by Stop

	mu      sync.Mutex
	said    bool                          // Announce was called
	saidAt  time.Time                     // the last time
	sets    map[string][]bgp.Announcement // in the order of their prefixes
	leave   bool                          // for good
	running bool
}

// New makes a Speaker; it does nothing before Run.
func New(c Config, fib FIB, log *slog.Logger) *Speaker {
	c.setDefaults()
	s := &Speaker{
		cfg: c, fib: fib, log: log, ribs: map[string]*rib{},
		synced: make(chan struct{}), watched: make(chan struct{}, 1), done: make(chan struct{}),
	}
	s.ctx, s.stop = context.WithCancelCause(context.Background())
	byVRF := map[string][]*peer{}
	for _, p := range c.Peers {
		made := newPeer(s, p)
		s.peers = append(s.peers, made)
		byVRF[p.VRF] = append(byVRF[p.VRF], made)
	}
	for name, peers := range byVRF {
		r := newRIB(name, peers, log)
		r.watcher, r.steps = s.signalWatched, c.Steps
		s.ribs[name] = r
		for _, p := range peers {
			p.rib = r
		}
	}
	return s
}

// Run speaks until ctx ends, or Stop or Leave is called, and returns nil then. The end
// of ctx is a restart: connections close without a NOTIFICATION, so that peers
// with graceful restart keep our routes. Learned routes stay in the FIB either
// way. An error is one of the configuration. Run can be called once.
func (s *Speaker) Run(ctx context.Context) error {
	if err := s.cfg.check(); err != nil {
		return err
	}
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	defer close(s.done)
	defer context.AfterFunc(ctx, func() { s.stop(ErrStopped) })()

	var writers, sessions sync.WaitGroup
	writing, end := context.WithCancel(context.Background())
	defer end()
	for _, r := range s.ribs {
		writers.Go(func() {
			if s.cfg.Restarting {
				r.hold(writing, s.cfg.Deferral)
			}
			r.run(writing, s.fib)
		})
	}
	for _, p := range s.peers {
		sessions.Go(func() { p.run(s.ctx) })
		sessions.Go(func() { p.keep(s.ctx) })
	}
	sessions.Go(func() { s.sync(s.ctx) })
	<-s.ctx.Done()
	end() // first: sessions that end now must not take routes away
	writers.Wait()
	sessions.Wait()
	return nil
}

// Stop ends Run as the end of its context does, that is, for a restart, and
// waits for it, or for ctx. See Leave for the other end.
func (s *Speaker) Stop(ctx context.Context) error {
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	s.stop(ErrStopped)
	if !running {
		return nil
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Announce says everything that is to be announced, in all VRFs; what is not
// in the set is withdrawn. No session ends its initial update before the first
// call: an agent that was restarted and doesn't know yet what to announce must
// not have its peers forget what it announced before.
//
// The set belongs to the Speaker then. In the order of VRFs and prefixes it costs
// least.
func (s *Speaker) Announce(set []bgp.Announcement) {
	if !slices.IsSortedFunc(set, compareAnnouncements) || slices.ContainsFunc(set, func(a bgp.Announcement) bool { return s.unfit(a) != "" }) {
		set = s.tidied(set)
	}
	sets := map[string][]bgp.Announcement{}
	for len(set) > 0 {
		vrf := set[0].VRF
		n, _ := slices.BinarySearchFunc(set, vrf, func(a bgp.Announcement, vrf string) int {
			return cmp.Or(strings.Compare(a.VRF, vrf), -1) // behind the last one of the VRF
		})
		sets[vrf], set = set[:n:n], set[n:]
	}
	s.mu.Lock()
	s.sets, s.said, s.saidAt = sets, true, time.Now()
	s.mu.Unlock()
	for _, p := range s.peers {
		p.poke()
	}
}

func compareAnnouncements(a, b bgp.Announcement) int {
	return cmp.Or(strings.Compare(a.VRF, b.VRF), a.Prefix.Compare(b.Prefix))
}

// unfit says why an announcement can't be said as it is; empty: it can.
func (s *Speaker) unfit(a bgp.Announcement) string {
	switch {
	case !a.Prefix.IsValid() || a.Prefix.Addr().Is4In6():
		return "no prefix of IPv4 or IPv6"
	case len(a.Communities) > maxCommunities:
		return "too many communities"
	case a.Prefix != a.Prefix.Masked():
		return bitsBehind
	}
	return ""
}

// bitsBehind is no reason to say nothing.
const bitsBehind = "bits behind the prefix"

// tidied is a set without what can't be said, in order. Of what is in it twice the last
// counts.
func (s *Speaker) tidied(set []bgp.Announcement) []bgp.Announcement {
	tidy := make([]bgp.Announcement, 0, len(set))
	for _, a := range slices.Backward(set) {
		switch reason := s.unfit(a); reason {
		case "":
		case bitsBehind:
			a.Prefix = a.Prefix.Masked()
		default:
			s.log.Error("announcement that can't be sent", "vrf", a.VRF, "prefix", a.Prefix, "communities", len(a.Communities), "reason", reason)
			continue
		}
		tidy = append(tidy, a)
	}
	slices.SortStableFunc(tidy, compareAnnouncements)
	return slices.CompactFunc(tidy, func(a, b bgp.Announcement) bool { return compareAnnouncements(a, b) == 0 })
}

// Hush takes back what was said last to Announce: sessions that come up say
// nothing, and no End-of-RIB, before it is called again, and those that are up say
// nothing new. It is for an agent that was stopped for so long that its peers gave
// it up, and that doesn't know yet what was decided meanwhile.
func (s *Speaker) Hush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = false
}

// announced gives what to announce in a VRF, once that was said: nothing when
// we leave. It is in the order of prefixes, and never written again.
func (s *Speaker) announced(vrf string) ([]bgp.Announcement, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leave {
		return nil, true
	}
	return s.sets[vrf], s.said
}

// UplinkChanged tells that an uplink lost its carrier, or has it again. Its
// sessions fall at once and their paths are gone, respectively they are
// dialled at once. Uplinks are taken to be up until it is called.
func (s *Speaker) UplinkChanged(name string, up bool) {
	for _, p := range s.peers {
		if p.cfg.Uplink == name {
			p.uplink(up)
		}
	}
}

// PeerDown tells that a peer is known to be dead, by BFD for one (RFC 5882
// section 4.3): its session falls and is dialled again after the usual pause.
// Its paths are not used from now on where another one is left, be it stale
// itself. With long-lived graceful restart they are kept as the last resort,
// since BFD may be wrong about all peers at once where the host is starved;
// without, they are gone.
//
// With tell the peer is told to forget what it learned here (RFC 9384), which it
// would keep otherwise where it does graceful restart: a path that is dead in one
// direction brings that word to it, and nobody else's packets back. It is for
// where those have another path.
func (s *Speaker) PeerDown(uplink string, address netip.Addr, reason string, tell bool) {
	for _, p := range s.peers {
		if p.cfg.Uplink == uplink && p.cfg.Address.WithZone("") == address.WithZone("") {
			p.bury(peerDown{reason, tell})
		}
	}
}

// UplinkUnsound tells that packets are lost over an uplink, or no longer.
// What is announced over it has a preference of one less meanwhile: whoever
// learns it over another plane too sends there, and whoever doesn't goes on as
// before. To peers of another AS, which are told no preference, it says nothing.
func (s *Speaker) UplinkUnsound(name string, unsound bool) {
	for _, p := range s.peers {
		if p.cfg.Uplink == name {
			p.discourage(unsound)
		}
	}
}

// Refresh asks every peer of a VRF for all of its routes again (RFC 2918);
// every VRF's, if the name is empty.
func (s *Speaker) Refresh(vrf string) {
	for _, p := range s.peers {
		if vrf == "" || p.cfg.VRF == vrf {
			p.refresh()
		}
	}
}

// Synced is closed when every session has delivered its first End-of-RIB, or
// the time for that is over, and what was learned is in the FIB: now what a
// previous run left there may go. PeerStatus tells who did not deliver.
func (s *Speaker) Synced() <-chan struct{} { return s.synced }

func (s *Speaker) sync(ctx context.Context) {
	deadline := time.NewTimer(s.cfg.SyncDeadline)
	defer deadline.Stop()
	over := false
	for _, p := range s.peers {
		select {
		case <-p.delivered:
			continue
		default:
		}
		if over {
			s.log.Warn("no End-of-RIB in time", "peer", p.cfg.Name, "vrf", p.cfg.VRF)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-p.delivered:
		case <-deadline.C:
			over = true
			s.log.Warn("no End-of-RIB in time", "peer", p.cfg.Name, "vrf", p.cfg.VRF)
		}
	}
	// Routes that can't be written don't hold this up for ever.
	deadline.Reset(s.cfg.SyncDeadline)
	for _, r := range s.ribs {
		select {
		case <-ctx.Done():
			return
		case <-r.settled():
		case <-deadline.C:
			s.log.Warn("routes are not all written", "vrf", r.vrf)
			deadline.Reset(0)
		}
	}
	close(s.synced)
}
