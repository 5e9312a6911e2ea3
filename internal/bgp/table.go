package bgp

import (
	"math/bits"
	"slices"
)

// A table is a hash table from prefixes to rows of 32-bit words:
//
//	address (1 or 4 words) | meta | a cell per session …
//
// It is cut into shards that grow one at a time and by little, so that neither
// the pause nor the memory of a growing table is ever that of the whole.
// Within a shard rows are found by linear probing from a place that the hash
// gives; a row that goes closes its gap, so that there are no tombstones.
type table struct {
	family Family
	words  int // of the address
	cells  int // number of sessions
	width  int // words of a cell: 1, or 2 with path identifiers
	stride int
	seed   [2]uint64
	used   int
	warmed uint32 // of no meaning; see warm
	shards [shardCount]shard
	dirty  [shardCount / 64]uint64 // a bit per shard with rows that have changed
}

type shard struct {
	rows  []uint32
	size  int32 // how many rows there is room for
	index int32
	used  int32
	dirty int32 // rows that have changed
}

const (
	// So many shards that scanning one for the rows that have changed costs
	// little even in a full table.
	shardBits  = 12
	shardCount = 1 << shardBits
	firstRows  = 8

	// The meta word of a row that exists is its prefix length + 1, and flags: it
	// waits for the writer, or it waits for a session before that. Above them is the
	// set of next hops that is installed.
	metaLength = 0xff
	metaDirty  = 0x100
	metaHeld   = 0x200
	metaBits   = 10
	metaMask   = 1<<metaBits - 1
)

func newTable(f Family, cells int, seed [2]uint64) *table {
	t := &table{family: f, words: f.words(), cells: cells, seed: seed}
	for i := range t.shards {
		t.shards[i].index = int32(i)
	}
	t.setWidth(1)
	return t
}

func (t *table) setWidth(width int) {
	t.width = width
	t.stride = t.words + 1 + t.cells*width
}

// hash mixes well enough that sequential addresses spread like random ones,
// and with a seed that nobody outside knows.
func (t *table) hash(k *key) uint64 {
	const a, b = 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93
	hi, lo := bits.Mul64(uint64(k.w[0])<<32|uint64(k.w[1])^t.seed[0]^a, uint64(k.w[2])<<32|uint64(k.w[3])^t.seed[1]^b)
	hi, lo = bits.Mul64(hi^lo^t.seed[0], uint64(k.n)^t.seed[1]^b)
	return hi ^ lo
}

func (t *table) capacity(s *shard) int { return int(s.size) }

func (t *table) row(s *shard, i int) []uint32 {
	return s.rows[i*t.stride : (i+1)*t.stride : (i+1)*t.stride]
}

// rowKey reads the key of a row that exists.
func (t *table) rowKey(row []uint32) key {
	k := key{n: uint8(row[t.words]&metaLength) - 1}
	copy(k.w[:], row[:t.words])
	return k
}

func home(hash uint64, capacity int) int {
	return int(uint64(uint32(hash)) * uint64(capacity) >> 32)
}

// find gives the place of a key: where it is, or the free row where it goes.
func (t *table) find(s *shard, hash uint64, k *key) (place int, ok bool) {
	n := t.capacity(s)
	if n == 0 {
		return 0, false
	}
	for i := home(hash, n); ; i++ {
		if i == n {
			i = 0
		}
		row := s.rows[i*t.stride : (i+1)*t.stride]
		meta := row[t.words]
		if meta == 0 {
			return i, false
		}
		if uint8(meta&metaLength)-1 == k.n && row[0] == k.w[0] &&
			(t.words == 1 || row[1] == k.w[1] && row[2] == k.w[2] && row[3] == k.w[3]) {
			return i, true
		}
	}
}

// warm reads where the rows of many keys are. The reads don't depend on each other, so
// the memory works on many at a time, and the rows are near when each is looked for.
func (t *table) warm(list []nlri) {
	if len(list) < 4 {
		return
	}
	for i := range list {
		h := t.hash(&list[i].key)
		if s := &t.shards[h>>(64-shardBits)]; s.size > 0 {
			t.warmed += s.rows[home(h, int(s.size))*t.stride]
		}
	}
}

// get gives the row of a key, or nil.
func (t *table) get(k *key) (*shard, []uint32) {
	h := t.hash(k)
	s := &t.shards[h>>(64-shardBits)]
	if i, ok := t.find(s, h, k); ok {
		return s, t.row(s, i)
	}
	return s, nil
}

// put gives the row of a key, made if need be.
func (t *table) put(k *key) (*shard, []uint32) {
	h := t.hash(k)
	s := &t.shards[h>>(64-shardBits)]
	i, ok := t.find(s, h, k)
	if ok {
		return s, t.row(s, i)
	}
	if n := t.capacity(s); int(s.used)+1 > n-n/8 {
		t.resize(s, larger(s))
		i, _ = t.find(s, h, k)
	}
	row := t.row(s, i)
	copy(row, k.w[:t.words])
	row[t.words] = uint32(k.n) + 1
	s.used++
	t.used++
	return s, row
}

// larger gives the size to grow to: by a part that differs from shard to shard, or
// all would be at their emptiest at once.
func larger(s *shard) int {
	n := int(s.size)
	return max(firstRows, n+n/16+n*int(s.index%8)/64+2)
}

// resize gives a shard room for n rows, or some more: as many as fit into the memory
// that is taken for n.
func (t *table) resize(s *shard, n int) {
	old := s.rows
	s.rows = slices.Grow([]uint32(nil), n*t.stride)
	s.size = int32(cap(s.rows) / t.stride)
	s.rows = s.rows[:int(s.size)*t.stride]
	clear(s.rows)
	for ; len(old) > 0; old = old[t.stride:] {
		if old[t.words] != 0 {
			t.place(s, old[:t.stride])
		}
	}
}

func (t *table) place(s *shard, row []uint32) {
	k := t.rowKey(row)
	i, _ := t.find(s, t.hash(&k), &k)
	copy(t.row(s, i), row)
}

// remove takes the row at a place out and closes the gap. Rows only ever move
// back towards the gap: who scans upwards and looks at this place once more
// misses none.
func (t *table) remove(s *shard, gap int) {
	n := t.capacity(s)
	t.clean(s, t.row(s, gap))
	for i := gap; ; {
		if i++; i == n {
			i = 0
		}
		row := t.row(s, i)
		if row[t.words] == 0 {
			break
		}
		k := t.rowKey(row)
		if h := home(t.hash(&k), n); (i-h+n)%n >= (i-gap+n)%n {
			copy(t.row(s, gap), row)
			gap = i
		}
	}
	clear(t.row(s, gap))
	s.used--
	t.used--
}

// shrink gives memory back after many rows went.
func (t *table) shrink(s *shard) {
	n := t.capacity(s)
	switch {
	case s.used == 0 && n > 0:
		s.rows, s.size = nil, 0
	case n > 4*firstRows && int(s.used) < n/4:
		t.resize(s, int(s.used)*3/2+firstRows)
	}
}

// widen gives every cell room for a path identifier.
func (t *table) widen() {
	if t.width == 2 {
		return
	}
	narrow, from := t.stride, t.words+1
	t.setWidth(2)
	for i := range t.shards {
		s := &t.shards[i]
		n := t.capacity(s)
		rows := make([]uint32, n*t.stride)
		for j := range n {
			old, row := s.rows[j*narrow:(j+1)*narrow], rows[j*t.stride:]
			copy(row, old[:from])
			for c := range t.cells {
				row[from+2*c] = old[from+c]
			}
		}
		if n > 0 {
			s.rows = rows
		}
	}
}

// touch marks a row as changed, and tells whether it was not before.
func (t *table) touch(s *shard, row []uint32) bool {
	if row[t.words]&metaDirty != 0 {
		return false
	}
	row[t.words] |= metaDirty
	s.dirty++
	t.dirty[s.index/64] |= 1 << (s.index % 64)
	return true
}

// clean takes the mark away.
func (t *table) clean(s *shard, row []uint32) {
	if row[t.words]&metaDirty == 0 {
		return
	}
	row[t.words] &^= metaDirty
	if s.dirty--; s.dirty == 0 {
		t.dirty[s.index/64] &^= 1 << (s.index % 64)
	}
}

// nextDirty gives the first shard with changed rows from a place on, or nil.
func (t *table) nextDirty(from int32) *shard {
	word, mask := from/64, ^uint64(0)<<(from%64)
	for range len(t.dirty) + 1 {
		if set := t.dirty[word] & mask; set != 0 {
			return &t.shards[int(word)*64+bits.TrailingZeros64(set)]
		}
		word, mask = (word+1)%int32(len(t.dirty)), ^uint64(0)
	}
	return nil
}

// cell gives the words of a session's cell.
func (t *table) cell(row []uint32, source int) []uint32 {
	at := t.words + 1 + source*t.width
	return row[at : at+t.width : at+t.width]
}

// installed gives the set of next hops that the writer has of a row, or unknown.
func (t *table) installed(row []uint32) uint32 { return row[t.words] >> metaBits }

func (t *table) install(row []uint32, set uint32) {
	row[t.words] = row[t.words]&metaMask | set<<metaBits
}

// empty tells a row that holds no path and of which nothing is installed.
func (t *table) empty(row []uint32) bool {
	if t.installed(row) != 0 {
		return false
	}
	for c := range t.cells {
		if row[t.words+1+c*t.width] != 0 {
			return false
		}
	}
	return true
}
