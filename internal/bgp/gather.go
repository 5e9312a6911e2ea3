package bgp

// While several sessions tell their tables at once, as when an agent starts, a
// new prefix waits for those that have not told it yet: it is written with all
// its next hops then, and not once for each session. That waits for the slowest
// only as long as it goes on telling, which is for package session to know.

// Telling says that a session begins to tell a family: what is new in it waits for
// this session, too. A session alone holds nothing up.
func (r *RIB) Telling(source int, f Family) {
	if !r.telling[source][f] {
		r.telling[source][f] = true
		r.tellers[f]++
	}
}

// Gathering tells whether anything may wait for a session.
func (r *RIB) Gathering() bool { return r.tellers[IPv4] > 0 || r.tellers[IPv6] > 0 }

// Told says that a session has told all of a family, or fell, or rests: nothing
// waits for it any more. When there is but one left, what waited is due.
func (r *RIB) Told(source int, f Family) *Walk {
	if r.telling[source][f] {
		r.telling[source][f] = false
		r.tellers[f]--
	}
	if r.tellers[f] > 1 || r.held[f] == 0 {
		return &Walk{}
	}
	return r.walk([]Family{f}, func(t *table, s *shard, row []uint32) {
		if row[t.words]&metaHeld != 0 {
			r.touch(t, s, row)
		}
	})
}

// holds tells whether a row waits for a session: it was never written, somebody
// has told it, and somebody who is telling has not.
func (r *RIB) holds(t *table, row []uint32) bool {
	if r.tellers[t.family] < 2 || row[t.words]&metaDirty != 0 || t.installed(row) != 0 {
		return false
	}
	told, missing := false, false
	for source := range r.sources {
		has := t.cell(row, source)[0] != 0
		told = told || has
		missing = missing || !has && r.telling[source][t.family]
	}
	return told && missing
}

// hold has a row wait.
func (r *RIB) hold(t *table, row []uint32) {
	if row[t.words]&metaHeld == 0 {
		row[t.words] |= metaHeld
		r.held[t.family]++
	}
}

// release ends that.
func (r *RIB) release(t *table, row []uint32) {
	if row[t.words]&metaHeld != 0 {
		row[t.words] &^= metaHeld
		r.held[t.family]--
	}
}
