package session

import (
	"cmp"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hostroute/hostroute/internal/bgp"
)

// counters of a session over all of its connections.
type counters struct {
	messagesIn, messagesOut, updatesIn, updatesOut atomic.Uint64
	established, falls, failures                   atomic.Uint64
	refreshes, tolerated                           atomic.Uint64
	announced                                      [2]atomic.Int64
	complete                                       atomic.Bool
	lastTolerated                                  atomic.Pointer[string]
}

// reason is why something ended, and when.
type reason struct {
	text string
	at   time.Time
}

func (r reason) when() *time.Time {
	if r.text == "" {
		return nil
	}
	return &r.at
}

// Prefixes counts prefixes by family.
type Prefixes struct {
	IPv4 int `json:"ipv4"`
	IPv6 int `json:"ipv6"`
}

// Times gives a time by family, in nanoseconds.
type Times struct {
	IPv4 time.Duration `json:"ipv4"`
	IPv6 time.Duration `json:"ipv6"`
}

// Kept is what is used of a session that fell until it is told again.
type Kept struct {
	Family string `json:"family"`
	Paths  int    `json:"paths"`
	// State is "restarting" for as long as the peer asked us to wait for it,
	// and "long-lived" after that, or at once if it is known not to restart:
	// then it is used when nothing else is left (RFC 9494).
	State string `json:"state"`
	// Back is set when there is a session again, which has not told all.
	Back bool `json:"back"`
	// Until is when they are forgotten if nothing happens.
	Until time.Time `json:"until"`
}

// PeerStatus is how a session stands.
type PeerStatus struct {
	Name    string     `json:"name"`
	VRF     string     `json:"vrf"`
	Plane   string     `json:"plane"`
	Uplink  string     `json:"uplink"`
	Address netip.Addr `json:"address"`
	AS      uint32     `json:"as"`

	State State     `json:"state"`
	Since time.Time `json:"since"` // of the state
	// LastError says in words why the last attempt or connection ended,
	// LastFall why the session did that was established last.
	LastError     string     `json:"last_error,omitempty"`
	LastErrorTime *time.Time `json:"last_error_time,omitempty"`
	LastFall      string     `json:"last_fall,omitempty"`
	LastFallTime  *time.Time `json:"last_fall_time,omitempty"`

	// While established: what was negotiated.
	RouterID  *netip.Addr   `json:"router_id,omitempty"`
	Local     *netip.Addr   `json:"local_address,omitempty"`
	HoldTime  time.Duration `json:"hold_time"`
	Keepalive time.Duration `json:"keepalive"`
	// RestartTime is how long the peer asked us to wait for it to come back,
	// LongLivedStaleTime for how long after that its paths are the last resort:
	// 0 if one of both sides doesn't do that.
	RestartTime        time.Duration `json:"restart_time"`
	LongLivedStaleTime Times         `json:"long_lived_stale_time"`
	Families           []string      `json:"families,omitempty"`
	Capabilities       []string      `json:"capabilities,omitempty"`
	// Unannounced names families that were negotiated and for which the
	// uplink has no address to announce.
	Unannounced []string `json:"unannounced,omitempty"`

	Received  Prefixes `json:"received"` // paths in the RIB, stale ones too
	Announced Prefixes `json:"announced"`
	// Kept is what a connection that fell has left, by family.
	Kept []Kept `json:"kept,omitempty"`
	// Complete is set when the peer has told all of its routes (End-of-RIB).
	Complete bool `json:"complete"`

	MessagesIn    uint64 `json:"messages_in"`
	MessagesOut   uint64 `json:"messages_out"`
	UpdatesIn     uint64 `json:"updates_in"`
	UpdatesOut    uint64 `json:"updates_out"` // End-of-RIB apart
	Refreshes     uint64 `json:"refreshes"`   // that the peer asked for
	Established   uint64 `json:"established"` // how often
	Falls         uint64 `json:"falls"`       // of a session that was
	Failures      uint64 `json:"failures"`    // of connections and of attempts
	Malformed     uint64 `json:"malformed"`   // UPDATEs that were tolerated (RFC 7606)
	LastMalformed string `json:"last_malformed,omitempty"`
}

// Peers tells how each session stands, in the order of the configuration.
func (s *Speaker) Peers() []PeerStatus {
	list := make([]PeerStatus, len(s.peers))
	for i, p := range s.peers {
		list[i] = p.status()
	}
	return list
}

func (p *peer) status() PeerStatus {
	c := &p.counters
	st := PeerStatus{
		Name: p.cfg.Name, VRF: p.cfg.VRF, Plane: p.cfg.Plane, Uplink: p.cfg.Uplink,
		Address: p.cfg.Address.WithZone(""), AS: p.cfg.AS,
		MessagesIn: c.messagesIn.Load(), MessagesOut: c.messagesOut.Load(), UpdatesIn: c.updatesIn.Load(),
		UpdatesOut: c.updatesOut.Load(), Established: c.established.Load(), Falls: c.falls.Load(), Failures: c.failures.Load(),
		Malformed: c.tolerated.Load(), Refreshes: c.refreshes.Load(), Complete: c.complete.Load(),
		Announced: Prefixes{int(c.announced[bgp.IPv4].Load()), int(c.announced[bgp.IPv6].Load())},
	}
	if text := c.lastTolerated.Load(); text != nil {
		st.LastMalformed = *text
	}
	var stale [2]int
	p.rib.view(func(r *bgp.RIB) {
		st.Received = Prefixes{r.Paths(p.source, bgp.IPv4), r.Paths(p.source, bgp.IPv6)}
		stale = [2]int{r.Stale(p.source, bgp.IPv4), r.Stale(p.source, bgp.IPv6)}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	st.State, st.Since = p.state, p.since
	st.LastError, st.LastErrorTime = p.lastErr.text, p.lastErr.when()
	st.LastFall, st.LastFallTime = p.lastFall.text, p.lastFall.when()
	for f, r := range p.kept {
		if r.phase != none && stale[f] > 0 {
			st.Kept = append(st.Kept, r.status(bgp.Family(f), stale[f]))
		}
	}
	p.negotiatedStatus(&st)
	return st
}

func (r *retention) status(f bgp.Family, paths int) Kept {
	k := Kept{Family: f.String(), Paths: paths, State: "restarting", Back: r.back, Until: r.final}
	if r.phase == longLived {
		k.State = "long-lived"
	}
	if r.back {
		k.Until = r.due
	}
	return k
}

// negotiatedStatus fills in what is only known of an established session; it
// is called with p.mu held.
func (p *peer) negotiatedStatus(st *PeerStatus) {
	if p.neg == nil {
		return
	}
	id, local := p.neg.routerID, p.local
	st.RouterID, st.Local, st.HoldTime, st.Capabilities = &id, &local, p.neg.hold, p.neg.names
	st.Keepalive, st.RestartTime = p.neg.keepalive(), p.neg.restart.time
	st.LongLivedStaleTime = Times{p.neg.longLived.time[bgp.IPv4], p.neg.longLived.time[bgp.IPv6]}
	for _, f := range bgp.Families {
		if !p.neg.families[f] {
			continue
		}
		st.Families = append(st.Families, f.String())
		if !p.writer.hops[f].IsValid() {
			st.Unannounced = append(st.Unannounced, f.String())
		}
	}
}

// TableStatus is how the learned routes of a VRF stand.
type TableStatus struct {
	VRF      string   `json:"vrf"`
	Prefixes Prefixes `json:"prefixes"`
	// Pending prefixes wait to be written, Failed ones could not be written
	// and are tried again.
	Pending     int    `json:"pending"`
	Failed      int    `json:"failed"`
	WriteErrors uint64 `json:"write_errors"`
	LastError   string `json:"last_error,omitempty"`
}

// Tables tells how the learned routes stand, sorted by VRF.
func (s *Speaker) Tables() []TableStatus {
	var list []TableStatus
	for _, r := range s.ribs {
		st := TableStatus{VRF: r.vrf}
		r.view(func(b *bgp.RIB) {
			st.Prefixes = Prefixes{b.Prefixes(bgp.IPv4), b.Prefixes(bgp.IPv6)}
			st.Pending, st.Failed, st.WriteErrors = b.Pending(), b.Failed(), r.errs
			if r.lastErr != nil {
				st.LastError = r.lastErr.Error()
			}
		})
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b TableStatus) int { return cmp.Compare(a.VRF, b.VRF) })
	return list
}

// Routes gives what is known of exactly this prefix in a VRF.
func (s *Speaker) Routes(vrf string, prefix netip.Prefix) (route bgp.Route, ok bool) {
	if r := s.ribs[vrf]; r != nil && prefix.IsValid() {
		r.view(func(b *bgp.RIB) { route, ok = b.Lookup(prefix) })
	}
	return route, ok
}

// Match gives the learned route that an address takes in a VRF.
func (s *Speaker) Match(vrf string, address netip.Addr) (route bgp.Route, ok bool) {
	if r := s.ribs[vrf]; r != nil && address.IsValid() {
		r.view(func(b *bgp.RIB) { route, ok = b.Match(address) })
	}
	return route, ok
}

// EachRoute yields every route of a VRF, in no order and without holding the
// table: routes that change meanwhile may be seen before or after.
func (s *Speaker) EachRoute(vrf string, yield func(bgp.Route) bool) {
	r := s.ribs[vrf]
	if r == nil {
		return
	}
	var part []bgp.Route
	for _, f := range bgp.Families {
		for i := range bgp.Parts {
			r.view(func(b *bgp.RIB) { part = b.Routes(part[:0], f, i) })
			for _, route := range part {
				if !yield(route) {
					return
				}
			}
		}
	}
}
