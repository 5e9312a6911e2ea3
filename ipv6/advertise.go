package ipv6

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// RouterAddress is the address that advertisements come from and that guests
// have as their router: the same on every tap of every hypervisor, so that a
// guest that moves keeps its default route.
var RouterAddress = netip.MustParseAddr("fe80::1")

// HopLimit is what guests are told to send with (Cur Hop Limit of RFC 4861,
// section 4.2).
const HopLimit = 64

// Limits and defaults of RFC 4861, section 6.2.1, and RFC 8319, section 4. The
// shortest allowed interval between two multicast advertisements is
// [MinDelayBetweenRAs].
const (
	shortestInterval  = 4 * time.Second
	defaultInterval   = 600 * time.Second
	longestInterval   = 1800 * time.Second
	longestAsRouter   = 65535 * time.Second
	infinity          = 0xffffffff * time.Second
	intervalsToldFor  = 3 // how many intervals what is told lasts, so that lost advertisements do no harm
	longestDomainName = 253
	longestLabel      = 63
)

// Lasting is a thing that an advertisement tells for a time; 0: not any more.
type Lasting[T comparable] struct {
	Value    T             `json:"value"`
	Lifetime time.Duration `json:"lifetime"`
}

// Advertisement is what one router advertisement says (RFC 4861, section 4.2).
// Its lifetimes fit their fields. The source link-layer address, which every
// advertisement has, is that of the tap.
type Advertisement struct {
	Managed    bool
	Other      bool
	Preference Preference // of the router, and of all its routes
	Lifetime   time.Duration
	MTU        int
	Prefixes   []OnLink
	Routes     []Lasting[netip.Prefix] // RFC 4191
	DNS        []Lasting[netip.Addr]   // RFC 8106
	Search     []Lasting[string]
}

// NewAdvertisement is the advertisement of a router. What can't be said in one
// (an IPv4 resolver, a name that is none) is left out, so that it doesn't keep
// the rest from the guest.
func NewAdvertisement(r Router) Advertisement {
	a := Advertisement{
		Managed: r.Managed, Other: r.Other, Preference: r.Preference,
		Lifetime: within(r.Lifetime, longestAsRouter), MTU: max(r.MTU, 0),
	}
	for _, p := range r.Prefixes {
		if p.Prefix.Addr().Is6() {
			valid := within(p.Valid, infinity)
			p.Prefix, p.Valid, p.Preferred = p.Prefix.Masked(), valid, within(p.Preferred, valid)
			a.Prefixes = append(a.Prefixes, p)
		}
	}
	// RFC 8106, section 5.1, and RFC 4191, section 2.3: as long as the router,
	// but through the loss of a few advertisements at least.
	_, longest := r.intervals()
	lifetime := max(a.Lifetime, intervalsToldFor*longest)
	for _, p := range r.Routes {
		if p.Addr().Is6() {
			a.Routes = append(a.Routes, Lasting[netip.Prefix]{p.Masked(), lifetime})
		}
	}
	for _, d := range r.DNS {
		if d.Is6() && !d.Is4In6() {
			a.DNS = append(a.DNS, Lasting[netip.Addr]{d.WithZone(""), lifetime})
		}
	}
	for _, s := range r.Search {
		if name, ok := domainName(s); ok {
			a.Search = append(a.Search, Lasting[string]{name, lifetime})
		}
	}
	return a
}

// Final is what a router says last (RFC 4861, section 6.2.5): it is no default
// router any more, nothing is reached through it or resolved by its servers, and
// no new connection should use the addresses that it gave. They stay valid, so
// that connections which exist need not end.
func (a Advertisement) Final() Advertisement {
	f := a
	f.Lifetime = 0
	f.Prefixes = slices.Clone(a.Prefixes)
	for i := range f.Prefixes {
		f.Prefixes[i].Preferred = 0
	}
	f.Routes, f.DNS, f.Search = ended(a.Routes, nil), ended(a.DNS, nil), ended(a.Search, nil)
	return f
}

// departed is what old said and now says no more, with lifetimes of 0. A prefix
// that lost one of its flags departs with that flag alone: an option without a
// flag says nothing about it (RFC 4861, section 6.3.4).
func departed(old, now Advertisement) Advertisement {
	var gone Advertisement
	for _, o := range old.Prefixes {
		lost := OnLink{Prefix: o.Prefix, OnLink: o.OnLink, Autonomous: o.Autonomous}
		for _, n := range now.Prefixes {
			if n.Prefix == o.Prefix {
				lost.OnLink = lost.OnLink && !n.OnLink
				lost.Autonomous = lost.Autonomous && !n.Autonomous
			}
		}
		if lost.OnLink || lost.Autonomous {
			gone.Prefixes = append(gone.Prefixes, lost)
		}
	}
	gone.Routes, gone.DNS, gone.Search = ended(old.Routes, now.Routes), ended(old.DNS, now.DNS), ended(old.Search, now.Search)
	return gone
}

// ended is what is in old and not in now, with a lifetime of 0.
func ended[T comparable](old, now []Lasting[T]) []Lasting[T] {
	var gone []Lasting[T]
	for _, o := range old {
		if !slices.ContainsFunc(now, func(n Lasting[T]) bool { return n.Value == o.Value }) {
			gone = append(gone, Lasting[T]{Value: o.Value})
		}
	}
	return gone
}

// with is the advertisement with the options of another before its own, so that
// where both speak of a thing the own has the last word.
func (a Advertisement) with(b Advertisement) Advertisement {
	a.Prefixes = slices.Concat(b.Prefixes, a.Prefixes)
	a.Routes = slices.Concat(b.Routes, a.Routes)
	a.DNS = slices.Concat(b.DNS, a.DNS)
	a.Search = slices.Concat(b.Search, a.Search)
	return a
}

func (a Advertisement) hasOptions() bool {
	return len(a.Prefixes)+len(a.Routes)+len(a.DNS)+len(a.Search) > 0
}

// The sizes of options in bytes, at most: a resolver and a name are taken as an
// option each. What a message has room for is the smallest MTU of IPv6 less the
// IPv6 header, the fixed part, the source link-layer address and the MTU.
const (
	sizePrefix   = 32
	sizeRoute    = 24
	sizeResolver = 8 + 16
	sizeName     = 8 + 2 + 7 // and the text
	messageRoom  = 1280 - 40 - 16 - 8 - 8
)

// Parts splits an advertisement into messages that need no fragmentation, which
// is forbidden here (RFC 6980): each says the same about the router, and a part
// of the options (RFC 4861, section 6.2.3).
func (a Advertisement) Parts() []Advertisement {
	head := Advertisement{Managed: a.Managed, Other: a.Other, Preference: a.Preference, Lifetime: a.Lifetime, MTU: a.MTU}
	parts, room := []Advertisement{head}, messageRoom
	place := func(size int) *Advertisement {
		if size > room {
			parts, room = append(parts, head), messageRoom
		}
		room -= size
		return &parts[len(parts)-1]
	}
	for _, o := range a.Prefixes {
		p := place(sizePrefix)
		p.Prefixes = append(p.Prefixes, o)
	}
	for _, o := range a.Routes {
		p := place(sizeRoute)
		p.Routes = append(p.Routes, o)
	}
	for _, o := range a.DNS {
		p := place(sizeResolver)
		p.DNS = append(p.DNS, o)
	}
	for _, o := range a.Search {
		p := place(sizeName + len(o.Value))
		p.Search = append(p.Search, o)
	}
	return parts
}

// domainName is a name as DNSSL can carry it: labels of ASCII (RFC 8106,
// section 5.2, after RFC 1035, section 3.1).
func domainName(s string) (string, bool) {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > longestDomainName {
		return "", false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > longestLabel {
			return "", false
		}
	}
	outside := func(r rune) bool { return r <= ' ' || r > '~' }
	return s, strings.IndexFunc(s, outside) < 0
}

// within is a lifetime in whole seconds that its field can hold.
func within(d, longest time.Duration) time.Duration {
	return min(max(d, 0), longest).Truncate(time.Second)
}
