package vrf

// Next-hop ids are 201|ss|nnnnn in decimal: the protocol, the VRF's slot, and
// a number below 50000 for a member and above it for a group. So every id
// tells its VRF, and `ip nexthop` can be read.
const (
	idBase     = Protocol * 10_000_000
	idSlot     = 100_000
	idGroup    = 50_000
	slots      = 100
	idEnd      = idBase + slots*idSlot
	maxMembers = idGroup - 2 // the first and the last are floors
)

// OwnNextHop tells whether an id is in the range of ours.
func OwnNextHop(id uint32) bool { return id >= idBase && id < idEnd }

func memberID(slot int, i uint32) uint32 { return uint32(idBase+slot*idSlot) + i }
func groupID(slot int, i uint32) uint32  { return memberID(slot, i) + idGroup }

// splitID takes an id of ours apart.
func splitID(id uint32) (slot int, group bool, i uint32) {
	n := id - idBase
	i = n % idSlot
	if i >= idGroup {
		return int(n / idSlot), true, i - idGroup
	}
	return int(n / idSlot), false, i
}

// assignSlots gives each VRF a slot that depends on its table where it can, so
// that a changed configuration rarely moves one.
func assignSlots(vrfs []VRF) map[string]int {
	taken := map[int]bool{}
	out := map[string]int{}
	for _, v := range vrfs {
		slot := int(v.Table % slots)
		for taken[slot] {
			slot = (slot + 1) % slots
		}
		taken[slot] = true
		out[v.Name] = slot
	}
	return out
}
