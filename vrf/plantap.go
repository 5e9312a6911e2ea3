package vrf

import (
	"net/netip"
	"slices"
)

func (p *planner) tap(t Tap) {
	table, fresh, ok := p.port(t.Name, t.VRF, tapSysctls(t.Name), true)
	if !ok {
		return
	}
	p.fresh[t.Name] = fresh
	t = p.joined(t, table)
	gateways := make([]netip.Prefix, 0, len(t.Gateways)+1)
	for _, g := range t.Gateways {
		gateways = append(gateways, netip.PrefixFrom(g, g.BitLen()))
	}
	gateways = append(gateways, linkLocalGateway)
	flushed := p.setAddresses(t.Name, gateways, fresh, true)
	p.tapNeighbours(t, fresh, flushed)
	p.tapRoutes(t, table, fresh, flushed)
}

// tapRoutes plans the guest's routes that no other tap has, those on the tap
// itself first, because a gateway may be one of them. flushed: the kernel dropped
// the IPv4 ones.
func (p *planner) tapRoutes(t Tap, table uint32, fresh, flushed bool) {
	for _, indirect := range []bool{false, true} {
		for _, r := range t.Routes {
			if r.Via.IsValid() != indirect {
				continue
			}
			want := InstalledRoute{Table: table, Prefix: r.Prefix, Metric: MetricGuest, Link: t.Name, Via: r.Via}
			// What the kernel flushed with the link somebody else may have followed.
			changed := fresh || flushed && r.Prefix.Addr().Is4()
			if s := p.shared[want.Key()]; s != nil {
				p.join(s, t, r, changed)
				s.killed = append(s.killed, killed(t, r, flushed)...)
				continue
			}
			if other, taken := p.desired[want.Key()]; taken {
				p.problem("route %s: it is on %s already, %s gets no traffic for it", r.Prefix, other, t.Name)
				continue
			}
			p.desired[want.Key()] = t.Name
			p.setRoute(want, t.VRF, changed)
		}
	}
}

// tapNeighbours plans the guest's permanent neighbours. With them the kernel
// asks no guest for its address, and their table can't be filled from outside.
// flushed: the kernel dropped the IPv4 ones.
func (p *planner) tapNeighbours(t Tap, fresh, flushed bool) {
	have := p.neighbours[t.Name]
	for _, n := range t.Neighbours {
		want := InstalledNeighbour{t.Name, n.Address, n.MAC}
		if fresh || flushed && n.Address.Is4() || !slices.Contains(have, want) {
			p.add(SetNeighbour{want})
		}
	}
	if !p.Sweep {
		return
	}
	for _, n := range have {
		if !slices.ContainsFunc(t.Neighbours, func(w Neighbour) bool { return w.Address == n.Address }) {
			p.forgotten = append(p.forgotten, DeleteNeighbour{t.Name, n.Address})
		}
	}
}

// sweep removes what is ours and belongs to nothing desired.
func (p *planner) sweep() {
	for _, r := range p.actual.Routes {
		if !p.gone[r.Key()] && p.superfluous(r) {
			p.add(DeleteRoute{r})
		}
	}
	for _, l := range p.sortedLinks() {
		if p.managed[l.Name] || !p.covers(l.Name) {
			continue
		}
		if l.Group == TapGroup || p.filteredTap(l) {
			p.release(l)
			continue
		}
		for _, a := range p.addresses[l.Name] {
			if a.Protocol == Protocol {
				p.add(DeleteAddress{l.Name, a.Prefix})
			}
		}
	}
}

// superfluous tells a route that a sweep removes, once all that is desired is known.
func (p *planner) superfluous(r InstalledRoute) bool {
	if _, ok := p.desired[r.Key()]; ok || p.untouchable(r) || !r.anyLink(p.covers) {
		return false
	}
	return r.Metric == MetricGuest || r.Unreachable
}

// filteredTap: the filter knows the link as a tap, though somebody took it out
// of the group of the taps. A tap that was named and never was there is none.
func (p *planner) filteredTap(l Link) bool {
	return slices.ContainsFunc(p.actual.Filter.Elements[l.Name], isTap) && !p.hostOwned(l.Name)
}

// untouchable: the route is in a table whose VRF contradicts the kernel, so
// that nothing in it could be planned.
func (p *planner) untouchable(r InstalledRoute) bool {
	for _, v := range p.vrfs {
		if v != nil && v.Table == r.Table {
			return false
		}
	}
	return true
}

// release undoes a tap that is no longer desired. It goes down before it
// leaves its VRF, or its guest would stand in the host's own network; and it
// stays in the group of the taps, where the filter drops what it sends.
func (p *planner) release(l Link) {
	if l.Group != TapGroup {
		p.add(SetGroup{l.Name, TapGroup})
	}
	for _, n := range p.neighbours[l.Name] {
		p.add(DeleteNeighbour{l.Name, n.Address})
	}
	ours := false
	for _, a := range p.addresses[l.Name] {
		if p.ours(a) {
			p.add(DeleteAddress{l.Name, a.Prefix})
			ours = true
		}
	}
	master, known := p.vrfs[l.Master]
	if l.Up && (known || ours) {
		p.add(SetDown{l.Name})
	}
	if known && (master == nil || !master.NoDevice) {
		p.add(SetMaster{Link: l.Name})
	}
}
