package vrf

// blackholes plans those that are desired, before anything of a tap: while its
// route goes, no packet may meet the last resort, whose answer ends connections.
// All are planned whatever the plan is restricted to: they are few, and what the
// kernel has of them is known from memory.
func (p *planner) blackholes(list []Blackhole) {
	for _, b := range list {
		v, known := p.vrfs[b.VRF]
		if v == nil {
			if !known {
				p.problem("blackhole %s: VRF %q is not defined", b.Prefix, b.VRF)
			}
			continue
		}
		want := InstalledRoute{Table: v.Table, Prefix: b.Prefix, Metric: b.metric(), Blackhole: true}
		if _, twice := p.desired[want.Key()]; twice {
			continue
		}
		p.desired[want.Key()] = b.VRF
		if have, ok := p.routes[want.Key()]; !ok || !have.Equal(want) {
			p.add(AddRoute{Route: want, VRF: b.VRF, Replace: ok})
		}
	}
}

// fillBlackholes removes those that are not desired, when all routes that may
// take their place are written, be it the one of the other metric. What this
// process wrote it knows the reason of, so that it needs no sweep to know that
// it is over: a blackhole takes packets from wider routes. What an earlier one
// left may have a reason yet.
func (p *planner) fillBlackholes() {
	for _, r := range p.actual.Routes {
		if _, ok := p.desired[r.Key()]; !ok && ofBlackholes(r.Metric) && (p.Sweep || r.Written) && !p.untouchable(r) {
			p.add(DeleteRoute{r})
		}
	}
}

// clear removes routes to taps that are in the way of a blackhole: whoever wants
// one for a prefix that no tap is to have knows that it is delivered elsewhere, and
// need not have heard of everything else.
func (p *planner) clear() {
	for _, r := range p.actual.Routes {
		_, served := p.desired[r.Key()]
		_, below := p.desired[RouteKey{r.Table, r.Prefix, MetricBlackhole}]
		_, over := p.desired[RouteKey{r.Table, r.Prefix, MetricBlackholeOver}]
		if (below || over) && !served && r.Metric == MetricGuest && !p.untouchable(r) {
			p.add(DeleteRoute{r})
		}
	}
}
