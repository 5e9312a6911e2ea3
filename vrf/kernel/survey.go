package kernel

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// Share has k take its routes from what this FIB reads, so that tables with millions
// of learned routes are read by one of them, and not while anybody waits: from now
// on k reads routes only once, for its first plan, and else goes by what it knows.
// changed is called when that was found to be wrong. Call Share before anything else.
func (f *FIB) Share(k *Kernel, changed func()) {
	f.plane.beside, f.plane.changed = k, changed
	k.mu.Lock()
	defer k.mu.Unlock()
	k.shared = true
}

// apart tells whether routes with this metric are Kernel's.
func apart(metric uint32) bool {
	switch metric {
	case vrf.MetricGuest, vrf.MetricBlackholeOver, vrf.MetricBlackhole, vrf.MetricUnreachable:
		return true
	}
	return false
}

// survey collects Kernel's routes of a table from a dump that is made for the FIB,
// while Kernel goes on.
type survey struct {
	reader
	table   uint32
	d       dumped
	found   map[Route]vrf.InstalledRoute
	strange map[Route]bool // leads to a link that came since
	touched map[Route]bool // by Kernel since the survey began: what it knows is newer; has its lock
}

// survey begins one, or gives nil where nothing is known that could be wrong.
func (k *Kernel) survey(ctx context.Context, s *socket, table uint32) (*survey, error) {
	if k == nil {
		return nil, nil
	}
	v := &survey{table: table, found: map[Route]vrf.InstalledRoute{}, strange: map[Route]bool{}, touched: map[Route]bool{}}
	v.Kernel = k
	k.mu.Lock()
	known := k.routes != nil
	k.surveyed = v
	k.mu.Unlock()
	if !known {
		return nil, nil
	}
	var err error
	v.names, err = s.linkNames(ctx)
	return v, err
}

// saw takes a route of the dump.
func (v *survey) saw(g *glance, payload []byte) {
	if !apart(g.metric) || !v.d.parse(payload) {
		return
	}
	if r := v.route(&v.d); nameless(r) {
		v.strange[r.Key()] = true
	} else {
		v.found[r.Key()] = r
	}
}

// nameless tells that the route leads to a link without a name.
func nameless(r vrf.InstalledRoute) bool {
	if r.Unreachable || r.Blackhole {
		return false
	}
	for _, h := range r.Hops {
		if h.Link == "" {
			return true
		}
	}
	return len(r.Hops) == 0 && r.Link == "" && !r.Dead
}

// touch has the survey under way, if any, leave a route as Kernel knows it. The
// caller has its lock.
func (v *survey) touch(id Route) {
	if v != nil {
		v.touched[id] = true
	}
}

// doubtful tells whether a known route is missing that the dump may have passed
// over, as those of IPv6 do when others before it are deleted.
func (v *survey) doubtful() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for id := range v.Kernel.routes.All() {
		if id.Table == v.table && id.Prefix.Addr().Is6() && v.missing(id) {
			return true
		}
	}
	return false
}

func (v *survey) missing(id Route) bool {
	_, found := v.found[id]
	return !found && !v.strange[id] && !v.touched[id]
}

// end corrects what Kernel knows, and tells whether there was anything to correct.
func (v *survey) end() (corrected bool) {
	k := v.Kernel
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.surveyed != v || k.routes == nil {
		return false // it has read everything itself
	}
	k.surveyed = nil
	for id, r := range v.found {
		r.Written = k.written[id]
		had, known := k.routes.Get(id)
		if v.touched[id] || known && had.Equal(r) && had.Dead == r.Dead {
			continue
		}
		k.routes.Put(r)
		corrected = true
	}
	for id := range k.routes.All() {
		if id.Table == v.table && v.missing(id) {
			k.routes.Delete(id)
			delete(k.written, id)
			corrected = true
		}
	}
	return corrected
}

// surveying dumps our routes of a table for the FIB, and lets Kernel have its part.
func (p *dataplane) surveying(ctx context.Context, s *socket, table uint32, f func(g *glance, payload []byte)) error {
	v, err := p.beside.survey(ctx, s, table)
	if err != nil {
		return err
	}
	if v == nil {
		return s.routes(ctx, table, f)
	}
	err = s.routes(ctx, table, func(g *glance, payload []byte) {
		if g.metric == vrf.MetricLearned {
			f(g, payload)
		} else {
			v.saw(g, payload)
		}
	})
	if err == nil && v.doubtful() {
		err = s.routesOf(ctx, unix.AF_INET6, table, v.saw)
	}
	if err == nil && v.end() {
		p.changed()
	}
	return err
}
