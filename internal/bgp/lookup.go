package bgp

import (
	"encoding/binary"
	"net/netip"

	"github.com/hostroute/hostroute/vrf"
)

// Route is what is known of a prefix, for people to read.
type Route struct {
	Prefix netip.Prefix
	// NextHops is what was handed to the writer last.
	NextHops []vrf.NextHop
	// Pending is set while a change waits for the writer, Failed while the
	// writer owes one that it could not write.
	Pending, Failed bool
	Paths           []Path
}

// Path is one path of a prefix.
type Path struct {
	Source
	ID               uint32 // path identifier (RFC 7911), 0 without add-path
	NextHop          netip.Addr
	LocalPref, MED   uint32
	Origin           string // IGP, EGP or incomplete
	ASPath           string
	Originator       netip.Addr // of a reflected path, invalid otherwise
	Communities      []uint32
	LargeCommunities [][3]uint32
	// Stale is set of a path that is kept from a session that fell, LongLived
	// of one that is so for longer than a restart takes, be it here or where
	// the path comes from: it has the community LLGR_STALE (RFC 9494).
	Stale, LongLived bool
	Chosen           bool
	Unusable         bool // its next hop can't be used
}

// Lookup gives the route of exactly this prefix.
func (r *RIB) Lookup(p netip.Prefix) (Route, bool) {
	f, k := FamilyOf(p), keyOf(p)
	_, row := r.tables[f].get(&k)
	if row == nil {
		return Route{}, false
	}
	return r.route(r.tables[f], row), true
}

// Match gives the route that an address takes: the longest prefix with a path
// that holds it.
func (r *RIB) Match(a netip.Addr) (Route, bool) {
	a = a.Unmap()
	for n := a.BitLen(); n >= 0; n-- {
		if route, ok := r.Lookup(netip.PrefixFrom(a, n)); ok && len(route.Paths) > 0 {
			return route, true
		}
	}
	return Route{}, false
}

// Routes appends the routes of one of the [Parts] of the tables, in no order.
func (r *RIB) Routes(dst []Route, f Family, part int) []Route {
	t := r.tables[f]
	s := &t.shards[part]
	for i := range t.capacity(s) {
		if row := t.row(s, i); row[t.words] != 0 {
			dst = append(dst, r.route(t, row))
		}
	}
	return dst
}

// Parts is the number of parts in which Routes gives a table.
const Parts = shardCount

func (r *RIB) route(t *table, row []uint32) Route {
	route := Route{Prefix: t.rowKey(row).prefix(t.family), Pending: row[t.words]&(metaDirty|metaHeld) != 0}
	if installed := t.installed(row); installed == unknown {
		route.Failed = true
	} else {
		route.NextHops = r.sets.list[installed].hops
	}
	var best *attr
	var bestAge staleness
	r.eachPath(t, row, func(_ int, p path) {
		a := r.attrs.at(p.attr & cellID)
		if age := p.staleness(a); a.usable && (best == nil || rank(a, age, best, bestAge) < 0) {
			best, bestAge = a, age
		}
	})
	r.eachPath(t, row, func(source int, p path) {
		a := r.attrs.at(p.attr & cellID)
		age, described := p.staleness(a), describe(a)
		described.Source, described.ID = r.sources[source], p.id
		described.Stale, described.LongLived = p.attr&cellStale != 0, age == longStale
		if age == longStale && !a.longLived {
			described.Communities = append(described.Communities, CommunityLongLivedStale)
		}
		described.Chosen = a.usable && rank(a, age, best, bestAge) == 0
		route.Paths = append(route.Paths, described)
	})
	return route
}

func describe(a *attr) Path {
	d := decodeAttrKey(a.key)
	p := Path{
		NextHop: a.nextHop, LocalPref: d.localPref, MED: d.med, ASPath: formatASPath(d.asPath),
		Origin: [...]string{"IGP", "EGP", "incomplete"}[d.origin], Unusable: !a.usable,
	}
	if d.originator != 0 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], d.originator)
		p.Originator = netip.AddrFrom4(b)
	}
	for b := d.communities; len(b) > 0; b = b[4:] {
		p.Communities = append(p.Communities, binary.BigEndian.Uint32(b))
	}
	for b := d.large; len(b) > 0; b = b[12:] {
		p.LargeCommunities = append(p.LargeCommunities, [3]uint32{
			binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]),
		})
	}
	return p
}
