package vrf

import (
	"encoding/binary"
	"net/netip"
)

// shadow remembers for every learned route of a table which set of next hops
// it has. Two million routes must cost neither the garbage collector's time
// nor an object each, so it is open addressing over plain bytes: 9 of them a
// slot for IPv4, 21 for IPv6, in shards that grow one by one and by little.
type shadow struct {
	v4 [shards]shard[key4]
	v6 [shards]shard[key6]
	n4 int
	n6 int

	warmed uint32 // of no meaning; see warm
}

const shards = 256

// key4 is the prefix length plus one, so that no key is zero, and the address.
type key4 [5]byte

// key6 is the same for IPv6.
type key6 [17]byte

type keyOf[K any] interface {
	comparable
	hash() uint64
}

func (k key4) hash() uint64 {
	return mix(uint64(binary.LittleEndian.Uint32(k[1:])) | uint64(k[0])<<32)
}

func (k key6) hash() uint64 {
	return mix(mix(binary.LittleEndian.Uint64(k[1:])+uint64(k[0])) ^ binary.LittleEndian.Uint64(k[9:]))
}

// mix is the finaliser of a 64-bit hash: every bit of x moves half of the
// result. It is fixed, so that a run can be repeated.
func mix(x uint64) uint64 {
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>32
}

func to4(p netip.Prefix) (k key4) {
	a := p.Addr().As4()
	k[0] = byte(p.Bits() + 1)
	copy(k[1:], a[:])
	return k
}

func to6(p netip.Prefix) (k key6) {
	a := p.Addr().As16()
	k[0] = byte(p.Bits() + 1)
	copy(k[1:], a[:])
	return k
}

func (k key4) prefix() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte(k[1:])), int(k[0])-1)
}

func (k key6) prefix() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte(k[1:])), int(k[0])-1)
}

// get returns the value of a prefix.
func (s *shadow) get(p netip.Prefix) (uint32, bool) {
	if p.Addr().Is4() {
		k := to4(p)
		h := k.hash()
		return s.v4[h>>56].get(k, h)
	}
	k := to6(p)
	h := k.hash()
	return s.v6[h>>56].get(k, h)
}

// warm reads where the routes of many changes are. The reads don't depend on each other, so
// the memory works on many at a time, and what each is about is near when it is its turn.
func (s *shadow) warm(changes []Change) {
	if len(changes) < 4 {
		return
	}
	for i := range changes {
		if p := changes[i].Prefix; p.Addr().Is4() {
			h := to4(p).hash()
			s.warmed += s.v4[h>>56].warm(h)
		} else {
			h := to6(p).hash()
			s.warmed += s.v6[h>>56].warm(h)
		}
	}
}

func (s *shadow) set(p netip.Prefix, value uint32) {
	if p.Addr().Is4() {
		k := to4(p)
		h := k.hash()
		s.n4 += s.v4[h>>56].set(k, h, value)
		return
	}
	k := to6(p)
	h := k.hash()
	s.n6 += s.v6[h>>56].set(k, h, value)
}

func (s *shadow) delete(p netip.Prefix) {
	if p.Addr().Is4() {
		k := to4(p)
		h := k.hash()
		s.n4 -= s.v4[h>>56].delete(k, h)
		return
	}
	k := to6(p)
	h := k.hash()
	s.n6 -= s.v6[h>>56].delete(k, h)
}

// all calls f for every route, in no useful order, until f says false. f may
// change the value through the pointer but must not add or delete.
func (s *shadow) all(f func(netip.Prefix, *uint32) bool) {
	for i := range s.v4 {
		for j := range s.v4[i].keys {
			if k := s.v4[i].keys[j]; k[0] != 0 && !f(k.prefix(), &s.v4[i].values[j]) {
				return
			}
		}
	}
	for i := range s.v6 {
		for j := range s.v6[i].keys {
			if k := s.v6[i].keys[j]; k[0] != 0 && !f(k.prefix(), &s.v6[i].values[j]) {
				return
			}
		}
	}
}

// shard is one open-addressing table with linear probing and no tombstones. It
// is at most five sixths full.
type shard[K keyOf[K]] struct {
	keys   []K
	values []uint32
	used   int
}

const firstSlots = 8

// home is where a key belongs. The shard was chosen by the upper bits.
func (s *shard[K]) home(h uint64) int { return int(uint64(uint32(h)) * uint64(len(s.keys)) >> 32) }

func (s *shard[K]) warm(h uint64) uint32 {
	if s.used == 0 {
		return 0
	}
	var empty K
	i := s.home(h)
	if s.keys[i] == empty {
		return 0
	}
	return s.values[i]
}

func (s *shard[K]) slot(k K, h uint64) (int, bool) {
	var empty K
	for i := s.home(h); ; {
		if s.keys[i] == k {
			return i, true
		}
		if s.keys[i] == empty {
			return i, false
		}
		if i++; i == len(s.keys) {
			i = 0
		}
	}
}

func (s *shard[K]) get(k K, h uint64) (uint32, bool) {
	if s.used == 0 {
		return 0, false
	}
	i, ok := s.slot(k, h)
	return s.values[i], ok
}

func (s *shard[K]) set(k K, h uint64, value uint32) (added int) {
	if len(s.keys) > 0 {
		if i, ok := s.slot(k, h); ok {
			s.values[i] = value
			return 0
		}
	}
	if n := len(s.keys); s.used+1 > n-n/6 || n == 0 {
		s.resize(max(firstSlots, n+n/6))
	}
	i, _ := s.slot(k, h)
	s.keys[i], s.values[i] = k, value
	s.used++
	return 1
}

func (s *shard[K]) resize(n int) {
	var empty K
	old := *s
	s.keys, s.values = make([]K, n), make([]uint32, n)
	for i, k := range old.keys {
		if k != empty {
			j, _ := s.slot(k, k.hash())
			s.keys[j], s.values[j] = k, old.values[i]
		}
	}
}

// delete moves back what was displaced by the deleted key, so that a probe
// never has to go on over a hole, and gives memory back after many went.
func (s *shard[K]) delete(k K, h uint64) (deleted int) {
	if s.used == 0 {
		return 0
	}
	hole, ok := s.slot(k, h)
	if !ok {
		return 0
	}
	var empty K
	n := len(s.keys)
	for i := hole; ; {
		if i++; i == n {
			i = 0
		}
		if s.keys[i] == empty {
			break
		}
		if home := s.home(s.keys[i].hash()); (i-home+n)%n >= (i-hole+n)%n {
			s.keys[hole], s.values[hole] = s.keys[i], s.values[i]
			hole = i
		}
	}
	s.keys[hole], s.values[hole] = empty, 0
	switch s.used--; {
	case s.used == 0:
		s.keys, s.values = nil, nil
	case n > 4*firstSlots && s.used < n/4:
		s.resize(s.used*3/2 + firstSlots)
	}
	return 1
}
