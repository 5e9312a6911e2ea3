package vrf

import "net/netip"

// Learned is a learned route as the FIB knows it.
type Learned struct {
	Prefix   netip.Prefix
	NextHops []NextHop
	// Unconfirmed: found in the kernel at start and not learned since.
	Unconfirmed bool
}

// Stats are the counts of a VRF's learned routes.
type Stats struct {
	IPv4, IPv6  int
	Members     int // next hops: a gateway on an uplink
	Groups      int // sets of them
	Own         int // of these, sets that are one prefix's own
	Dirty       int // routes whose last write failed
	Unreachable int // sets none of whose links works: their routes lead to the floor, or are not in the kernel
}

// Stats counts. An unknown VRF has nothing.
func (f *FIB) Stats(vrf string) Stats {
	v := f.vrfs[vrf]
	if v == nil {
		return Stats{}
	}
	s := Stats{IPv4: v.routes.n4, IPv6: v.routes.n6, Members: len(v.hops.byHop), Own: v.hops.own, Dirty: len(v.dirty)}
	for i := range v.hops.sets {
		if v.hops.sets[i].members == nil {
			continue
		}
		s.Groups++
		if g := &v.hops.sets[i]; len(g.group) == 0 && len(g.hops) == 0 {
			s.Unreachable++
		}
	}
	return s
}

// Lookup finds the longest learned prefix that holds the address. A guest's
// own route, which the FIB does not know, would win over it.
func (f *FIB) Lookup(vrf string, addr netip.Addr) (Learned, bool) {
	for bits := addr.BitLen(); bits >= 0; bits-- {
		prefix, err := addr.Prefix(bits)
		if err != nil {
			break
		}
		if l, ok := f.Route(vrf, prefix); ok {
			return l, true
		}
	}
	return Learned{}, false
}

// Route finds the learned route of exactly this prefix.
func (f *FIB) Route(vrf string, prefix netip.Prefix) (Learned, bool) {
	v := f.vrfs[vrf]
	if v == nil || !prefix.IsValid() || prefix.Addr().Is4In6() {
		return Learned{}, false
	}
	value, ok := v.routes.get(prefix)
	if !ok {
		return Learned{}, false
	}
	return v.learned(prefix, value), true
}

func (v *fibVRF) learned(p netip.Prefix, value uint32) Learned {
	return Learned{p, v.hops.hopsOf(value & setMask), value&unconfirmed != 0}
}
