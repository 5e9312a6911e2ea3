package session

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/hostroute/hostroute/internal/bgp"
)

// outgoing is an announcement as one session tells it: with its next hop.
// Communities are held as a string, so that it can be compared.
type outgoing struct {
	preference  uint32
	communities string
	nextHop     netip.Addr
}

// style is how a session writes its updates.
type style struct {
	as   uint32
	ebgp bool
	as4  bool
}

// adjOut is what a peer is told of one family (Adj-RIB-Out): announcements in the order
// of their prefixes, never written again, and what the session makes of them.
type adjOut struct {
	list    []bgp.Announcement
	nextHop netip.Addr
	unsound bool // packets are lost over the uplink
}

// of is an announcement as it is told.
func (o adjOut) of(a bgp.Announcement) outgoing {
	if o.unsound && a.Preference > 0 {
		a.Preference--
	}
	return outgoing{a.Preference, encodeCommunities(a.Communities), o.nextHop}
}

// tells tells whether two of the same prefix are told alike.
func (o adjOut) tells(a bgp.Announcement, p adjOut, b bgp.Announcement) bool {
	if o.nextHop == p.nextHop && o.unsound == p.unsound && a.Preference == b.Preference && slices.Equal(a.Communities, b.Communities) {
		return true // as nearly all of many
	}
	return o.of(a) == p.of(b)
}

// difference builds the UPDATEs that lead from what a peer was told of a family
// to what it is to know. What it gains is told before what it loses, so that an
// address that becomes part of another prefix is never without a route. What is the
// same costs a comparison, and nothing else.
func (s style) difference(f bgp.Family, told, want adjOut, all bool) (b []byte, err error) {
	var groups map[outgoing][]netip.Prefix
	var gone []netip.Prefix
	old := told.list
	for _, a := range want.list {
		for len(old) > 0 && old[0].Prefix.Compare(a.Prefix) < 0 {
			gone, old = append(gone, old[0].Prefix), old[1:]
		}
		known := len(old) > 0 && old[0].Prefix == a.Prefix
		if !known || all || !told.tells(old[0], want, a) {
			if groups == nil {
				groups = map[outgoing][]netip.Prefix{}
			}
			o := want.of(a)
			groups[o] = append(groups[o], a.Prefix)
		}
		if known {
			old = old[1:]
		}
	}
	for _, a := range old {
		gone = append(gone, a.Prefix)
	}
	for _, o := range slices.SortedFunc(maps.Keys(groups), compareOutgoing) {
		if b, err = s.announce(b, f, o, groups[o]); err != nil {
			return nil, err
		}
	}
	return withdraw(b, f, gone)
}

func compareOutgoing(a, b outgoing) int {
	return cmp.Or(cmp.Compare(b.preference, a.preference), cmp.Compare(a.communities, b.communities))
}

// withdraw builds UPDATEs that withdraw prefixes of one family.
func withdraw(dst []byte, f bgp.Family, prefixes []netip.Prefix) ([]byte, error) {
	for part := range slices.Chunk(prefixes, perMessage(f, 0)) {
		var m *packet.BGPMessage
		if f == bgp.IPv4 {
			m = packet.NewBGPUpdateMessage(classic(part), nil, nil)
		} else {
			m = packet.NewBGPUpdateMessage(nil, []packet.PathAttributeInterface{packet.NewPathAttributeMpUnreachNLRI(multiprotocol(part))}, nil)
		}
		var err error
		if dst, err = serialize(dst, m); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// announce builds UPDATEs that announce prefixes of one family with the same
// attributes, as many in a message as it holds. MP_REACH_NLRI comes first (RFC
// 7606 section 5.1).
func (s style) announce(dst []byte, f bgp.Family, o outgoing, prefixes []netip.Prefix) ([]byte, error) {
	attributes := s.attributes(o)
	for part := range slices.Chunk(prefixes, perMessage(f, len(o.communities))) {
		var m *packet.BGPMessage
		if f == bgp.IPv4 && o.nextHop.Is4() {
			list := append(slices.Clone(attributes), packet.NewPathAttributeNextHop(o.nextHop.String()))
			m = packet.NewBGPUpdateMessage(nil, list, classic(part))
		} else {
			reach := packet.NewPathAttributeMpReachNLRI(o.nextHop.String(), multiprotocol(part))
			m = packet.NewBGPUpdateMessage(nil, append([]packet.PathAttributeInterface{reach}, attributes...), nil)
		}
		var err error
		if dst, err = serialize(dst, m); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// perMessage is how many of the longest prefixes fit beside the attributes.
func perMessage(f bgp.Family, communities int) int {
	const fixed = 128 // header, lengths, and all attributes that don't vary
	longest := 5
	if f == bgp.IPv6 {
		longest = 17
	}
	return max(1, (maxMessage-fixed-communities)/longest)
}

func (s style) attributes(o outgoing) []packet.PathAttributeInterface {
	list := []packet.PathAttributeInterface{packet.NewPathAttributeOrigin(packet.BGP_ORIGIN_ATTR_TYPE_IGP), s.asPath()}
	if !s.ebgp {
		list = append(list, packet.NewPathAttributeLocalPref(o.preference))
	}
	if len(o.communities) > 0 {
		list = append(list, packet.NewPathAttributeCommunities(decodeCommunities(o.communities)))
	}
	return list
}

// asPath is empty within the AS, and ourselves towards another.
func (s style) asPath() packet.PathAttributeInterface {
	switch {
	case !s.ebgp:
		return packet.NewPathAttributeAsPath(nil)
	case s.as4:
		return packet.NewPathAttributeAsPath([]packet.AsPathParamInterface{
			packet.NewAs4PathParam(packet.BGP_ASPATH_ATTR_TYPE_SEQ, []uint32{s.as})})
	}
	as := uint16(asTrans)
	if s.as <= 0xffff {
		as = uint16(s.as)
	}
	return packet.NewPathAttributeAsPath([]packet.AsPathParamInterface{
		packet.NewAsPathParam(packet.BGP_ASPATH_ATTR_TYPE_SEQ, []uint16{as})})
}

func classic(prefixes []netip.Prefix) []*packet.IPAddrPrefix {
	list := make([]*packet.IPAddrPrefix, len(prefixes))
	for i, p := range prefixes {
		list[i] = packet.NewIPAddrPrefix(uint8(p.Bits()), p.Addr().String())
	}
	return list
}

func multiprotocol(prefixes []netip.Prefix) []packet.AddrPrefixInterface {
	list := make([]packet.AddrPrefixInterface, len(prefixes))
	for i, p := range prefixes {
		if p.Addr().Is4() {
			list[i] = packet.NewIPAddrPrefix(uint8(p.Bits()), p.Addr().String())
		} else {
			list[i] = packet.NewIPv6AddrPrefix(uint8(p.Bits()), p.Addr().String())
		}
	}
	return list
}

// encodeCommunities puts a set of communities in one form whatever its order.
func encodeCommunities(list []uint32) string {
	list = slices.Compact(slices.Sorted(slices.Values(list)))
	b := make([]byte, 0, 4*len(list))
	for _, c := range list {
		b = append(b, byte(c>>24), byte(c>>16), byte(c>>8), byte(c))
	}
	return string(b)
}

func decodeCommunities(s string) []uint32 {
	list := make([]uint32, 0, len(s)/4)
	for ; len(s) >= 4; s = s[4:] {
		list = append(list, uint32(s[0])<<24|uint32(s[1])<<16|uint32(s[2])<<8|uint32(s[3]))
	}
	return list
}
