package vrf

import "slices"

// shard is one open-addressing table with linear probing and no tombstones. It
// is at most seven eighths full.
type shard[K keyOf] struct {
	slots []slot[K]
	used  int
}

// slot is empty, or has in word the prefix length plus one and, below, the value.
type slot[K keyOf] struct {
	key  K
	word uint32
}

const firstSlots = 8

func (e *slot[K]) length() uint32 { return e.word >> valueBits }

func (e *slot[K]) hash() uint64 { return e.key.hash(e.length()) }

// home is where a key belongs. The shard was chosen by the upper bits.
func (s *shard[K]) home(h uint64) int { return int(uint64(uint32(h)) * uint64(len(s.slots)) >> 32) }

func (s *shard[K]) warm(h uint64) uint32 {
	if s.used == 0 {
		return 0
	}
	return s.slots[s.home(h)].word
}

// find gives the place of a key: where it is, or the empty slot where it goes.
func (s *shard[K]) find(k K, length uint32, h uint64) (int, bool) {
	for i := s.home(h); ; {
		e := &s.slots[i]
		if e.word == 0 {
			return i, false
		}
		if e.key == k && e.length() == length {
			return i, true
		}
		if i++; i == len(s.slots) {
			i = 0
		}
	}
}

func (s *shard[K]) get(k K, length uint32, h uint64) (uint32, bool) {
	if s.used == 0 {
		return 0, false
	}
	i, ok := s.find(k, length, h)
	return s.slots[i].word & valueMask, ok
}

func (s *shard[K]) set(k K, length uint32, h uint64, value uint32) (added int) {
	word := length<<valueBits | value&valueMask
	if len(s.slots) > 0 {
		if i, ok := s.find(k, length, h); ok {
			s.slots[i].word = word
			return 0
		}
	}
	if n := len(s.slots); s.used+1 > n-n/8 || n == 0 {
		s.resize(s.larger(h))
	}
	i, _ := s.find(k, length, h)
	s.slots[i] = slot[K]{k, word}
	s.used++
	return 1
}

// larger gives the size to grow to: by a part that differs from shard to shard, or
// all would be at their emptiest at once.
func (s *shard[K]) larger(h uint64) int {
	n := len(s.slots)
	return max(firstSlots, n+n/16+n*int(h>>56%8)/64+2)
}

// resize gives the shard room for n or some more, as many as fit into the memory that
// is taken for n.
func (s *shard[K]) resize(n int) {
	old := s.slots
	s.slots = slices.Grow([]slot[K](nil), n)
	s.slots = s.slots[:cap(s.slots)]
	clear(s.slots)
	for i := range old {
		if e := &old[i]; e.word != 0 {
			j, _ := s.find(e.key, e.length(), e.hash())
			s.slots[j] = *e
		}
	}
}

// delete moves back what was displaced by the deleted key, so that a probe
// never has to go on over a hole, and gives memory back after many went.
func (s *shard[K]) delete(k K, length uint32, h uint64) (deleted int) {
	if s.used == 0 {
		return 0
	}
	hole, ok := s.find(k, length, h)
	if !ok {
		return 0
	}
	n := len(s.slots)
	for i := hole; ; {
		if i++; i == n {
			i = 0
		}
		if s.slots[i].word == 0 {
			break
		}
		if home := s.home(s.slots[i].hash()); (i-home+n)%n >= (i-hole+n)%n {
			s.slots[hole] = s.slots[i]
			hole = i
		}
	}
	s.slots[hole] = slot[K]{}
	switch s.used--; {
	case s.used == 0:
		s.slots = nil
	case n > 4*firstSlots && s.used < n/4:
		s.resize(s.used*3/2 + firstSlots)
	}
	return 1
}
