package dhcpv6

import (
	"encoding/hex"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hostroute/hostroute/ipv6"
)

// Status is what happened on one tap since this process serves it. Nothing in
// it decides anything. All keys are of fixed sets; the one thing in it that a
// guest chose is Client, which is hexadecimal and bounded.
type Status struct {
	Last   string    `json:"last,omitempty"` // the kind of the guest's latest message
	LastAt time.Time `json:"last_at,omitzero"`
	// Client is the latest DUID that was answered, in hexadecimal, at most 130 bytes of it.
	Client string  `json:"client,omitempty"`
	Bound  []Bound `json:"bound,omitempty"`

	Received map[string]uint64 `json:"received,omitempty"` // by kind
	Sent     map[string]uint64 `json:"sent,omitempty"`     // by kind
	Ignored  map[string]uint64 `json:"ignored,omitempty"`  // by reason
	Unsent   uint64            `json:"unsent"`             // answers that the kernel didn't take
	Limited  uint64            `json:"limited"`            // how often the guest had sent too much
	Panics   uint64            `json:"panics"`
	// Error is why the tap isn't served just now.
	Error string `json:"error,omitempty"`
}

// Bound is an address (a prefix of 128 bits) or a delegated prefix that the
// guest was given, or had confirmed, and hasn't given up.
type Bound struct {
	Prefix         netip.Prefix `json:"prefix"`
	AcknowledgedAt time.Time    `json:"acknowledged_at"`
	// ExpiresAt is the end of its valid lifetime; zero: never, or unknown
	// because this process only confirmed it.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// never is the lifetime without an end (RFC 8415, section 7.7).
const never = 0xffffffff * time.Second

// longestClient bounds what is kept of a DUID (RFC 8415, section 11.1).
const longestClient = 130

// record collects a tap's status.
type record struct {
	mu      sync.Mutex
	last    ipv6.DHCPKind
	lastAt  time.Time
	client  []byte
	bound   map[netip.Prefix]Bound // only what the lease has: bounded by it
	in      map[string]uint64
	out     map[string]uint64
	ignored map[string]uint64
	lost    uint64
}

func count(m *map[string]uint64, key string) {
	if *m == nil {
		*m = map[string]uint64{}
	}
	(*m)[key]++
}

// received notes a message, and why it gets no answer.
func (r *record) received(m ipv6.DHCPMessage, why ipv6.DHCPIgnored, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last, r.lastAt = m.Kind, now
	count(&r.in, m.Kind.String())
	if why != "" {
		count(&r.ignored, string(why))
	}
}

func (r *record) unsent() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost++
}

// answered notes what the guest was told.
func (r *record) answered(m ipv6.DHCPMessage, a ipv6.DHCPAnswer, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	count(&r.out, a.Kind.String())
	r.client = append(r.client[:0], m.Client[:min(len(m.Client), longestClient)]...)
	switch {
	case a.Kind != ipv6.DHCPReply:
	case m.Kind == ipv6.DHCPRelease || m.Kind == ipv6.DHCPDecline:
		r.unbind(m, a)
	case m.Kind == ipv6.DHCPConfirm:
		r.confirm(m, a, now)
	default:
		r.bind(a, now)
	}
}

func (r *record) bind(a ipv6.DHCPAnswer, now time.Time) {
	for _, ia := range a.IAs {
		for _, x := range ia.Leased {
			if x.Valid == 0 {
				continue // withdrawn: never its own
			}
			b := Bound{Prefix: x.Prefix, AcknowledgedAt: now}
			if x.Valid < never {
				b.ExpiresAt = now.Add(x.Valid)
			}
			r.keep(b)
		}
	}
}

// confirm notes addresses that a server gave earlier, perhaps another one; how
// long they last only the guest knows.
func (r *record) confirm(m ipv6.DHCPMessage, a ipv6.DHCPAnswer, now time.Time) {
	if a.Status != ipv6.StatusSuccess {
		return
	}
	for _, ia := range m.IAs {
		for _, x := range ia.Leased {
			if ia.Kind == ipv6.IANA && x.Prefix.IsValid() && !x.Prefix.Addr().IsUnspecified() {
				r.keep(Bound{Prefix: x.Prefix, AcknowledgedAt: now, ExpiresAt: r.bound[x.Prefix].ExpiresAt})
			}
		}
	}
}

func (r *record) keep(b Bound) {
	if r.bound == nil {
		r.bound = map[netip.Prefix]Bound{}
	}
	r.bound[b.Prefix] = b
}

func (r *record) unbind(m ipv6.DHCPMessage, a ipv6.DHCPAnswer) {
	if a.Status != ipv6.StatusSuccess {
		return // UseMulticast: it is to say it again
	}
	for _, ia := range m.IAs {
		for _, x := range ia.Leased {
			delete(r.bound, x.Prefix)
		}
	}
}

// prune forgets what has expired and what the guest doesn't have any more.
func (r *record) prune(lease ipv6.Lease, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, b := range r.bound {
		own := slices.Contains(lease.Delegated, p) || p.IsSingleIP() && slices.Contains(lease.Addresses, p.Addr())
		if !own || !b.ExpiresAt.IsZero() && !b.ExpiresAt.After(now) {
			delete(r.bound, p)
		}
	}
}

// status is a copy that belongs to the caller.
func (t *task) status(failed error, now time.Time) Status {
	r := &t.seen
	r.prune(t.current(), now)
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{
		LastAt: r.lastAt, Client: hex.EncodeToString(r.client), Unsent: r.lost,
		Received: maps.Clone(r.in), Sent: maps.Clone(r.out), Ignored: maps.Clone(r.ignored),
		Limited: t.stats.Limited.Load(), Panics: t.stats.Panics.Load(),
	}
	if !r.lastAt.IsZero() {
		s.Last = r.last.String()
	}
	for _, b := range r.bound {
		s.Bound = append(s.Bound, b)
	}
	slices.SortFunc(s.Bound, func(a, b Bound) int { return a.Prefix.Compare(b.Prefix) })
	if failed != nil {
		s.Error = failed.Error()
	}
	return s
}
