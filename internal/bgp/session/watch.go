package session

import (
	"net/netip"
	"slices"

	"github.com/hostroute/hostroute/internal/bgp"
)

// Path is what is known of the best path of a watched prefix.
type Path struct {
	bgp.Best
	// Written is set when the FIB has taken it.
	Written bool
}

// Watch names the prefixes that the agent has an interest in, by VRF, in place of
// those before. They are meant to be thousands, beside millions that are learned:
// see [bgp.RIB.Watch] for what it costs.
func (s *Speaker) Watch(prefixes map[string][]netip.Prefix) {
	for name, r := range s.ribs {
		r.mu.Lock()
		r.rib.Watch(prefixes[name])
		r.mu.Unlock()
	}
}

// WatchAlso adds to the prefixes that are watched, at the cost of these alone.
func (s *Speaker) WatchAlso(prefixes map[string][]netip.Prefix) {
	for name, list := range prefixes {
		if r := s.ribs[name]; r != nil {
			r.mu.Lock()
			r.rib.WatchAlso(list)
			r.mu.Unlock()
		}
	}
}

// Watched signals that a path of a watched prefix changed, or that the FIB has
// taken one; many of these may be one signal.
func (s *Speaker) Watched() <-chan struct{} { return s.watched }

// Path gives the best path of exactly this prefix; false: there is none, or none
// that can be used. Written counts for watched prefixes only.
func (s *Speaker) Path(vrf string, prefix netip.Prefix) (path Path, ok bool) {
	r := s.ribs[vrf]
	if r == nil {
		return Path{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	path.Best, ok = r.rib.Best(prefix)
	path.Written = ok && path.Settled && !slices.Contains(r.writing, prefix)
	return path, ok
}

// PathVersion is another number whenever Path may give another answer for a watched prefix.
func (s *Speaker) PathVersion() uint64 { return s.pathVersion.Load() }

func (s *Speaker) signalWatched() {
	s.pathVersion.Add(1)
	select {
	case s.watched <- struct{}{}:
	default:
	}
}

// wrote notes that the last batch was written, or taken back.
func (r *rib) wrote() {
	r.mu.Lock()
	any := len(r.writing) > 0
	r.writing = nil
	r.mu.Unlock()
	if any {
		r.watcher()
	}
}
