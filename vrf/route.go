package vrf

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// InstalledRoute is a route of ours that is not learned. It leads to a link, to
// several, or nowhere. Compare with Equal.
type InstalledRoute struct {
	Table       uint32
	Prefix      netip.Prefix
	Metric      uint32
	Unreachable bool       // the last resort of a table, without link
	Blackhole   bool       // drops without a word, without link
	Link        string     // device
	Via         netip.Addr // gateway, may be IPv6 for an IPv4 prefix
	// Hops are several devices instead of one, in the order of their names. Set
	// them with SetHops. One that the kernel has marked as dead is not among
	// them.
	Hops []RouteHop
	// Dead: the kernel keeps devices in it that it makes no use of. Equal takes no
	// notice of it, nor of Written.
	Dead bool
	// Written: a blackhole that this process wrote itself, so that it knows what
	// it was for.
	Written bool
}

// RouteHop is one of the devices of a route that has several.
type RouteHop struct {
	Link string
	Via  netip.Addr // gateway
}

// RouteKey is what makes a route of a table unique for the kernel's exclusive
// add in both families.
type RouteKey struct {
	Table  uint32
	Prefix netip.Prefix
	Metric uint32
}

// Compare orders keys by table, prefix and metric.
func (k RouteKey) Compare(l RouteKey) int {
	return cmp.Or(cmp.Compare(k.Table, l.Table), k.Prefix.Compare(l.Prefix), cmp.Compare(k.Metric, l.Metric))
}

// Key names the route: no table has two of ours with one prefix and metric.
func (r InstalledRoute) Key() RouteKey { return RouteKey{r.Table, r.Prefix, r.Metric} }

// SetHops has a route lead to these devices. It sorts them: which one was named
// first makes no difference.
func (r *InstalledRoute) SetHops(hops []RouteHop) {
	r.Link, r.Via, r.Hops = "", netip.Addr{}, nil
	if len(hops) == 1 {
		r.Link, r.Via = hops[0].Link, hops[0].Via
		return
	}
	slices.SortFunc(hops, func(a, b RouteHop) int {
		return cmp.Or(strings.Compare(a.Link, b.Link), a.Via.Compare(b.Via))
	})
	r.Hops = hops
}

// Equal tells whether two routes are the same to the kernel.
func (r InstalledRoute) Equal(o InstalledRoute) bool {
	return r.Link == o.Link && r.Metric == o.Metric && r.Table == o.Table && r.Prefix == o.Prefix && r.Via == o.Via &&
		r.Unreachable == o.Unreachable && r.Blackhole == o.Blackhole && slices.Equal(r.Hops, o.Hops)
}

// hops are the route's devices, in a list of their own.
func (r InstalledRoute) hops() []RouteHop {
	if len(r.Hops) == 0 {
		return []RouteHop{{r.Link, r.Via}}
	}
	return slices.Clone(r.Hops)
}

// anyLink tells whether one of the route's devices is such.
func (r InstalledRoute) anyLink(is func(link string) bool) bool {
	if len(r.Hops) == 0 {
		return is(r.Link)
	}
	return slices.ContainsFunc(r.Hops, func(h RouteHop) bool { return is(h.Link) })
}

// String is the route as ip(8) would write it.
func (r InstalledRoute) String() string {
	switch {
	case r.Unreachable:
		return fmt.Sprintf("unreachable %s table %d", r.Prefix, r.Table)
	case r.Blackhole:
		over := ""
		if r.Metric == MetricBlackholeOver {
			over = fmt.Sprintf(" metric %d", r.Metric)
		}
		return fmt.Sprintf("blackhole %s table %d%s", r.Prefix, r.Table, over)
	case len(r.Hops) == 0:
		return fmt.Sprintf("%s%s table %d", r.Prefix, RouteHop{r.Link, r.Via}, r.Table)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s table %d", r.Prefix, r.Table)
	for _, h := range r.Hops {
		fmt.Fprintf(&b, " nexthop%s", h)
	}
	return b.String()
}

// String is the device, and the gateway before it, each after a space.
func (h RouteHop) String() string {
	if h.Via.IsValid() {
		return " via " + h.Via.String() + " dev " + h.Link
	}
	return " dev " + h.Link
}
