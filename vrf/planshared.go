package vrf

import (
	"maps"
	"net/netip"
	"slices"
)

// Sharing adds to links the taps that have, or are to have, a route together with
// one of them, or with one that has. What becomes of such a route is told by all
// of its taps, so a plan restricted to one must look at the others.
func Sharing(desired Host, routes []InstalledRoute, links []string) []string {
	in, keys := namesOf(links), keySet{keys: map[RouteKey]bool{}}
	tables := tablesOf(desired)
	var several []InstalledRoute // few among many
	for i := range routes {
		if len(routes[i].Hops) > 0 {
			several = append(several, routes[i])
		}
	}
	rest := make([]*Tap, 0, len(desired.Taps)) // those not in yet
	join := func(t *Tap) {
		in[t.Name] = true
		for i := range t.Routes {
			keys.add(RouteKey{tables[t.VRF], t.Routes[i].Prefix, MetricGuest})
		}
	}
	for i := range desired.Taps {
		rest = append(rest, &desired.Taps[i])
	}
	for before := -1; before < len(in)+len(keys.keys); {
		before = len(in) + len(keys.keys)
		rest = slices.DeleteFunc(rest, func(t *Tap) bool {
			joins := in[t.Name] || keys.hasAny(tables[t.VRF], t.Routes)
			if joins {
				join(t)
			}
			return joins
		})
		for _, r := range several {
			if keys.keys[r.Key()] || r.anyLink(func(link string) bool { return in[link] }) {
				keys.add(r.Key())
				for _, h := range r.Hops {
					in[h.Link] = true
				}
			}
		}
	}
	list := slices.AppendSeq([]string{}, maps.Keys(in)) // not nil, which would mean all
	slices.Sort(list)
	return list
}

// keySet are few keys, of which many others are to be told apart: by the last byte of the
// address first.
type keySet struct {
	keys map[RouteKey]bool
	last [256]bool
}

func lastByte(p netip.Prefix) byte {
	a := p.Addr().As16()
	return a[15]
}

func (s *keySet) add(key RouteKey) {
	s.keys[key] = true
	s.last[lastByte(key.Prefix)] = true
}

// hasAny tells whether one of a tap's routes is among them.
func (s *keySet) hasAny(table uint32, routes []Route) bool {
	for i := range routes {
		if s.last[lastByte(routes[i].Prefix)] && s.keys[RouteKey{table, routes[i].Prefix, MetricGuest}] {
			return true
		}
	}
	return false
}

// sharedRoute is a route that several taps are to have.
type sharedRoute struct {
	vrf   string
	route InstalledRoute
	hops  []RouteHop
	idle  []RouteHop // without carrier: nobody is behind them
	fresh bool       // the kernel may have changed it with one of the links
	// killed are taps that the kernel has marked as dead in it, up as they are.
	killed []string
}

// killed: with a tap's last IPv4 address the kernel marks it as dead in its IPv4
// routes over several.
func killed(t Tap, r Route, flushed bool) []string {
	if flushed && r.Prefix.Addr().Is4() {
		return []string{t.Name}
	}
	return nil
}

// share finds the routes that more than one tap has.
func (p *planner) share(taps []Tap) {
	first := map[RouteKey]string{}
	for _, t := range taps {
		if !p.covers(t.Name) {
			continue
		}
		v := p.vrfs[t.VRF]
		if v == nil {
			continue
		}
		for _, r := range t.Routes {
			key := RouteKey{v.Table, r.Prefix, MetricGuest}
			switch other, taken := first[key]; {
			case !taken:
				first[key] = t.Name
			case other != t.Name:
				p.shared[key] = &sharedRoute{vrf: t.VRF, route: InstalledRoute{Table: v.Table, Prefix: r.Prefix, Metric: MetricGuest}}
			}
		}
	}
}

// joined gives the tap a neighbour more if one of its routes is an IPv6 host
// route that it shares: the kernel takes no device without a gateway into an
// IPv6 route over several. Its guest need not have that address.
func (p *planner) joined(t Tap, table uint32) Tap {
	for _, r := range t.Routes {
		if p.shared[RouteKey{table, r.Prefix, MetricGuest}] == nil || r.Via.IsValid() || r.Prefix.Addr().Is4() || t.MAC == [6]byte{} {
			continue
		}
		n := Neighbour{Address: linkLocalOf(t.MAC), MAC: t.MAC}
		if !slices.ContainsFunc(t.Neighbours, func(have Neighbour) bool { return have.Address == n.Address }) {
			t.Neighbours = append(slices.Clone(t.Neighbours), n)
		}
	}
	return t
}

// linkLocalOf is the link-local address of an EUI-64 (RFC 4291 appendix A).
func linkLocalOf(mac [6]byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

// join makes a tap one of a shared route's.
func (p *planner) join(s *sharedRoute, t Tap, r Route, fresh bool) {
	hop := RouteHop{t.Name, r.Via}
	if !hop.Via.IsValid() && r.Prefix.Addr().Is6() {
		if t.MAC == [6]byte{} {
			p.problem("route %s: other taps have it as well, and %s has no MAC by which to reach its guest: it gets no traffic for it", r.Prefix, t.Name)
			return
		}
		hop.Via = linkLocalOf(t.MAC)
	}
	if slices.ContainsFunc(slices.Concat(s.hops, s.idle), func(h RouteHop) bool { return h.Link == t.Name }) {
		p.problem("route %s: it is desired twice on %s", r.Prefix, t.Name)
		return
	}
	if len(s.hops)+len(s.idle) == 0 {
		p.sharedOrder = append(p.sharedOrder, s)
	}
	s.fresh = s.fresh || fresh
	if l := p.links[t.Name]; l.Up && !l.Running {
		s.idle = append(s.idle, hop)
	} else {
		s.hops = append(s.hops, hop)
	}
}

// sharedRoutes plans the routes over several taps, when all of these are up. A
// tap without carrier takes no flows from one that has it.
func (p *planner) sharedRoutes() {
	for _, s := range p.sharedOrder {
		p.withoutDead(s)
		p.desired[s.route.Key()] = "" // for now
	}
	if p.Sweep {
		p.sweepShared()
	}
	for _, s := range p.sharedOrder {
		want, hops := s.route, s.hops
		if len(hops) == 0 {
			hops = s.idle
		}
		want.SetHops(hops)
		p.desired[want.Key()] = hops[0].Link
		p.setRoute(want, s.vrf, s.fresh)
	}
}

// withoutDead has the kernel forget what it has marked as dead in a route. It
// keeps one list of devices for all IPv4 routes with the same ones, and would use
// that, marks and all, until no route has it any more. So this goes for all of
// them before one is written as it is to be.
func (p *planner) withoutDead(s *sharedRoute) {
	installed := p.routes[s.route.Key()]
	if installed == nil {
		return
	}
	have := *installed
	if !have.Dead && len(s.killed) == 0 || have.Prefix.Addr().Is6() {
		return
	}
	usable := slices.Concat(s.hops, s.idle)
	hops := slices.DeleteFunc(have.hops(), func(h RouteHop) bool {
		return slices.Contains(s.killed, h.Link) || !slices.ContainsFunc(usable, func(u RouteHop) bool { return u.Link == h.Link })
	})
	if len(hops) > 0 {
		replace := !p.flushed(have)
		have.SetHops(hops)
		p.add(AddRoute{Route: have, VRF: s.vrf, Replace: replace})
		s.fresh = true
	}
}

// sweepShared removes IPv4 routes over several taps that are not desired before others are
// written, which would be given their list of devices, with those marked as dead.
func (p *planner) sweepShared() {
	for _, r := range p.actual.Routes {
		if len(r.Hops) > 0 && r.Prefix.Addr().Is4() && p.superfluous(r) {
			p.add(DeleteRoute{r})
			p.gone[r.Key()] = true
		}
	}
}

// setRoute plans a route unless it is there. fresh: what is there may have gone
// with a link since.
func (p *planner) setRoute(want InstalledRoute, vrf string, fresh bool) {
	have, ok := p.routes[want.Key()]
	if !ok || fresh || p.restricted() || !have.Equal(want) {
		p.add(AddRoute{Route: want, VRF: vrf, Replace: ok && !p.flushed(*have)})
	}
}

// flushed tells whether the kernel has perhaps dropped a route together with a
// link, so that another one may have followed, which is not ours to replace. Of
// an IPv4 route over several links nothing is left when one of them vanishes; an
// IPv6 one stays as long as there is one.
func (p *planner) flushed(have InstalledRoute) bool {
	lost := func(link string) bool {
		return p.fresh[link] || p.restricted() && p.covers(link) && !p.exists(link)
	}
	if have.Prefix.Addr().Is4() {
		return have.anyLink(lost)
	}
	return !have.anyLink(func(link string) bool { return !lost(link) })
}
