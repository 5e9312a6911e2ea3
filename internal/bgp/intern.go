package bgp

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/hostroute/hostroute/vrf"
)

// attr is one distinct set of attributes with its next hop. References are
// counted by the paths that have it.
type attr struct {
	key       string // canonical, see attrKey; the rest is what selection needs
	nextHop   netip.Addr
	localPref uint32
	med       uint32
	refs      uint32
	length    uint16 // of AS_PATH
	origin    uint8
	usable    bool
	reflected bool // has an ORIGINATOR_ID
	// Of the communities: the path was stale for long where it comes from, and
	// it is not to be kept for long.
	longLived, noLongLived bool
}

// attrs interns attributes. Ids start at 1, so that 0 is no path.
type attrs struct {
	ids     map[string]uint32
	list    []attr
	free    []uint32
	scratch []byte
	local   map[netip.Addr]bool
	ages    []uint32 // of the ids: how often each meant something that is gone
}

func newAttrs(local []netip.Addr) *attrs {
	a := &attrs{ids: map[string]uint32{}, list: make([]attr, 1), local: map[netip.Addr]bool{}, ages: make([]uint32, 1)}
	for _, addr := range local {
		a.local[addr.Unmap()] = true
	}
	return a
}

func (s *attrs) at(id uint32) *attr { return &s.list[id] }

// intern gives the id of attributes with a next hop, with a reference to it.
func (s *attrs) intern(a *Attributes, f Family, nextHop netip.Addr) uint32 {
	s.scratch = attrKey(s.scratch[:0], a, f, nextHop)
	if id, ok := s.ids[string(s.scratch)]; ok {
		s.list[id].refs++
		return id
	}
	id := slot(&s.list, &s.free)
	if int(id) == len(s.ages) {
		s.ages = append(s.ages, 0)
	}
	s.list[id] = attr{
		key: string(s.scratch), nextHop: nextHop, localPref: a.localPref, med: a.med, refs: 1,
		length: uint16(min(pathLength(a.asPath), 0xffff)), origin: a.origin, usable: s.usable(f, nextHop),
		reflected: a.originator != 0,
		longLived: a.hasCommunity(CommunityLongLivedStale), noLongLived: a.hasCommunity(CommunityNoLongLived),
	}
	s.ids[s.list[id].key] = id
	return id
}

func (s *attrs) release(id uint32) {
	a := &s.list[id]
	if a.refs--; a.refs > 0 {
		return
	}
	delete(s.ids, a.key)
	*a = attr{}
	s.free = append(s.free, id)
	s.ages[id]++
}

// usable tells a next hop that a route can go through: a unicast address, not
// one of ours, and never IPv4 for IPv6.
func (s *attrs) usable(f Family, hop netip.Addr) bool {
	if !hop.IsValid() || hop.IsUnspecified() || hop.IsLoopback() || hop.IsMulticast() || hop.Is4In6() {
		return false
	}
	if hop.Is4() && (f == IPv6 || hop.As4()[0] >= 240 || hop.As4()[0] == 0) {
		return false
	}
	return !s.local[hop]
}

// attrKey writes attributes in a canonical form that [decodeAttrKey] reads.
func attrKey(b []byte, a *Attributes, f Family, nextHop netip.Addr) []byte {
	hop := nextHop.As16()
	flags := byte(f) << 3 // what is usable for one family is not for the other
	if nextHop.Is4() {
		flags = 1
	}
	if a.hasMED {
		flags |= 2
	}
	if !nextHop.IsValid() {
		flags |= 4
	}
	b = append(b, a.origin, flags)
	b = append(b, hop[:]...)
	b = binary.BigEndian.AppendUint32(b, a.localPref)
	b = binary.BigEndian.AppendUint32(b, a.med)
	b = binary.BigEndian.AppendUint32(b, a.originator)
	for _, part := range [][]byte{a.asPath, a.communities, a.large} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(part)))
		b = append(b, part...)
	}
	return b
}

// decodeAttrKey reads what attrKey wrote; the next hop stands in the attr.
func decodeAttrKey(k string) Attributes {
	b := []byte(k)
	a := Attributes{origin: b[0], hasMED: b[1]&2 != 0}
	b = b[18:]
	a.localPref = binary.BigEndian.Uint32(b)
	a.med = binary.BigEndian.Uint32(b[4:])
	a.originator = binary.BigEndian.Uint32(b[8:])
	b = b[12:]
	for _, part := range []*[]byte{&a.asPath, &a.communities, &a.large} {
		n := int(binary.BigEndian.Uint16(b))
		*part, b = b[2:2+n], b[2+n:]
	}
	return a
}

// hopSet is one distinct set of next hops. References are counted by the rows
// in which it is installed; whoever was handed the slice may keep it.
type hopSet struct {
	key  string
	hops []vrf.NextHop
	refs uint32
	age  uint32 // how many sets had this id before
}

// hopSets interns sets of next hops. Ids start at 1: 0 is the empty set.
type hopSets struct {
	ids     map[string]uint32
	list    []hopSet
	free    []uint32
	scratch []byte
}

func newHopSets() *hopSets {
	return &hopSets{ids: map[string]uint32{}, list: make([]hopSet, 1)}
}

// intern gives the id of a set, with a reference to it. The members are sorted
// in place. There are ids for millions of sets; a writer that refuses some, as the
// kernel's does beyond [vrf.ErrFull], has each given back by Redo. Should they run
// out all the same, the answer is the empty set.
func (s *hopSets) intern(members []vrf.NextHop, limit int) uint32 {
	slices.SortFunc(members, func(a, b vrf.NextHop) int {
		return cmp.Or(a.Gateway.Compare(b.Gateway), cmp.Compare(a.Uplink, b.Uplink))
	})
	members = slices.Compact(members)
	members = members[:min(limit, len(members))]
	if len(members) == 0 {
		return 0
	}
	s.scratch = s.scratch[:0]
	for _, m := range members {
		hop := m.Gateway.As16()
		s.scratch = append(s.scratch, byte(m.Gateway.BitLen()), byte(len(m.Uplink)))
		s.scratch = append(append(s.scratch, hop[:]...), m.Uplink...)
	}
	if id, ok := s.ids[string(s.scratch)]; ok {
		s.list[id].refs++
		return id
	}
	if len(s.free) == 0 && len(s.list) == unknown {
		return 0
	}
	id := slot(&s.list, &s.free)
	s.list[id] = hopSet{key: string(s.scratch), hops: slices.Clone(members), refs: 1, age: s.list[id].age}
	s.ids[s.list[id].key] = id
	return id
}

func (s *hopSets) release(id uint32) {
	if id == 0 {
		return
	}
	set := &s.list[id]
	if set.refs--; set.refs > 0 {
		return
	}
	delete(s.ids, set.key)
	*set = hopSet{age: set.age + 1}
	s.free = append(s.free, id)
}

// slot gives the index of an unused element, a new one if there is none.
func slot[T any](list *[]T, free *[]uint32) uint32 {
	if n := len(*free); n > 0 {
		id := (*free)[n-1]
		*free = (*free)[:n-1]
		return id
	}
	var none T
	*list = append(*list, none)
	return uint32(len(*list) - 1)
}
