package bgp

import (
	"net/netip"
)

// Best is what is known of a prefix that is watched.
type Best struct {
	// Preference is the LOCAL_PREF of the paths that are used.
	Preference uint32
	// Highest is the highest LOCAL_PREF of any path, used or not: of one that is
	// stale for long, whose home may be out of reach, others are used first.
	Highest uint32
	// Originator is the router from which the path with the highest LOCAL_PREF
	// comes, as the reflector says (ORIGINATOR_ID, RFC 4456 section 8), else its
	// next hop.
	Originator netip.Addr
	// Settled is set when the writer was handed this, and owes nothing of it.
	Settled bool
}

// watchKey tells the families apart, of which short prefixes look alike.
type watchKey struct {
	family Family
	key
}

// Watch names the prefixes of which Noticed and Handed tell, in place of those
// before. With none, watching costs nothing; with any, one look into a map per
// changed path.
func (r *RIB) Watch(prefixes []netip.Prefix) {
	if len(prefixes) == 0 {
		r.watched, r.owed = nil, nil
		return
	}
	r.watched, r.owed = make(map[watchKey]bool, len(prefixes)), map[watchKey]bool{}
	r.WatchAlso(prefixes)
}

// WatchAlso adds to the prefixes that are watched, at the cost of these alone.
func (r *RIB) WatchAlso(prefixes []netip.Prefix) {
	if r.watched == nil && len(prefixes) > 0 {
		r.watched, r.owed = map[watchKey]bool{}, map[watchKey]bool{}
	}
	for _, p := range prefixes {
		k := watchKey{FamilyOf(p), keyOf(p)}
		r.watched[k] = true
		t := r.tables[k.family]
		if _, row := t.get(&k.key); row != nil && row[t.words]&(metaDirty|metaHeld) != 0 {
			r.owed[k] = true
		}
	}
}

// notice notes that a path of a row changed.
func (r *RIB) notice(t *table, row []uint32) {
	k := watchKey{t.family, t.rowKey(row)}
	if r.watched[k] {
		r.owed[k] = true
		r.noticed = true
	}
}

// Noticed tells whether a path of a watched prefix has changed since the last call.
func (r *RIB) Noticed() bool {
	noticed := r.noticed
	r.noticed = false
	return noticed
}

// Handed gives the watched prefixes that AppendChanges decided since the last
// call, whether their next hops changed or not. The slice is the caller's.
func (r *RIB) Handed() []netip.Prefix {
	handed := r.handed
	r.handed = nil
	return handed
}

// decided notes that a row is no longer owed to the writer.
func (r *RIB) decided(t *table, row []uint32) {
	k := watchKey{t.family, t.rowKey(row)}
	if r.owed[k] {
		delete(r.owed, k)
		r.handed = append(r.handed, k.key.prefix(t.family))
	}
}

// Best gives the best paths of exactly this prefix; false: there is none that can
// be used.
func (r *RIB) Best(p netip.Prefix) (Best, bool) {
	f, k := FamilyOf(p), keyOf(p)
	t := r.tables[f]
	_, row := t.get(&k)
	if row == nil {
		return Best{}, false
	}
	var best, highest *attr
	var bestAge staleness
	r.eachPath(t, row, func(_ int, p path) {
		a := r.attrs.at(p.attr & cellID)
		if !a.usable {
			return
		}
		if age := p.staleness(a); best == nil || rank(a, age, best, bestAge) < 0 {
			best, bestAge = a, age
		}
		if highest == nil || a.localPref > highest.localPref {
			highest = a
		}
	})
	if best == nil {
		return Best{}, false
	}
	described := describe(highest)
	b := Best{Preference: best.localPref, Highest: highest.localPref, Originator: described.Originator}
	if !b.Originator.IsValid() {
		b.Originator = described.NextHop
	}
	b.Settled = row[t.words]&(metaDirty|metaHeld) == 0 && t.installed(row) != unknown
	return b, true
}
