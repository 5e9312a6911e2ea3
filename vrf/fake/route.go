package fake

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/hostroute/hostroute/vrf"
)

var errNoGateway = errors.New("an IPv6 route over several devices needs gateways")

// tap is one of the devices of a route over several.
type tap struct {
	vrf.RouteHop
	dead bool
}

// installed is a route as a dump has it.
func (e entry) installed(id key) vrf.InstalledRoute {
	r := vrf.InstalledRoute{
		Table: id.table, Prefix: id.prefix, Metric: id.metric,
		Unreachable: e.unreachable, Blackhole: e.blackhole, Link: e.link, Via: e.via, Written: e.written,
	}
	if len(e.taps) > 0 {
		var hops []vrf.RouteHop
		for _, t := range e.taps {
			if t.dead {
				r.Dead = true
				continue
			}
			hops = append(hops, t.RouteHop)
		}
		r.SetHops(hops)
	}
	return r
}

func (k *Kernel) addRoute(o vrf.AddRoute) error {
	r := o.Route
	e := entry{
		protocol: vrf.Protocol, unreachable: r.Unreachable, blackhole: r.Blackhole, written: r.Blackhole,
		link: r.Link, via: r.Via,
	}
	hops := r.Hops
	if len(hops) == 0 && !r.Unreachable && !r.Blackhole {
		hops = []vrf.RouteHop{{Link: r.Link, Via: r.Via}}
	}
	for _, h := range hops {
		if l := k.links[h.Link]; l == nil || !l.Up {
			return errDown
		}
		if len(hops) > 1 {
			if r.Prefix.Addr().Is6() && !h.Via.IsValid() {
				return errNoGateway
			}
			e.taps = append(e.taps, tap{RouteHop: h})
		}
	}
	id := key{r.Table, r.Prefix, r.Metric}
	if old, exists := k.routes[id]; exists && !o.Replace && old.protocol != vrf.Protocol {
		return vrf.ErrExists
	}
	e.taps = k.known(id, e.taps)
	k.routes[id] = e
	return nil
}

// known finds the list of devices of another IPv4 route that is the same. The
// kernel has it only once, and doesn't look whether they are marked as dead.
func (k *Kernel) known(of key, taps []tap) []tap {
	for id, e := range k.routes {
		same := slices.EqualFunc(e.taps, taps, func(a, b tap) bool { return a.RouteHop == b.RouteHop })
		if same && id.table == of.table && id.metric == of.metric && id.prefix.Addr().Is4() && of.prefix.Addr().Is4() {
			return e.taps
		}
	}
	return taps
}

// kill marks a link's share of routes over several as dead, and drops those of
// which nothing else is left.
func (k *Kernel) kill(name string, which func(key) bool) {
	k.changeTaps(name, func(id key, e *entry, i int) {
		if which(id) {
			e.taps[i].dead = true
		}
	})
}

// revive undoes it when the link is up again, or has an address again.
func (k *Kernel) revive(name string) {
	if l := k.links[name]; l != nil && l.Up {
		k.changeTaps(name, func(_ key, e *entry, i int) { e.taps[i].dead = false })
	}
}

// remove is what the end of a link does: all of an IPv4 route over several goes
// with it, of an IPv6 one the link's share.
func (k *Kernel) remove(name string) {
	k.changeTaps(name, func(id key, e *entry, i int) {
		if id.prefix.Addr().Is4() {
			e.taps = nil
			return
		}
		e.taps = slices.Delete(e.taps, i, i+1)
	})
}

// changeTaps changes the link's share of each route over several.
func (k *Kernel) changeTaps(name string, change func(id key, e *entry, i int)) {
	for id, e := range k.routes {
		i := slices.IndexFunc(e.taps, func(t tap) bool { return t.Link == name })
		if i < 0 {
			continue
		}
		e.taps = slices.Clone(e.taps)
		change(id, &e, i)
		k.routes[id] = e
		if !slices.ContainsFunc(e.taps, func(t tap) bool { return !t.dead }) {
			delete(k.routes, id)
		}
	}
}

// AddFormerBlackhole adds a blackhole as a former run of ours may have left it.
func (k *Kernel) AddFormerBlackhole(table uint32, p netip.Prefix) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.routes[key{table, p, vrf.MetricBlackhole}] = entry{protocol: vrf.Protocol, blackhole: true}
}
