package bgp

import (
	"net/netip"

	"github.com/hostroute/hostroute/vrf"
)

// Source is a session that paths come from. Its paths lead out of its uplink.
type Source struct {
	Peer   string // as people know it
	Plane  string
	Uplink string
}

// Config is what a RIB needs to know beforehand.
type Config struct {
	Sources []Source     // the sessions; a session's index here is its number
	Local   []netip.Addr // addresses of ours: a path through one of them is not used
	Seed    [2]uint64    // random, so that nobody can aim at one place of the table
	// MaxNextHops bounds the next hops of one route; 0 means 64. Beyond it the
	// lowest addresses are taken.
	MaxNextHops int
}

// RIB holds the paths of one VRF, see the package comment.
type RIB struct {
	sources []Source
	limit   int
	tables  [2]*table
	attrs   *attrs
	sets    *hopSets
	multi   multiPaths
	paths   [][2]int // per source and family
	stale   [][2]int // of these, how many are kept from a session that fell
	pending int      // rows marked as changed
	failed  int      // rows whose last change was not taken
	cursor  [2]int32 // shard to look at next, per family
	turn    Family   // that goes first

	telling [][2]bool // per source and family: see Telling
	tellers [2]int
	held    [2]int // rows that wait for one of them
	lane    lane

	chosen  chooser
	members []vrf.NextHop

	watched map[watchKey]bool
	owed    map[watchKey]bool // of these, those that AppendChanges has not decided
	noticed bool
	handed  []netip.Prefix
}

const (
	// A cell's first word is the id of its attributes, or the number of a side
	// list, or 0 for no path; its second, if any, the path identifier.
	cellMulti = 1 << 31
	cellStale = 1 << 30 // kept from a session that fell
	cellLong  = 1 << 29 // and for long: RFC 9494
	cellID    = cellLong - 1

	// unknown stands as installed where the writer did not say whether the
	// last change was taken.
	unknown = 1<<(32-metaBits) - 1
)

// NewRIB makes an empty RIB.
func NewRIB(c Config) *RIB {
	r := &RIB{
		sources: c.Sources, limit: c.MaxNextHops, attrs: newAttrs(c.Local), sets: newHopSets(),
		paths: make([][2]int, len(c.Sources)), stale: make([][2]int, len(c.Sources)),
		telling: make([][2]bool, len(c.Sources)), lane: lane{few: laneFew},
	}
	if r.limit == 0 {
		r.limit = 64
	}
	for _, f := range Families {
		r.tables[f] = newTable(f, len(c.Sources), c.Seed)
	}
	return r
}

// AddLocal names another address of ours, before any path through it arrives.
func (r *RIB) AddLocal(a netip.Addr) { r.attrs.local[a.Unmap()] = true }

// Update applies a message of a session.
func (r *RIB) Update(source int, u *Update) {
	r.lane.enter(u)
	defer r.lane.leave()
	for _, s := range u.unreach {
		r.tables[s.family].warm(s.nlri)
		for i := range s.nlri {
			r.remove(s.family, source, &s.nlri[i])
		}
	}
	for _, s := range u.reach {
		r.tables[s.family].warm(s.nlri)
		if u.Withdraw {
			for i := range s.nlri {
				r.remove(s.family, source, &s.nlri[i])
			}
			continue
		}
		id := r.attrs.intern(&u.Attributes, s.family, s.nextHop)
		for i := range s.nlri {
			if s.nlri[i].routable(s.family) {
				r.add(s.family, source, &s.nlri[i], id)
			}
		}
		r.attrs.release(id)
	}
}

// Paths counts the paths of a session in a family.
func (r *RIB) Paths(source int, f Family) int { return r.paths[source][f] }

// Stale counts those of them that are kept from a session that fell.
func (r *RIB) Stale(source int, f Family) int { return r.stale[source][f] }

// Prefixes counts the prefixes of a family, those included whose removal has
// not been taken yet.
func (r *RIB) Prefixes(f Family) int { return r.tables[f].used }

// Pending counts the prefixes that wait for AppendChanges, or for a session before
// that.
func (r *RIB) Pending() int { return r.pending + r.held[IPv4] + r.held[IPv6] }

// Failed counts the prefixes whose last change was given to Redo.
func (r *RIB) Failed() int { return r.failed }

func (r *RIB) touch(t *table, s *shard, row []uint32) {
	if len(r.watched) > 0 {
		r.notice(t, row)
	}
	if r.holds(t, row) {
		r.hold(t, row)
		return
	}
	r.release(t, row)
	if t.touch(s, row) {
		r.pending++
	}
	r.lane.note(t, row)
}

// add puts a path in, in place of the one of that session and identifier.
func (r *RIB) add(f Family, source int, n *nlri, id uint32) {
	t := r.tables[f]
	if n.id != 0 {
		t.widen()
	}
	s, row := t.put(&n.key)
	cell := t.cell(row, source)
	switch {
	case cell[0] == 0:
		cell[0] = id
		setPathID(cell, n.id)
		r.paths[source][f]++
	case cell[0]&cellMulti != 0:
		list := r.multi.at(cell[0])
		if old := list.find(n.id); old != nil {
			r.forget(f, source, old.attr)
			old.attr = id
		} else {
			*list = append(*list, path{id, n.id})
		}
		r.paths[source][f]++
	case pathID(cell) == n.id:
		if cell[0] == id {
			return
		}
		r.forget(f, source, cell[0])
		cell[0] = id
		r.paths[source][f]++
	default:
		cell[0] = r.multi.make(path{cell[0], pathID(cell)}, path{id, n.id})
		setPathID(cell, 0)
		r.paths[source][f]++
	}
	r.attrs.at(id).refs++
	r.touch(t, s, row)
}

// remove takes a path out, if it is there.
func (r *RIB) remove(f Family, source int, n *nlri) {
	t := r.tables[f]
	s, row := t.get(&n.key)
	if row == nil {
		return
	}
	cell := t.cell(row, source)
	switch {
	case cell[0] == 0:
		return
	case cell[0]&cellMulti != 0:
		if !r.removeMulti(cell, func(p path) bool { return p.id == n.id }, f, source) {
			return
		}
	case pathID(cell) != n.id:
		return
	default:
		r.forget(f, source, cell[0])
		cell[0] = 0
		setPathID(cell, 0)
	}
	r.touch(t, s, row)
}

// forget lets go of a path: its word in a cell or list is overwritten next.
func (r *RIB) forget(f Family, source int, word uint32) {
	r.attrs.release(word & cellID)
	r.paths[source][f]--
	if word&cellStale != 0 {
		r.stale[source][f]--
	}
}

// removeMulti takes paths out of the side list of a cell, which ends when a
// single path is left.
func (r *RIB) removeMulti(cell []uint32, which func(path) bool, f Family, source int) (any bool) {
	list := r.multi.at(cell[0])
	kept := (*list)[:0]
	for _, p := range *list {
		if which(p) {
			r.forget(f, source, p.attr)
			any = true
		} else {
			kept = append(kept, p)
		}
	}
	*list = kept
	if len(kept) > 1 {
		return any
	}
	number := cell[0]
	cell[0] = 0
	if len(kept) == 1 {
		cell[0] = kept[0].attr
		setPathID(cell, kept[0].id)
	}
	r.multi.drop(number)
	return any
}

func pathID(cell []uint32) uint32 {
	if len(cell) == 1 {
		return 0
	}
	return cell[1]
}

func setPathID(cell []uint32, id uint32) {
	if len(cell) == 2 {
		cell[1] = id
	}
}

// path is one of several paths of a session: attributes, with the flags of
// staleness, and the path identifier.
type path struct{ attr, id uint32 }

type pathList []path

func (l pathList) find(id uint32) *path {
	for i := range l {
		if l[i].id == id {
			return &l[i]
		}
	}
	return nil
}

// multiPaths holds the side lists: few, since few prefixes have several paths
// from one session.
type multiPaths struct {
	lists []pathList
	free  []uint32
}

func (m *multiPaths) at(cell uint32) *pathList { return &m.lists[cell&cellID] }

func (m *multiPaths) make(paths ...path) (cell uint32) {
	if n := len(m.free); n > 0 {
		i := m.free[n-1]
		m.free = m.free[:n-1]
		m.lists[i] = paths
		return i | cellMulti
	}
	m.lists = append(m.lists, paths)
	return uint32(len(m.lists)-1) | cellMulti
}

func (m *multiPaths) drop(cell uint32) {
	m.lists[cell&cellID] = nil
	m.free = append(m.free, cell&cellID)
}
