package agent

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/internal/bgp"
)

// routes answers with the routes of a VRF, or of all: all of them, or those
// that match a prefix or the address that a packet is for.
func (a *Agent) routes(r *http.Request) (any, error) {
	q := r.URL.Query()
	vrfs := a.vrfs()
	if name := q.Get("vrf"); name != "" {
		if !slices.Contains(vrfs, name) {
			return nil, errQuery{fmt.Errorf("vrf %q: this hypervisor has %s", name, strings.Join(vrfs, ", "))}
		}
		vrfs = []string{name}
	}
	match, err := parseMatch(q.Get("prefix"))
	if err != nil {
		return nil, errQuery{err}
	}
	list := []Route{}
	local := localRoutes(a.ledger.State(), a.cfg.Hypervisor)
	for _, name := range vrfs {
		list = append(list, a.routesOf(name, match, local)...)
	}
	slices.SortStableFunc(list, func(x, y Route) int {
		if c := slices.Index(vrfs, x.VRF) - slices.Index(vrfs, y.VRF); c != 0 {
			return c
		}
		return x.Prefix.Compare(y.Prefix)
	})
	return list, nil
}

// vrfs names the VRFs of the configuration.
func (a *Agent) vrfs() (names []string) {
	for _, v := range a.cfg.VRFs {
		names = append(names, v.Name)
	}
	return names
}

// parseMatch reads an address (as its host prefix) or a prefix; empty: all.
func parseMatch(s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("prefix %q: not an address or a prefix; write it like 203.0.113.7 or 2001:db8::/64", s)
	}
	return p.Masked(), nil
}

func (a *Agent) routesOf(name string, match netip.Prefix, local map[target]LocalRoute) []Route {
	found := map[netip.Prefix]*Route{}
	at := func(p netip.Prefix) *Route {
		if found[p] == nil {
			found[p] = &Route{VRF: name, Prefix: p}
		}
		return found[p]
	}
	for t, l := range local {
		if t.vrf == name && selects(match, t.prefix) {
			at(t.prefix).Local = &l
		}
	}
	switch {
	case !match.IsValid():
		a.speaker.EachRoute(name, func(r bgp.Route) bool { at(r.Prefix).Paths = paths(r); return true })
	case match.IsSingleIP():
		if r, ok := a.speaker.Match(name, match.Addr()); ok {
			at(r.Prefix).Paths = paths(r)
		}
		return longest(found)
	default:
		a.speaker.EachRoute(name, func(r bgp.Route) bool {
			if selects(match, r.Prefix) {
				at(r.Prefix).Paths = paths(r)
			}
			return true
		})
	}
	list := make([]Route, 0, len(found))
	for _, r := range found {
		list = append(list, *r)
	}
	return list
}

// selects tells whether a route is asked for: any if nothing is, those that an
// address matches, or those inside a prefix.
func selects(match, route netip.Prefix) bool {
	switch {
	case !match.IsValid():
		return true
	case match.IsSingleIP():
		return route.Contains(match.Addr())
	}
	return match.Bits() <= route.Bits() && match.Contains(route.Addr())
}

// longest keeps the longest of the prefixes that one address matches.
func longest(found map[netip.Prefix]*Route) []Route {
	var best *Route
	for _, r := range found {
		if best == nil || r.Prefix.Bits() > best.Prefix.Bits() {
			best = r
		}
	}
	if best == nil {
		return nil
	}
	return []Route{*best}
}

func paths(r bgp.Route) []Path {
	list := make([]Path, len(r.Paths))
	for i, p := range r.Paths {
		list[i] = Path{
			Peer: p.Peer, Plane: p.Plane, Uplink: p.Uplink, NextHop: p.NextHop,
			Preference: p.LocalPref, ASPath: p.ASPath, Chosen: p.Chosen, Stale: p.Stale,
		}
		for _, c := range p.Communities {
			list[i].Communities = append(list[i].Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
		}
	}
	return list
}
