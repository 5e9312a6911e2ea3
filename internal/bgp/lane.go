package bgp

import "github.com/hostroute/hostroute/vrf"

// What few routes a message changes is decided before what waits already: behind a
// session that fell, or one that tells its table, there are millions, and a guest
// that moved meanwhile must not wait for these. The lane is short, so that
// a table that is told route by route, which fills it, goes on as it would without;
// what finds no place in it waits its turn.
type lane struct {
	few  int // a message with more prefixes than this is part of a table
	open bool
	keys [laneLength]watchKey
	used int
}

const (
	laneLength = 64
	laneFew    = 8
)

// enter opens the lane to what a message changes, if that is few.
func (l *lane) enter(u *Update) {
	announced, withdrawn := u.Prefixes()
	l.open = announced+withdrawn <= l.few
}

func (l *lane) leave() { l.open = false }

// note has a row go first.
func (l *lane) note(t *table, row []uint32) {
	if l.open && l.used < laneLength {
		l.keys[l.used] = watchKey{t.family, t.rowKey(row)}
		l.used++
	}
}

// laneChanges decides what is in the lane.
func (r *RIB) laneChanges(dst []vrf.Change, end int) []vrf.Change {
	l, done := &r.lane, 0
	for ; done < l.used && len(dst) < end; done++ {
		k := &l.keys[done]
		t := r.tables[k.family]
		s, row := t.get(&k.key)
		if row == nil || row[t.words]&metaDirty == 0 {
			continue // decided meanwhile
		}
		dst = r.rowChange(dst, t, s, row)
		if t.empty(row) {
			i, _ := t.find(s, t.hash(&k.key), &k.key)
			t.remove(s, i)
		}
		if s.dirty == 0 {
			t.shrink(s)
		}
	}
	l.used = copy(l.keys[:], l.keys[done:l.used])
	return dst
}
