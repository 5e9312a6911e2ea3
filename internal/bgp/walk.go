package bgp

// Walk is work on many rows, done in steps of a fraction of a millisecond,
// between which the RIB may be used for anything else. What arrives between
// two steps is walked over or not: Drop and Sweep of a session must be done
// before the session applies updates of a new connection, respectively
// anything behind the End-of-RIB.
type Walk struct {
	r        *RIB
	families []Family
	visit    func(*table, *shard, []uint32)
	shard    int
}

func (r *RIB) walk(families []Family, visit func(*table, *shard, []uint32)) *Walk {
	return &Walk{r: r, families: families, visit: visit}
}

// Step does the next part and tells whether there is more to do.
func (w *Walk) Step() (more bool) {
	const rows = 4096
	for seen := 0; seen < rows; {
		if len(w.families) == 0 {
			return false
		}
		t := w.r.tables[w.families[0]]
		s := &t.shards[w.shard]
		for i := range t.capacity(s) {
			if row := t.row(s, i); row[t.words] != 0 {
				w.visit(t, s, row)
			}
		}
		seen += t.capacity(s) + 1
		if w.shard++; w.shard == shardCount {
			w.shard, w.families = 0, w.families[1:]
		}
	}
	return true
}

// Run takes all steps at once.
func (w *Walk) Run() {
	for w.Step() {
	}
}

// Drop takes all paths of a session out.
func (r *RIB) Drop(source int) *Walk {
	return r.walk(Families[:], func(t *table, s *shard, row []uint32) {
		r.strip(t, s, row, source, func(path) bool { return true })
	})
}

// DropFamily takes all paths of one family of a session out.
func (r *RIB) DropFamily(source int, f Family) *Walk {
	return r.walk([]Family{f}, func(t *table, s *shard, row []uint32) {
		r.strip(t, s, row, source, func(path) bool { return true })
	})
}

// MarkStale keeps the paths of a session whose peer is restarting: they are
// used as long as nothing better is there (RFC 4724 section 4.2).
func (r *RIB) MarkStale(source int, f Family) *Walk {
	return r.walk([]Family{f}, func(t *table, s *shard, row []uint32) {
		cell := t.cell(row, source)
		switch {
		case cell[0] == 0:
			return
		case cell[0]&cellMulti != 0:
			list := *r.multi.at(cell[0])
			for i := range list {
				list[i].attr |= cellStale
			}
		default:
			cell[0] |= cellStale
		}
		r.touch(t, s, row)
	})
}

// Sweep takes the paths of a session out that are still stale.
func (r *RIB) Sweep(source int, f Family) *Walk {
	return r.walk([]Family{f}, func(t *table, s *shard, row []uint32) {
		r.strip(t, s, row, source, func(p path) bool { return p.attr&cellStale != 0 })
	})
}

// strip takes those paths of a session out of a row.
func (r *RIB) strip(t *table, s *shard, row []uint32, source int, which func(path) bool) {
	cell := t.cell(row, source)
	switch {
	case cell[0] == 0:
		return
	case cell[0]&cellMulti != 0:
		if !r.removeMulti(cell, which, t.family, source) {
			return
		}
	case !which(path{cell[0], pathID(cell)}):
		return
	default:
		r.attrs.release(cell[0] & cellID)
		cell[0] = 0
		setPathID(cell, 0)
		r.paths[source][t.family]--
	}
	r.touch(t, s, row)
}
