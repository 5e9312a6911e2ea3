package fake

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/hostroute/hostroute/vrf"
)

var _ vrf.Dataplane = (*Kernel)(nil)

var errGroupType = errors.New("a group of this type can't stand here")

// State is for the FIB.
func (k *Kernel) State(_ context.Context, links []string) (vrf.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := vrf.State{Ports: map[string]vrf.Port{}, Objects: !k.NoObjects, Resilient: !k.NoObjects && !k.NoResilient}
	for _, name := range links {
		if l := k.links[name]; l != nil {
			s.Ports[name] = vrf.Port{Index: l.Index, Master: l.Master, Running: l.Up && l.carrier}
		}
	}
	for id, o := range k.hops {
		if vrf.OwnNextHop(id) {
			o.Group, o.Weights = slices.Clone(o.Group), slices.Clone(o.Weights)
			o.Dead = k.dead(o.Hop)
			s.NextHops = append(s.NextHops, o)
		}
	}
	return s, nil
}

// buried marks a neighbour that is known not to answer.
var buried = [6]byte{0xde, 0xad}

func (k *Kernel) dead(hop vrf.Hop) bool {
	l := k.byIndex(hop.Port)
	return l != nil && k.neighbours[neighbourKey{l.Name, hop.Gateway}] == buried
}

// DeleteNeighbour deletes an entry of the neighbour table.
func (k *Kernel) DeleteNeighbour(link string, a netip.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.neighbours, neighbourKey{link, a})
}

// LearnedRoutes is for the FIB. Like the kernel's dump it holds nothing while f
// runs, which may write.
func (k *Kernel) LearnedRoutes(ctx context.Context, table uint32, f func(vrf.LearnedRoute)) error {
	for _, r := range k.learned(table) {
		if err := ctx.Err(); err != nil {
			return err
		}
		f(r)
	}
	return nil
}

func (k *Kernel) learned(table uint32) (list []vrf.LearnedRoute) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, e := range k.routes {
		if id.table == table && e.protocol == vrf.Protocol && id.metric == vrf.MetricLearned {
			list = append(list, vrf.LearnedRoute{Prefix: id.prefix, NextHopID: e.nextHopID, Hops: e.hops})
		}
	}
	return list
}

// WriteNextHops is for the FIB.
func (k *Kernel) WriteNextHops(ctx context.Context, ops []vrf.NextHopOp, failed func(int, error)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, op := range ops {
		k.writes++
		if err := k.writeNextHop(op); err != nil {
			failed(i, err)
		}
	}
	return ctx.Err()
}

func (k *Kernel) writeNextHop(op vrf.NextHopOp) error {
	o := op.Object
	old, exists := k.hops[o.ID]
	switch {
	case op.Delete:
		k.deleteNextHop(o.ID)
		return nil
	case exists && !op.Replace:
		return vrf.ErrExists
	case len(o.Group) > 0:
		if err := k.checkGroup(o, old, op.Replace); err != nil {
			return err
		}
		for _, id := range o.Group {
			if m, ok := k.hops[id]; !ok || len(m.Group) > 0 {
				return fmt.Errorf("group member %d: %w", id, errNoHop)
			}
		}
	default:
		l := k.byIndex(o.Hop.Port)
		if l == nil || !l.Up || !l.carrier {
			return vrf.ErrNotReady
		}
	}
	o.Group, o.Weights = slices.Clone(o.Group), slices.Clone(o.Weights)
	k.hops[o.ID] = o
	if o.Dead {
		k.neighbours[neighbourKey{k.byIndex(o.Hop.Port).Name, o.Hop.Gateway}] = buried
	}
	return nil
}

// checkGroup: a group is replaced only by one of its type, and a resilient one
// keeps the number of its buckets.
func (k *Kernel) checkGroup(o, old vrf.NextHopObject, replace bool) error {
	switch {
	case replace && old.ID == 0:
		return vrf.ErrGone
	case k.NoResilient && o.Resilience.Buckets > 0, old.ID != 0 && o.Resilience.Buckets != old.Resilience.Buckets:
		return errGroupType
	}
	return nil
}

func (k *Kernel) byIndex(i int) *link {
	for _, l := range k.links {
		if l.Index == i {
			return l
		}
	}
	return nil
}

// deleteNextHop takes a member out of its groups, and with the last member the
// group, and with a group or member the routes that refer to it.
func (k *Kernel) deleteNextHop(id uint32) {
	if _, ok := k.hops[id]; !ok {
		return
	}
	delete(k.hops, id)
	k.flush(func(_ key, e entry) bool { return e.nextHopID == id })
	for g, o := range k.hops {
		at := slices.Index(o.Group, id)
		if at < 0 {
			continue
		}
		o.Group = slices.Delete(o.Group, at, at+1)
		if o.Weights != nil {
			o.Weights = slices.Delete(o.Weights, at, at+1)
		}
		k.hops[g] = o
		if len(o.Group) == 0 {
			k.deleteNextHop(g)
		}
	}
}

// WriteRoutes is for the FIB.
func (k *Kernel) WriteRoutes(ctx context.Context, writes []vrf.RouteWrite, failed func(int, error)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	for i, w := range writes {
		k.writes++
		var err error
		if k.RouteFault != nil {
			err = k.RouteFault(w)
		}
		if err == nil {
			err = k.writeRoute(w)
		}
		if err != nil {
			failed(i, err)
		}
	}
	return nil
}

func (k *Kernel) writeRoute(w vrf.RouteWrite) error {
	id := key{w.Table, w.Prefix, vrf.MetricLearned}
	old, exists := k.routes[id]
	if w.Verb == vrf.Delete {
		if exists && old.protocol == vrf.Protocol {
			delete(k.routes, id)
		}
		return nil
	}
	if exists && w.Verb == vrf.Add {
		return vrf.ErrExists
	}
	if _, ok := k.hops[w.NextHopID]; w.NextHopID != 0 && !ok {
		return fmt.Errorf("next hop %d: %w", w.NextHopID, errNoHop)
	}
	for _, h := range w.Hops {
		if l := k.byIndex(h.Port); l == nil || !l.Up {
			return errDown
		}
	}
	k.routes[id] = entry{protocol: vrf.Protocol, nextHopID: w.NextHopID, hops: slices.Clone(w.Hops)}
	return nil
}

// loseNextHops is what carrier loss does to next-hop objects.
func (k *Kernel) loseNextHops(l *link) {
	for id, o := range k.hops {
		if len(o.Group) == 0 && o.Hop.Port == l.Index {
			k.deleteNextHop(id)
		}
	}
}

// down is what an administrative down does.
func (k *Kernel) down(l *link) {
	l.Up = false
	k.drop(l)
	k.addresses = slices.DeleteFunc(k.addresses, func(a vrf.Address) bool {
		return a.Link == l.Name && a.Prefix.Addr().IsLinkLocalUnicast() && a.Prefix.Addr().Is6()
	})
}

// up is what an administrative up does.
func (k *Kernel) up(l *link) {
	l.Up = true
	k.revive(l.Name)
}

// bounce is what enslaving does: down, up, and what the link had is gone.
func (k *Kernel) bounce(l *link) {
	k.drop(l)
	k.addresses = slices.DeleteFunc(k.addresses, func(a vrf.Address) bool { return a.Link == l.Name })
	if l.Up {
		k.up(l)
	}
}

func (k *Kernel) drop(l *link) {
	k.loseNextHops(l)
	for id, e := range k.routes {
		if len(e.hops) > 0 {
			e.hops = slices.DeleteFunc(slices.Clone(e.hops), func(h vrf.Hop) bool { return h.Port == l.Index })
			k.routes[id] = e
			if len(e.hops) == 0 {
				delete(k.routes, id)
			}
		}
	}
	k.flush(func(_ key, e entry) bool { return e.link == l.Name })
	k.kill(l.Name, func(key) bool { return true })
	for id := range k.neighbours {
		if id.link == l.Name {
			delete(k.neighbours, id)
		}
	}
}

// Writes counts the writes of learned routes and next hops.
func (k *Kernel) Writes() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.writes
}

// foreignProtocol marks what a test puts there as somebody else's.
const foreignProtocol = 99

// AddLink makes a link, down and with carrier.
func (k *Kernel) AddLink(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.addLink(name)
}

// DeleteLink removes a link with all that is on it.
func (k *Kernel) DeleteLink(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.links[name]; l != nil {
		k.bounce(l)
		k.remove(name)
		delete(k.links, name)
		for _, port := range k.links {
			if port.Master == name {
				port.Master = ""
				k.bounce(port)
			}
		}
		for s := range k.sysctls {
			if slices.ContainsFunc(vrf.Sysctls(vrf.Host{Taps: []vrf.Tap{{Name: name}}, Uplinks: []vrf.Uplink{{Name: name}}}),
				func(x vrf.Sysctl) bool { return x.Name == s && x.Link == name }) {
				delete(k.sysctls, s)
			}
		}
	}
}

// SetUp brings a link up or takes it down, as somebody else would.
func (k *Kernel) SetUp(name string, up bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.links[name]; !up {
		k.down(l)
	} else {
		k.up(l)
	}
}

// SetGroup puts a link into a link group.
func (k *Kernel) SetGroup(name string, group uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.links[name].Group = group
}

// SetCarrier gives a link its carrier or takes it.
func (k *Kernel) SetCarrier(name string, on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.links[name]
	l.carrier = on
	if !on {
		k.loseNextHops(l)
	}
}

// AddForeignRoute adds an unreachable route of another protocol.
func (k *Kernel) AddForeignRoute(table uint32, p netip.Prefix, metric uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.routes[key{table, p, metric}] = entry{protocol: foreignProtocol, unreachable: true}
}

// DeleteForeignRoute removes it.
func (k *Kernel) DeleteForeignRoute(table uint32, p netip.Prefix, metric uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.routes, key{table, p, metric})
}

// AddForeignAddress adds an address of no protocol.
func (k *Kernel) AddForeignAddress(name string, p netip.Prefix) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.addresses = append(k.addresses, vrf.Address{Link: name, Prefix: p})
}

// AddForeignNextHop adds a next hop of another protocol.
func (k *Kernel) AddForeignNextHop(id uint32, gateway netip.Addr, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hops[id] = vrf.NextHopObject{ID: id, Protocol: foreignProtocol, Hop: vrf.Hop{Gateway: gateway, Port: k.links[name].Index}}
}

// Foreign lists what is somebody else's, sorted.
func (k *Kernel) Foreign() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []string
	for id, e := range k.routes {
		if e.protocol == foreignProtocol {
			list = append(list, fmt.Sprint("route ", id))
		}
	}
	for _, a := range k.addresses {
		if a.Protocol == 0 && !k.NoAddressProtocols {
			list = append(list, fmt.Sprint("address ", a.Link, a.Prefix))
		}
	}
	for id, o := range k.hops {
		if o.Protocol == foreignProtocol {
			list = append(list, fmt.Sprint("nexthop ", id, o.Hop.Gateway))
		}
	}
	slices.Sort(list)
	return list
}
