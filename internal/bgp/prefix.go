package bgp

import (
	"encoding/binary"
	"net/netip"
)

// Family is an address family of unicast routes.
type Family uint8

// The families, in the order of the tables of a RIB.
const (
	IPv4 Family = iota
	IPv6
)

// Families lists both, for loops.
var Families = [...]Family{IPv4, IPv6}

// String gives the family's name as people write it.
func (f Family) String() string {
	if f == IPv4 {
		return "IPv4"
	}
	return "IPv6"
}

// FamilyOf gives the family of a prefix.
func FamilyOf(p netip.Prefix) Family {
	if p.Addr().Is4() {
		return IPv4
	}
	return IPv6
}

func (f Family) bits() int {
	if f == IPv4 {
		return 32
	}
	return 128
}

// words is the number of 32-bit words of an address.
func (f Family) words() int {
	if f == IPv4 {
		return 1
	}
	return 4
}

// key is a prefix as the tables hold it: the address, masked, in words of
// network order, and the length.
type key struct {
	w [4]uint32
	n uint8
}

// nlri is a prefix in a message, with its path identifier (RFC 7911), which is
// zero where the session has none.
type nlri struct {
	key
	id uint32
}

func keyOf(p netip.Prefix) key {
	p = p.Masked()
	k := key{n: uint8(p.Bits())}
	if p.Addr().Is4() {
		a := p.Addr().As4()
		k.w[0] = binary.BigEndian.Uint32(a[:])
		return k
	}
	a := p.Addr().As16()
	for i := range k.w {
		k.w[i] = binary.BigEndian.Uint32(a[4*i:])
	}
	return k
}

func (k key) prefix(f Family) netip.Prefix {
	if f == IPv4 {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], k.w[0])
		return netip.PrefixFrom(netip.AddrFrom4(a), int(k.n))
	}
	var a [16]byte
	for i, w := range k.w {
		binary.BigEndian.PutUint32(a[4*i:], w)
	}
	return netip.PrefixFrom(netip.AddrFrom16(a), int(k.n))
}

// routable tells a prefix that may stand in a unicast table from one that may
// not: loopback, link-local IPv6, multicast, and what is reserved. RFC 4271
// section 6.3 has such a prefix ignored and the session kept.
func (k key) routable(f Family) bool {
	if k.n == 0 {
		return true
	}
	top := k.w[0] >> 24
	if f == IPv4 {
		return top != 127 && top < 224 && (top != 0 || k.n < 8)
	}
	if top == 0xff && k.n >= 8 || k.w[0]>>22 == 0xfe80>>6 && k.n >= 10 {
		return false
	}
	loopback := k.w[0] == 0 && k.w[1] == 0 && k.w[2] == 0 && k.w[3] <= 1 && k.n >= 127
	return !loopback
}

// appendNLRI decodes the prefixes in b. Bits beyond a prefix's length are
// ignored, as RFC 4271 section 4.3 says.
func appendNLRI(dst []nlri, b []byte, f Family, addPath bool) ([]nlri, error) {
	for len(b) > 0 {
		var n nlri
		if addPath {
			if len(b) < 5 {
				return dst, updateError(SubcodeInvalidNetwork, "a %v prefix with a path identifier ends after %d bytes", f, len(b))
			}
			n.id = binary.BigEndian.Uint32(b)
			b = b[4:]
		}
		size := (int(b[0]) + 7) / 8
		if int(b[0]) > f.bits() {
			return dst, updateError(SubcodeInvalidNetwork, "a prefix length of %d in %v", b[0], f)
		}
		if len(b) < 1+size {
			return dst, updateError(SubcodeInvalidNetwork, "a /%d %v prefix ends after %d of %d bytes", b[0], f, len(b)-1, size)
		}
		n.key = decodeKey(b[0], b[1:1+size])
		b = b[1+size:]
		dst = append(dst, n)
	}
	return dst, nil
}

func decodeKey(length uint8, b []byte) key {
	k := key{n: length}
	if len(b) == 4 {
		k.w[0] = binary.BigEndian.Uint32(b)
	} else {
		var a [16]byte
		copy(a[:], b)
		for i := range k.w {
			k.w[i] = binary.BigEndian.Uint32(a[4*i:])
		}
	}
	for i := range k.w {
		if keep := int(length) - 32*i; keep <= 0 {
			k.w[i] = 0
		} else if keep < 32 {
			k.w[i] &= ^uint32(0) << (32 - keep)
		}
	}
	return k
}
