package vrf

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"time"
)

// A set with several gateways on one uplink has several origins: the prefix is
// anycast, and its flows must stay with their member when another one leaves. A
// plain group hashes anew whenever it changes, so such a prefix has a group of
// its own, of the kernel's resilient type, which is replaced in place.
// docs/adr/0014-anycast-groups.md has the numbers.

// Resilience is what a resilient group is made with: a flow belongs to one of
// Buckets by its hash, and a bucket to a member. When a member leaves only its
// buckets move. When one joins it gets buckets in which no packet was for Idle;
// where that doesn't even the shares out within Unbalanced, busy ones too.
// The kernel counts the times in hundredths of a second.
type Resilience struct {
	Buckets          uint16
	Idle, Unbalanced time.Duration
}

// DefaultResilience: 240 buckets fit into two pages and can be divided by every
// number of members up to 6, and by 8, 10, 12, 15, 16, 20, 24 and 30.
var DefaultResilience = Resilience{Buckets: 240, Idle: 10 * time.Second, Unbalanced: 5 * time.Minute}

// Limits of the groups of their own in a VRF; the routes beyond share plain
// ones. A resilient group costs the kernel two pages. What two edges say of the
// whole internet has several origins too, so that prefixes that are no host's
// get fewer, and can't take them all.
const (
	maxOwn        = 8192
	maxOwnNetwork = 1024
)

// SetResilience gives other numbers than DefaultResilience to the groups made or
// replaced from now on. A group's buckets stay as many as they are.
func (f *FIB) SetResilience(r Resilience) { f.resilience = r }

// ownSet is the set of a prefix's own with these members: the one that it has,
// changed in place, or a new one. ok is false where it must share one.
func (v *fibVRF) ownSet(p netip.Prefix, had uint32, members []uint32) (set uint32, ok bool) {
	t := v.hops
	if s := &t.sets[had]; s.own && s.refs == 1 {
		if !slices.Equal(s.members, members) {
			t.change(s, members)
		}
		if s.changed || !s.tried || s.absent() {
			v.newSets = append(v.newSets, had)
		}
		return had, true
	}
	if t.own >= maxOwn || t.own >= maxOwnNetwork && !p.IsSingleIP() {
		return 0, false
	}
	set, err := take(&t.freeS, &t.sets)
	if err != nil {
		return 0, false
	}
	t.fillOwn(set, members)
	v.newSets = append(v.newSets, set)
	return set, true
}

func (t *hopTable) fillOwn(set uint32, members []uint32) {
	t.fill(set, members)
	t.sets[set].own = true
	t.own++
}

// lostOwn tells that a prefix's own set has no group, or had none, so that the
// route is not in the kernel.
func (t *hopTable) lostOwn(set uint32) bool { return t.sets[set].own && t.sets[set].absent() }

// change gives a set of a prefix's own other members. Those that are in no other
// set are removed after the group has been written.
func (t *hopTable) change(s *hopSet, members []uint32) {
	for _, m := range members {
		t.members[m].refs++
	}
	t.leave(s.members)
	s.members, s.changed = members, true
}

// adoptOwn takes over the members that are understood.
func (t *hopTable) adoptOwn(o NextHopObject, group []uint32, w []uint8) {
	known := slices.DeleteFunc(slices.Clone(group), func(m uint32) bool { return t.members[m].at == (Hop{}) })
	if len(known) == 0 {
		return
	}
	_, _, i := splitID(o.ID)
	grow(&t.sets, i)
	t.fillOwn(i, known)
	s := &t.sets[i]
	s.group, s.weights, s.has, s.tried = group, w, o.Resilience, true
	s.changed = len(known) < len(group)
}

// asItMustBe tells that the kernel's group has these members and its floor, and if
// it is resilient their weights, and the times of these days.
func (f *FIB) asItMustBe(t *hopTable, s *hopSet, members []uint32) bool {
	if s.changed || s.group == nil || s.floored != t.hasFloor(s) || !slices.Equal(members, s.group) {
		return false
	}
	return !s.own || slices.Equal(t.weigh(members), s.weights) &&
		near(s.has.Idle, f.resilience.Idle) && near(s.has.Unbalanced, f.resilience.Unbalanced)
}

// near: the kernel rounds to its ticks.
func near(a, b time.Duration) bool { return (a - b).Abs() <= 50*time.Millisecond }

// mostAlike finds the member whose gateway's address ends most like that of
// another one. What stands in for a member of an anycast prefix should be the
// same hypervisor on another plane; where its own prefixes don't tell, since it
// has none, its number in both subnets does, which most people choose equal.
func (t *hopTable) mostAlike(m uint32, candidates []uint32) uint32 {
	best, most := candidates[0], -1
	for _, c := range candidates {
		if n := commonEnd(t.members[m].hop.Gateway, t.members[c].hop.Gateway); n > most {
			best, most = c, n
		}
	}
	return best
}

// commonEnd is how many bits at their end two addresses have in common.
func commonEnd(a, b netip.Addr) int {
	x, y := a.As16(), b.As16()
	if n := bits.TrailingZeros64(binary.BigEndian.Uint64(x[8:]) ^ binary.BigEndian.Uint64(y[8:])); n < 64 {
		return n
	}
	return 64 + bits.TrailingZeros64(binary.BigEndian.Uint64(x[:8])^binary.BigEndian.Uint64(y[:8]))
}
