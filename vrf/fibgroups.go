package vrf

import (
	"context"
	"slices"
)

// observe books what the kernel has.
func (t *hopTable) observe(actual map[uint32]NextHopObject) {
	t.observeFloors(actual)
	for i := range t.members {
		m := &t.members[i]
		m.at = Hop{}
		if o, ok := actual[memberID(t.slot, uint32(i))]; ok && i > 0 {
			m.at = o.Hop
		}
	}
	for i := 1; i < len(t.sets); i++ {
		s := &t.sets[i]
		o, ok := actual[groupID(t.slot, uint32(i))]
		s.group, s.floored, s.wrong, s.has = nil, false, ok && s.own != (o.Resilience.Buckets > 0), o.Resilience
		if ok && !s.wrong {
			s.floored = t.standsOnFloor(o)
			s.group, s.weights = t.groupOf(o)
		}
	}
}

// groupOf translates a kernel's group, in the order of members. A member that
// is not of this VRF becomes 0, so that the group is never mistaken for a right
// one; the floor is left out. Only of a resilient group the weights are of
// interest.
func (t *hopTable) groupOf(o NextHopObject) ([]uint32, []uint8) {
	group, weight := make([]uint32, 0, len(o.Group)), map[uint32]uint8{}
	for n, id := range o.Group {
		if o.Resilience.Buckets == 0 && IsFloor(id) {
			continue
		}
		slot, isGroup, i := splitID(id)
		if !OwnNextHop(id) || isGroup || slot != t.slot || int(i) >= len(t.members) {
			i = 0
		}
		group = append(group, i)
		if weight[i] = 1; o.Weights != nil {
			weight[i] = o.Weights[n]
		}
	}
	slices.Sort(group)
	if o.Resilience.Buckets == 0 {
		return group, nil
	}
	return group, mapped(group, func(m uint32) uint8 { return weight[m] })
}

// standsOnFloor tells that the last of a group's members, and only that, is a floor
// of this VRF.
func (t *hopTable) standsOnFloor(o NextHopObject) bool {
	first := slices.IndexFunc(o.Group, IsFloor)
	return first >= 0 && first == len(o.Group)-1 && slices.Contains([]uint32{floorID(t.slot, ipv4), floorID(t.slot, ipv6)}, o.Group[first])
}

// settleGroups brings the groups of the sets to their living members.
func (f *FIB) settleGroups(ctx context.Context, v *fibVRF, sets []uint32) error {
	t := v.hops
	var ops []NextHopOp
	var done []settled
	for _, i := range sets {
		s := &t.sets[i]
		if s.members == nil {
			continue
		}
		list := f.living(v, s)
		if !f.objects {
			f.settlePlain(v, s, list)
			continue
		}
		empty := len(list) == 0 && !t.hasFloor(s)
		if empty && !s.changed || f.asItMustBe(t, s, list) {
			continue
		}
		// The kernel doesn't replace a group by one of another type. And one that
		// has none of its new members must not keep the old ones.
		if s.wrong || s.group != nil && empty {
			ops, done = append(ops, deletion(groupID(t.slot, i))), append(done, settled{set: i})
		}
		if empty {
			continue
		}
		for _, to := range t.waysTo(s, list) {
			ops = append(ops, NextHopOp{Object: f.groupObject(t, i, to), Replace: s.group != nil})
			done = append(done, settled{i, to})
		}
	}
	return f.writeNextHops(ctx, ops, func(n int) {
		s, to := &t.sets[done[n].set], done[n].step
		if ops[n].Delete {
			s.group, s.floored, s.wrong, s.changed = nil, false, false, false
			return
		}
		s.stale = s.stale || s.group == nil && s.tried
		s.group, s.weights, s.has, s.changed = to.members, to.weights, ops[n].Object.Resilience, false
		s.floored = !s.own && ops[n].Object.Weights != nil
	})
}

// settled is what an operation makes of a set's group.
type settled struct {
	set uint32
	step
}

// waysTo is one step, or several for a prefix's own group.
func (t *hopTable) waysTo(s *hopSet, list []uint32) []step {
	if !s.own {
		return []step{{list, nil}}
	}
	from := slices.DeleteFunc(slices.Clone(s.group), func(m uint32) bool { return t.members[m].at == (Hop{}) })
	if len(from) == 0 {
		return []step{{list, t.weigh(list)}}
	}
	return t.steps(from, list)
}

func (f *FIB) groupObject(t *hopTable, set uint32, to step) NextHopObject {
	o := NextHopObject{ID: groupID(t.slot, set), Protocol: Protocol, Weights: to.weights}
	o.Group = mapped(to.members, func(m uint32) uint32 { return memberID(t.slot, m) })
	s := &t.sets[set]
	if t.hasFloor(s) {
		o.Weights = slices.Repeat([]uint8{memberShare}, len(o.Group))
		o.Group, o.Weights = append(o.Group, floorID(t.slot, t.familyOf(s))), append(o.Weights, floorShare)
	}
	if s.own {
		o.Resilience = f.resilience
		if s.group != nil {
			o.Resilience.Buckets = s.has.Buckets // no kernel changes their number
		}
	}
	return o
}
