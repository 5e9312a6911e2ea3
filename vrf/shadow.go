package vrf

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// shadow remembers for every learned route of a table which set of next hops
// it has. Two million routes must cost neither the garbage collector's time
// nor an object each, so it is open addressing over plain words: 12 bytes a
// slot for IPv4, 28 for IPv6, in shards that grow one by one.
type shadow struct {
	v4 [shards]shard[key4]
	v6 [shards]shard[key6]
	n4 int
	n6 int
}

const shards = 256

// key4 is the address and the prefix length, plus one in the high half so that
// no key is zero.
type key4 uint64

// key6 is the same for IPv6; the length, plus one, has a word of its own.
type key6 struct {
	hi, lo uint64
	length uint64
}

type keyOf[K any] interface {
	comparable
	hash() uint64
}

func (k key4) hash() uint64 { return mix(uint64(k)) }
func (k key6) hash() uint64 { return mix(mix(k.hi+k.length) ^ k.lo) }

// mix is the finaliser of a 64-bit hash: every bit of x moves half of the
// result. It is fixed, so that a run can be repeated.
func mix(x uint64) uint64 {
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>32
}

func to4(p netip.Prefix) key4 {
	a := p.Addr().As4()
	return key4(uint64(binary.BigEndian.Uint32(a[:])) | uint64(p.Bits()+1)<<32)
}

func to6(p netip.Prefix) key6 {
	a := p.Addr().As16()
	return key6{binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:]), uint64(p.Bits() + 1)}
}

func (k key4) prefix() netip.Prefix {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], uint32(k))
	return netip.PrefixFrom(netip.AddrFrom4(a), int(k>>32)-1)
}

func (k key6) prefix() netip.Prefix {
	var a [16]byte
	binary.BigEndian.PutUint64(a[:8], k.hi)
	binary.BigEndian.PutUint64(a[8:], k.lo)
	return netip.PrefixFrom(netip.AddrFrom16(a), int(k.length)-1)
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
			if k := s.v4[i].keys[j]; k != 0 && !f(k.prefix(), &s.v4[i].values[j]) {
				return
			}
		}
	}
	for i := range s.v6 {
		for j := range s.v6[i].keys {
			if k := s.v6[i].keys[j]; k.length != 0 && !f(k.prefix(), &s.v6[i].values[j]) {
				return
			}
		}
	}
}

// shard is one open-addressing table with linear probing and no tombstones.
type shard[K keyOf[K]] struct {
	keys   []K
	values []uint32
	used   int
}

func (s *shard[K]) slot(k K, h uint64) (int, bool) {
	var empty K
	mask := len(s.keys) - 1
	for i := int(h) & mask; ; i = (i + 1) & mask {
		if s.keys[i] == k {
			return i, true
		}
		if s.keys[i] == empty {
			return i, false
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
	if s.used*5 >= len(s.keys)*4 {
		s.grow()
	}
	i, ok := s.slot(k, h)
	s.keys[i], s.values[i] = k, value
	if ok {
		return 0
	}
	s.used++
	return 1
}

func (s *shard[K]) grow() {
	var empty K
	old := *s
	size := 1 << bits.Len(uint(max(len(old.keys), 4)))
	s.keys, s.values = make([]K, size), make([]uint32, size)
	for i, k := range old.keys {
		if k != empty {
			j, _ := s.slot(k, k.hash())
			s.keys[j], s.values[j] = k, old.values[i]
		}
	}
}

// delete moves back what was displaced by the deleted key, so that a probe
// never has to go on over a hole.
func (s *shard[K]) delete(k K, h uint64) (deleted int) {
	if s.used == 0 {
		return 0
	}
	hole, ok := s.slot(k, h)
	if !ok {
		return 0
	}
	var empty K
	mask := len(s.keys) - 1
	for i := (hole + 1) & mask; s.keys[i] != empty; i = (i + 1) & mask {
		home := int(s.keys[i].hash()) & mask
		if (i-home)&mask >= (i-hole)&mask {
			s.keys[hole], s.values[hole] = s.keys[i], s.values[i]
			hole = i
		}
	}
	s.keys[hole], s.values[hole] = empty, 0
	s.used--
	return 1
}
