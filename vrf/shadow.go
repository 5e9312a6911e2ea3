package vrf

import (
	"encoding/binary"
	"net/netip"
)

// shadow remembers for every learned route of a table which set of next hops
// it has. Two million routes must cost neither the garbage collector's time
// nor an object each, so it is open addressing over plain words: 8 bytes a
// slot for IPv4, 20 for IPv6, in shards that grow one by one and by little.
//
// A value has 24 bits. Walks hand out the word that holds it, whose upper byte
// is the shadow's own.
type shadow struct {
	v4 [shards]shard[key4]
	v6 [shards]shard[key6]
	n4 int
	n6 int

	warmed uint32 // of no meaning; see warm
}

const (
	shards    = 256
	valueBits = 24
	valueMask = 1<<valueBits - 1
)

// key4 is the address, as it lies in memory.
type key4 [1]uint32

// key6 is the same for IPv6.
type key6 [4]uint32

type keyOf interface {
	key4 | key6
	hash(length uint32) uint64
	prefix(length uint32) netip.Prefix
}

func (k key4) hash(length uint32) uint64 {
	return mix(uint64(k[0]) | uint64(length)<<32)
}

func (k key6) hash(length uint32) uint64 {
	return mix(mix((uint64(k[0])|uint64(k[1])<<32)+uint64(length)) ^ (uint64(k[2]) | uint64(k[3])<<32))
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

// to4 gives the key of a prefix, and its length plus one, so that no slot in use
// is zero.
func to4(p netip.Prefix) (k key4, length uint32) {
	a := p.Addr().As4()
	return key4{binary.LittleEndian.Uint32(a[:])}, uint32(p.Bits() + 1)
}

func to6(p netip.Prefix) (k key6, length uint32) {
	a := p.Addr().As16()
	for i := range k {
		k[i] = binary.LittleEndian.Uint32(a[4*i:])
	}
	return k, uint32(p.Bits() + 1)
}

func (k key4) prefix(length uint32) netip.Prefix {
	var a [4]byte
	binary.LittleEndian.PutUint32(a[:], k[0])
	return netip.PrefixFrom(netip.AddrFrom4(a), int(length)-1)
}

func (k key6) prefix(length uint32) netip.Prefix {
	var a [16]byte
	for i := range k {
		binary.LittleEndian.PutUint32(a[4*i:], k[i])
	}
	return netip.PrefixFrom(netip.AddrFrom16(a), int(length)-1)
}

// get returns the value of a prefix.
func (s *shadow) get(p netip.Prefix) (uint32, bool) {
	if p.Addr().Is4() {
		k, n := to4(p)
		h := k.hash(n)
		return s.v4[h>>56].get(k, n, h)
	}
	k, n := to6(p)
	h := k.hash(n)
	return s.v6[h>>56].get(k, n, h)
}

// warm reads where the routes of many changes are. The reads don't depend on each other, so
// the memory works on many at a time, and what each is about is near when it is its turn.
func (s *shadow) warm(changes []Change) {
	if len(changes) < 4 {
		return
	}
	for i := range changes {
		if p := changes[i].Prefix; p.Addr().Is4() {
			h := key4.hash(to4(p))
			s.warmed += s.v4[h>>56].warm(h)
		} else {
			h := key6.hash(to6(p))
			s.warmed += s.v6[h>>56].warm(h)
		}
	}
}

func (s *shadow) set(p netip.Prefix, value uint32) {
	if p.Addr().Is4() {
		k, n := to4(p)
		h := k.hash(n)
		s.n4 += s.v4[h>>56].set(k, n, h, value)
		return
	}
	k, n := to6(p)
	h := k.hash(n)
	s.n6 += s.v6[h>>56].set(k, n, h, value)
}

func (s *shadow) delete(p netip.Prefix) {
	if p.Addr().Is4() {
		k, n := to4(p)
		h := k.hash(n)
		s.n4 -= s.v4[h>>56].delete(k, n, h)
		return
	}
	k, n := to6(p)
	h := k.hash(n)
	s.n6 -= s.v6[h>>56].delete(k, n, h)
}
