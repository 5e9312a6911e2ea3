package bgp

import "github.com/hostroute/hostroute/vrf"

// AppendChanges decides changed prefixes and appends those whose next hops are
// not what was handed out last, until n were appended or none is left: first those
// that were changed alone, then one part of the table after the other. What it
// appends counts as written until Redo takes it back.
func (r *RIB) AppendChanges(dst []vrf.Change, n int) []vrf.Change {
	r.turn ^= 1 // so that neither family waits for the other
	end := len(dst) + n
	dst = r.laneChanges(dst, end)
	for _, f := range [...]Family{r.turn, r.turn ^ 1} {
		t := r.tables[f]
		for len(dst) < end {
			s := t.nextDirty(r.cursor[f])
			if s == nil {
				break
			}
			dst = r.shardChanges(dst, t, s, end)
			if r.cursor[f] = s.index; s.dirty == 0 {
				r.cursor[f] = (s.index + 1) % shardCount
			}
		}
	}
	return dst
}

func (r *RIB) shardChanges(dst []vrf.Change, t *table, s *shard, end int) []vrf.Change {
	for i := 0; i < t.capacity(s) && s.dirty > 0 && len(dst) < end; {
		row := t.row(s, i)
		if row[t.words]&metaDirty == 0 {
			i++
			continue
		}
		dst = r.rowChange(dst, t, s, row)
		if t.empty(row) {
			t.remove(s, i) // another row may stand here now
		} else {
			i++
		}
	}
	if s.dirty == 0 {
		t.shrink(s)
	}
	return dst
}

// rowChange decides a changed row and appends what came of it.
func (r *RIB) rowChange(dst []vrf.Change, t *table, s *shard, row []uint32) []vrf.Change {
	t.clean(s, row)
	r.pending--
	if len(r.owed) > 0 {
		r.decided(t, row)
	}
	if set, changed := r.decide(t, row); changed {
		dst = append(dst, vrf.Change{Prefix: t.rowKey(row).prefix(t.family), NextHops: r.sets.list[set].hops})
	}
	return dst
}

// decide computes the next hops of a row and stores them as installed.
func (r *RIB) decide(t *table, row []uint32) (set uint32, changed bool) {
	set = r.choose(t, row)
	switch installed := t.installed(row); installed {
	case set:
		r.sets.release(set) // the reference that choose took
		return set, false
	case unknown:
		r.failed--
	default:
		r.sets.release(installed)
	}
	t.install(row, set)
	return set, true
}

// best gathers the next hops of all paths that are equally best.
func (r *RIB) best(t *table, row []uint32) []vrf.NextHop {
	r.members = r.members[:0]
	var top *attr
	var topAge staleness
	r.eachPath(t, row, func(source int, p path) {
		a := r.attrs.at(p.attr & cellID)
		age := p.staleness(a)
		if !a.usable {
			return
		}
		if top != nil {
			order := rank(a, age, top, topAge)
			if order > 0 {
				return
			}
			if order < 0 {
				r.members = r.members[:0]
			}
		}
		top, topAge = a, age
		r.members = append(r.members, vrf.NextHop{Gateway: a.nextHop, Uplink: r.sources[source].Uplink})
	})
	return r.members
}

// eachPath visits the paths of a row by session.
func (r *RIB) eachPath(t *table, row []uint32, visit func(source int, p path)) {
	for source := range r.sources {
		cell := t.cell(row, source)
		switch {
		case cell[0] == 0:
		case cell[0]&cellMulti != 0:
			for _, p := range *r.multi.at(cell[0]) {
				visit(source, p)
			}
		default:
			visit(source, path{cell[0], pathID(cell)})
		}
	}
}

// staleness is how much a path is to be doubted.
type staleness uint8

const (
	fresh     staleness = iota
	stale               // of a session whose peer may be restarting
	longStale           // of one that is gone for longer, here or where the path comes from
)

func (p path) staleness(a *attr) staleness {
	switch {
	case p.attr&cellLong != 0 || a.longLived:
		return longStale
	case p.attr&cellStale != 0:
		return stale
	}
	return fresh
}

// rank orders two paths, the better one first (RFC 4271 section 9.1.2.2 up to
// MED; RFC 9494 section 4.3 for those that are stale for long). 0 means that both
// are used. LOCAL_PREF comes before the doubt about a peer that restarts: the
// newer home of a guest must not lose against an older one for that.
func rank(a *attr, aAge staleness, b *attr, bAge staleness) int {
	switch {
	case (aAge == longStale) != (bAge == longStale):
		return less(bAge == longStale)
	case a.localPref != b.localPref:
		return less(a.localPref > b.localPref)
	case aAge != bAge:
		return less(aAge < bAge)
	case a.length != b.length:
		return less(a.length < b.length)
	case a.origin != b.origin:
		return less(a.origin < b.origin)
	case a.med != b.med:
		return less(a.med < b.med)
	}
	return 0
}

func less(yes bool) int {
	if yes {
		return -1
	}
	return 1
}

// Redo takes changes back that the writer could not write, or does not know to
// have written. They stay on record until Retry, or an update of the prefix,
// offers it again.
func (r *RIB) Redo(changes []vrf.Change) {
	for _, c := range changes {
		f, k := FamilyOf(c.Prefix), keyOf(c.Prefix)
		t := r.tables[f]
		_, row := t.put(&k)
		if installed := t.installed(row); installed != unknown {
			r.sets.release(installed)
			t.install(row, unknown)
			r.failed++
		}
	}
}

// Retry offers again what Redo took back.
func (r *RIB) Retry() *Walk {
	if r.failed == 0 {
		return &Walk{}
	}
	return r.walk(Families[:], func(t *table, s *shard, row []uint32) {
		if t.installed(row) == unknown {
			r.touch(t, s, row)
		}
	})
}
