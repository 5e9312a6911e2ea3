package vrf

import (
	"context"
	"net/netip"
	"slices"
)

// When a link goes, the kernel deletes its next hops, and a group with its last
// member; and for each such group it walks the whole IPv4 table to find the routes,
// with the lock held that every change of a link of the machine needs: minutes for
// two million routes. So each group has one member more, which is there as long as
// the VRF: the floor. Its gateway is one that nobody has, on the VRF device, and is
// known not to answer, so that the kernel passes it over while any other member
// works. Where none does, packets are answered with ICMP's host unreachable, and the
// routes stay: when a link is back its groups are all that has to be written.
// docs/adr/0016-floor.md has the numbers.

// The addresses that can't be anybody's: IPv4's dummy address (RFC 7600, section
// 4.8) and one of IPv6's discard prefix (RFC 6666).
var floorGateways = [2]netip.Addr{netip.AddrFrom4([4]byte{192, 0, 0, 8}), netip.MustParseAddr("100::1")}

// The shares of a member and of the floor. The kernel gives the floor's to the
// first member that works, so it has to be small.
const (
	memberShare = 255
	floorShare  = 1
)

const (
	ipv4 = iota
	ipv6
)

// floor is the object of one family, as the kernel has it.
type floor struct {
	at    Hop  // zero: it is not there
	dead  bool // the kernel knows that nobody answers
	tried bool // it was refused since the last look
}

// holds tells that groups may have it.
func (o *floor) holds() bool { return o.at != (Hop{}) && o.dead }

// IsFloor tells whether a next-hop id is that of a floor: the first of a VRF's
// members for IPv4, the last for IPv6.
func IsFloor(id uint32) bool {
	_, group, i := splitID(id)
	return OwnNextHop(id) && !group && (i == 0 || i > maxMembers)
}

// IsFloorGateway tells whether an address is that of a floor.
func IsFloorGateway(a netip.Addr) bool { return slices.Contains(floorGateways[:], a) }

func floorID(slot, family int) uint32 { return memberID(slot, uint32(family*(idGroup-1))) }

// SetFloor names the link on which the floor of a VRF's groups stands; without a
// name there is none. It is the VRF device unless said otherwise: where there is
// only a table no link is known to stay.
func (f *FIB) SetFloor(vrf, link string) {
	if v := f.vrfs[vrf]; v != nil {
		v.floorLink = link
	}
}

// readFloor looks for the link.
func (v *fibVRF) readFloor(ports map[string]Port) {
	v.floorPort = 0
	if p, exists := ports[v.floorLink]; exists && p.Running && v.floorLink != "" {
		v.floorPort = p.Index
	}
}

// observeFloors books what the kernel has.
func (t *hopTable) observeFloors(actual map[uint32]NextHopObject) {
	for family := range t.floors {
		o := actual[floorID(t.slot, family)]
		t.floors[family] = floor{at: o.Hop, dead: o.Dead}
	}
}

// settleFloors makes the floors that the groups of these sets need.
func (f *FIB) settleFloors(ctx context.Context, v *fibVRF, sets []uint32) error {
	if v.floorPort == 0 {
		return nil
	}
	t := v.hops
	var needed [2]bool
	for _, i := range sets {
		if s := &t.sets[i]; s.members != nil && !s.own {
			needed[t.familyOf(s)] = true
		}
	}
	var ops []NextHopOp
	var families []int
	for family, is := range t.floors {
		want := Hop{floorGateways[family], v.floorPort}
		if !needed[family] || is.tried || is.at == want && is.dead {
			continue
		}
		t.floors[family].tried = true
		o := NextHopObject{ID: floorID(t.slot, family), Protocol: Protocol, Hop: want, Dead: true}
		ops, families = append(ops, NextHopOp{Object: o, Replace: is.at != (Hop{})}), append(families, family)
	}
	return f.writeNextHops(ctx, ops, func(n int) { t.floors[families[n]] = floor{at: ops[n].Object.Hop, dead: true} })
}

// familyOf: IPv6 routes can't have a group with an IPv4 member.
func (t *hopTable) familyOf(s *hopSet) int {
	if slices.ContainsFunc(s.members, func(m uint32) bool { return t.members[m].hop.Gateway.Is4() }) {
		return ipv4
	}
	return ipv6
}

// hasFloor tells whether a set's group is to have one. A resilient group is not:
// it gives each member its buckets, whether it works or not.
func (t *hopTable) hasFloor(s *hopSet) bool { return !s.own && t.floors[t.familyOf(s)].holds() }
