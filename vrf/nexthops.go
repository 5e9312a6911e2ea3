package vrf

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// hopTable holds the next hops of one VRF: members, one per gateway and
// uplink, and sets, one per distinct set of members. A set's group in the
// kernel holds those members that work, and the routes refer to the group,
// also where there is only one member: so a route's id names what was learned,
// and what is wrong with a link is never a matter of routes.
type hopTable struct {
	slot    int
	members []member // by index; 0 is unused
	sets    []hopSet // by index; 0 is the unknown set
	byHop   map[NextHop]uint32
	byKey   map[string]uint32
	unused  []uint32 // sets that may have lost their last reference
	loose   []uint32 // members that may be in no set
	own     int      // sets that are a prefix's own
	floors  [2]floor // by family
	freeM   []uint32
	freeS   []uint32
	key     []byte
}

type member struct {
	hop  NextHop
	refs int // sets that have it
	at   Hop // where the kernel's object points; zero: it has none
}

type hopSet struct {
	members []uint32
	refs    int        // routes that have it
	group   []uint32   // members of the kernel's group without the floor; nil: there is no group
	floored bool       // that group stands on the floor
	weights []uint8    // of these, where it is the prefix's own
	hops    []Hop      // the same where there are no next-hop objects
	own     bool       // of one prefix alone; its members may change
	changed bool       // they did, and the group was not written since
	wrong   bool       // in the place of its group is one of the other type
	has     Resilience // what the kernel's group has, if it is resilient
	tried   bool       // it was settled once, so its routes may have been written
	stale   bool       // its routes must be written again
	fresh   bool       // and are not in the kernel
	age     uint32     // how many sets had this place before
}

func (s *hopSet) ready() bool { return s.group != nil || s.hops != nil }

// absent tells that routes of the set may not be in the kernel, so that what
// stands in their place may be somebody else's.
func (s *hopSet) absent() bool { return s.stale || !s.ready() }

func newHopTable(slot int) *hopTable {
	return &hopTable{
		slot: slot, members: make([]member, 1), sets: make([]hopSet, 1),
		byHop: map[NextHop]uint32{}, byKey: map[string]uint32{},
	}
}

// intern returns the members for these next hops, sorted. They may be in no set
// yet.
func (t *hopTable) intern(hops []NextHop) ([]uint32, error) {
	members := make([]uint32, 0, len(hops))
	for _, h := range hops {
		m, err := t.member(h)
		if err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	slices.Sort(members)
	return slices.Compact(members), nil
}

func (t *hopTable) member(h NextHop) (uint32, error) {
	if i, ok := t.byHop[h]; ok {
		return i, nil
	}
	i, err := take(&t.freeM, &t.members)
	if err != nil {
		return 0, err
	}
	t.members[i] = member{hop: h}
	t.byHop[h] = i
	t.loose = append(t.loose, i)
	return i, nil
}

// set returns the set of these members that routes share. It has no reference
// yet, and keeps the list.
func (t *hopTable) set(members []uint32) (uint32, error) {
	if i, ok := t.byKey[string(t.keyOf(members))]; ok {
		return i, nil
	}
	i, err := take(&t.freeS, &t.sets)
	if err != nil {
		return 0, err
	}
	t.put(i, members)
	return i, nil
}

func (t *hopTable) put(i uint32, members []uint32) {
	t.fill(i, members)
	t.byKey[string(t.keyOf(members))] = i
}

func (t *hopTable) fill(i uint32, members []uint32) {
	t.sets[i] = hopSet{members: members, age: t.sets[i].age}
	for _, m := range members {
		t.members[m].refs++
	}
	t.unused = append(t.unused, i)
}

func (t *hopTable) keyOf(members []uint32) []byte {
	t.key = t.key[:0]
	for _, m := range members {
		t.key = binary.NativeEndian.AppendUint32(t.key, m)
	}
	return t.key
}

// take finds a free index.
func take[T any](free *[]uint32, list *[]T) (uint32, error) {
	if n := len(*free); n > 0 {
		i := (*free)[n-1]
		*free = (*free)[:n-1]
		return i, nil
	}
	if len(*list) > maxMembers {
		return 0, fmt.Errorf("%d are in use: %w", maxMembers, ErrFull)
	}
	var empty T
	*list = append(*list, empty)
	return uint32(len(*list) - 1), nil
}

func (t *hopTable) ref(set uint32) {
	if set != 0 {
		t.sets[set].refs++
	}
}

func (t *hopTable) unref(set uint32) {
	if set == 0 {
		return
	}
	if t.sets[set].refs--; t.sets[set].refs == 0 {
		t.unused = append(t.unused, set)
	}
}

// collect forgets the sets without routes and the members without sets, and
// gives the operations that remove them from the kernel, groups first.
func (t *hopTable) collect() []NextHopOp {
	var ops []NextHopOp
	for _, i := range t.unused {
		s := &t.sets[i]
		if s.refs > 0 || s.members == nil {
			continue // used again, or listed twice
		}
		if s.group != nil || s.wrong {
			ops = append(ops, deletion(groupID(t.slot, i)))
		}
		if s.own {
			t.own--
		} else {
			delete(t.byKey, string(t.keyOf(s.members)))
		}
		t.leave(s.members)
		t.sets[i] = hopSet{age: s.age + 1}
		t.freeS = append(t.freeS, i)
	}
	t.unused = t.unused[:0]
	for _, m := range t.loose {
		if t.members[m].refs == 0 && t.members[m].hop != (NextHop{}) {
			ops = append(ops, t.dropMember(m)...)
		}
	}
	t.loose = t.loose[:0]
	return ops
}

// leave takes the reference of a set from its members.
func (t *hopTable) leave(members []uint32) {
	for _, m := range members {
		if t.members[m].refs--; t.members[m].refs == 0 {
			t.loose = append(t.loose, m)
		}
	}
}

func (t *hopTable) dropMember(m uint32) (ops []NextHopOp) {
	if t.members[m].at != (Hop{}) {
		ops = append(ops, deletion(memberID(t.slot, m)))
	}
	delete(t.byHop, t.members[m].hop)
	t.members[m] = member{}
	t.freeM = append(t.freeM, m)
	return ops
}

func deletion(id uint32) NextHopOp {
	return NextHopOp{Object: NextHopObject{ID: id, Protocol: Protocol}, Delete: true}
}

// hopsOf lists the next hops of a set.
func (t *hopTable) hopsOf(set uint32) []NextHop {
	hops := make([]NextHop, 0, len(t.sets[set].members))
	for _, m := range t.sets[set].members {
		hops = append(hops, t.members[m].hop)
	}
	return hops
}
