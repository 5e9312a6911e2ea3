package bgp

// chooser remembers which set of next hops the cells of a row come to. A table has
// millions of rows, and a few of these for each hypervisor.
type chooser struct{ places []chosen }

// chosen is one such result. It holds as long as none of the attributes and not the
// set has gone since, of which their ages tell.
type chosen struct {
	cells, ages [maxRemembered]uint32
	set, age    uint32
}

const (
	// maxRemembered is the number of sessions up to which results are remembered.
	maxRemembered = 4
	fewestPlaces  = 16
	mostPlaces    = 1 << 15
)

// choose gives the set of next hops of a row, with a reference to it.
func (r *RIB) choose(t *table, row []uint32) uint32 {
	var c chosen
	place := r.place(t, row, &c)
	if place == nil {
		return r.sets.intern(r.best(t, row), r.limit)
	}
	if place.cells == c.cells && place.ages == c.ages && r.sets.list[place.set].age == place.age {
		r.sets.list[place.set].refs++
		return place.set
	}
	c.set = r.sets.intern(r.best(t, row), r.limit)
	c.age = r.sets.list[c.set].age
	if *place = c; len(r.chosen.places) < min(2*len(r.sets.list), mostPlaces) {
		r.chosen.places = make([]chosen, 2*len(r.chosen.places))
	}
	return c.set
}

// place reads what the result depends on, and gives the place where it would be, or nil
// if it is not remembered.
func (r *RIB) place(t *table, row []uint32, c *chosen) *chosen {
	cells := row[t.words+1:]
	if t.width > 1 || len(cells) > maxRemembered {
		return nil
	}
	hash := uint64(0)
	for i, word := range cells {
		if word&cellMulti != 0 {
			return nil
		}
		c.cells[i], c.ages[i] = word, r.attrs.ages[word&cellID]
		hash = (hash ^ uint64(word)) * 0x9e3779b97f4a7c15
	}
	if r.chosen.places == nil {
		r.chosen.places = make([]chosen, fewestPlaces)
	}
	return &r.chosen.places[hash>>32&uint64(len(r.chosen.places)-1)]
}
