package bgp

import "net/netip"

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
	const rows = 1024
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
// used as long as nothing better is there. RFC 4724 section 4.2 would have them
// used like any other; but the other planes are there to be used meanwhile.
// Paths that are stale for long already stay so.
func (r *RIB) MarkStale(source int, f Family) *Walk { return r.mark(source, f, cellStale) }

// MarkLongLived keeps the paths of a session whose peer is gone for longer than
// a restart takes: they are used when nothing at all is left (RFC 9494 section
// 4.3). Those that ask for it by NO_LLGR are not kept (section 4.2).
func (r *RIB) MarkLongLived(source int, f Family) *Walk {
	mark := r.mark(source, f, cellStale|cellLong)
	return r.walk([]Family{f}, func(t *table, s *shard, row []uint32) {
		r.strip(t, s, row, source, func(p path) bool { return r.attrs.at(p.attr & cellID).noLongLived })
		mark.visit(t, s, row)
	})
}

// mark sets flags of all paths of a session.
func (r *RIB) mark(source int, f Family, flags uint32) *Walk {
	set := func(word *uint32) {
		if *word&cellStale == 0 {
			r.stale[source][f]++
		}
		*word |= flags
	}
	return r.walk([]Family{f}, func(t *table, s *shard, row []uint32) {
		cell := t.cell(row, source)
		switch {
		case cell[0] == 0:
			return
		case cell[0]&cellMulti != 0:
			list := *r.multi.at(cell[0])
			for i := range list {
				set(&list[i].attr)
			}
		default:
			set(&cell[0])
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

// SweepThrough takes the stale paths of a session out that lead through the
// peer itself, at this address, or that it does not say to have from somebody
// else: what it reflects (RFC 4456) leads through others, and is not touched by
// what became of its own forwarding state.
func (r *RIB) SweepThrough(source int, f Family, peer netip.Addr) *Walk {
	return r.walk([]Family{f}, func(t *table, s *shard, row []uint32) {
		r.strip(t, s, row, source, func(p path) bool {
			a := r.attrs.at(p.attr & cellID)
			return p.attr&cellStale != 0 && (!a.reflected || a.nextHop == peer)
		})
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
		r.forget(t.family, source, cell[0])
		cell[0] = 0
		setPathID(cell, 0)
	}
	r.touch(t, s, row)
}
