package bench

import (
	"encoding/binary"
	"net/netip"
)

// AS is that of everybody: sessions are iBGP.
const AS = 65000

const (
	longestMessage = 4096 // RFC 4271 section 4
	headerLength   = 19
	typeUpdate     = 2
	flagOptional   = 0x80
	flagTransitive = 0x40
	flagExtended   = 0x10
)

// Updates is the stream of UPDATE messages (RFC 4271 section 4.3) in which the
// reflector of a plane tells those routes, as many in a message as share their
// attributes and fit in; nil: all. The order is that of their numbers.
func (t Table) Updates(plane int, which func(i int) bool) []byte {
	var stream []byte
	var group []int
	flush := func() {
		if len(group) > 0 {
			stream = t.appendUpdates(stream, plane, t.Home(group[0]), 0, group)
			group = group[:0]
		}
	}
	for i := range t.Routes {
		if which != nil && !which(i) {
			continue
		}
		if len(group) > 0 && t.Home(group[0]) != t.Home(i) {
			flush()
		}
		group = append(group, i)
	}
	flush()
	return stream
}

// Moves tells of the routes that moved, or back.
func (t Table) Moves(plane int) []byte { return t.Updates(plane, moves) }

// Singles tells each route in an UPDATE of its own, and with attributes that it
// shares with no other.
func (t Table) Singles(plane int) []byte {
	var stream []byte
	for i := range t.Routes {
		stream = t.appendUpdates(stream, plane, t.Home(i), uint32(i+1), []int{i})
	}
	return stream
}

// One is the UPDATE that tells one route, with another home.
func (t Table) One(plane, route, home int) []byte {
	return t.appendUpdates(nil, plane, home, 0, []int{route})
}

// appendUpdates tells routes with one home. tag, if any, makes their attributes
// theirs alone.
func (t Table) appendUpdates(stream []byte, plane, home int, tag uint32, routes []int) []byte {
	for len(routes) > 0 {
		start := len(stream)
		stream = append(stream, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x02\x00\x00\x00\x00"...)
		attributes := len(stream)
		stream = appendAttributes(stream, plane, home, tag)
		each := 5
		reach := 0
		if t.Family == 4 {
			hop := NextHop(plane, home, 4).As4()
			stream = appendAttribute(stream, flagTransitive, 3, hop[:])
			binary.BigEndian.PutUint16(stream[attributes-2:], uint16(len(stream)-attributes))
		} else {
			each = 17
			hop := NextHop(plane, home, 6).As16()
			stream = append(stream, flagOptional|flagExtended, 14, 0, 0)
			reach = len(stream)
			stream = append(append(append(stream, 0, 2, 1, 16), hop[:]...), 0)
		}
		n := min(len(routes), (longestMessage-(len(stream)-start))/each)
		for _, i := range routes[:n] {
			stream = appendPrefix(stream, t.Prefix(i))
		}
		routes = routes[n:]
		if t.Family == 6 {
			binary.BigEndian.PutUint16(stream[reach-2:], uint16(len(stream)-reach))
			binary.BigEndian.PutUint16(stream[attributes-2:], uint16(len(stream)-attributes))
		}
		binary.BigEndian.PutUint16(stream[start+16:], uint16(len(stream)-start))
	}
	return stream
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	b = append(b, byte(p.Bits()))
	if a := p.Addr(); a.Is4() {
		four := a.As4()
		return append(b, four[:]...)
	}
	sixteen := p.Addr().As16()
	return append(b, sixteen[:]...)
}

// appendAttributes is what a reflected route of a hypervisor has, its next hop
// apart: RFC 4271 section 5.1, RFC 1997, RFC 4456 section 8.
func appendAttributes(b []byte, plane, home int, tag uint32) []byte {
	number := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	b = appendAttribute(b, flagTransitive, 1, []byte{0}) // ORIGIN IGP
	b = appendAttribute(b, flagTransitive, 2, nil)       // AS_PATH, empty
	b = appendAttribute(b, flagTransitive, 5, number(1100))
	communities := number(AS<<16 | 100)
	if tag > 0 {
		communities = append(communities, number(AS<<16|tag&0xffff)...)
		communities = append(communities, number((AS+1)<<16|tag>>16)...)
	}
	b = appendAttribute(b, flagOptional|flagTransitive, 8, communities)
	b = appendAttribute(b, flagOptional, 9, number(0x0a80_0000+uint32(home))) // ORIGINATOR_ID
	return appendAttribute(b, flagOptional, 10, number(0x0aff_0001+uint32(plane)))
}

func appendAttribute(b []byte, flags, code byte, value []byte) []byte {
	return append(append(b, flags, code, byte(len(value))), value...)
}

// EndOfRIB is how a reflector says that it has told all (RFC 4724 section 2).
func EndOfRIB(f Family) []byte {
	if f == 4 {
		return []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x17\x02\x00\x00\x00\x00")
	}
	return []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x1d\x02\x00\x00\x00\x06\x80\x0f\x03\x00\x02\x01")
}
