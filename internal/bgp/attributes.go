package bgp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Path attributes that mean something here (IANA, BGP Path Attributes).
const (
	attrOrigin       = 1
	attrASPath       = 2
	attrNextHop      = 3
	attrMED          = 4
	attrLocalPref    = 5
	attrAtomic       = 6
	attrAggregator   = 7
	attrCommunities  = 8
	attrOriginator   = 9
	attrClusterList  = 10
	attrMPReach      = 14
	attrMPUnreach    = 15
	attrExtended     = 16
	attrAS4Path      = 17
	attrAS4Aggr      = 18
	attrExtendedIPv6 = 25
	attrLarge        = 32
)

// Flags of a path attribute (RFC 4271 section 4.3).
const (
	flagOptional   = 0x80
	flagTransitive = 0x40
	flagLength     = 0x10
)

// flagsOf gives the optional and transitive flags of the known attributes.
var flagsOf = [256]int16{
	attrOrigin: flagTransitive, attrASPath: flagTransitive, attrNextHop: flagTransitive,
	attrMED: flagOptional, attrLocalPref: flagTransitive, attrAtomic: flagTransitive,
	attrAggregator: flagOptional | flagTransitive, attrCommunities: flagOptional | flagTransitive,
	attrOriginator: flagOptional, attrClusterList: flagOptional,
	attrMPReach: flagOptional, attrMPUnreach: flagOptional,
	attrExtended: flagOptional | flagTransitive, attrAS4Path: flagOptional | flagTransitive,
	attrAS4Aggr: flagOptional | flagTransitive, attrExtendedIPv6: flagOptional | flagTransitive,
	attrLarge: flagOptional | flagTransitive,
}

// unitOf gives the size of one element of the attributes that are lists.
var unitOf = [256]uint8{
	attrCommunities: 4, attrClusterList: 4, attrExtended: 8, attrExtendedIPv6: 20, attrLarge: 12,
}

// defaultPreference stands for a LOCAL_PREF that is not there: on eBGP, where
// it has no meaning, and from an iBGP peer that left it out.
const defaultPreference = 100

// Attributes are the attributes of an UPDATE, as far as they matter here. The
// slices point into the message.
type Attributes struct {
	origin      uint8
	hasMED      bool
	localPref   uint32
	med         uint32
	originator  uint32
	nextHop     netip.Addr // of the NLRI field; MP_REACH_NLRI brings its own
	asPath      []byte     // segments of four-octet numbers
	communities []byte
	large       []byte
}

// Well-known communities (RFC 9494 section 6).
const (
	// CommunityLongLivedStale, LLGR_STALE, marks a path that somebody keeps of
	// a session that fell long ago.
	CommunityLongLivedStale uint32 = 0xffff0006
	// CommunityNoLongLived, NO_LLGR, marks a path that nobody is to keep so.
	CommunityNoLongLived uint32 = 0xffff0007
)

func (a *Attributes) hasCommunity(c uint32) bool {
	for b := a.communities; len(b) >= 4; b = b[4:] {
		if binary.BigEndian.Uint32(b) == c {
			return true
		}
	}
	return false
}

// attributeSet remembers which attributes a message has had.
type attributeSet [4]uint64

func (s *attributeSet) has(t uint8) bool { return s[t>>6]&(1<<(t&63)) != 0 }
func (s *attributeSet) add(t uint8)      { s[t>>6] |= 1 << (t & 63) }

// tolerate notes an error that the session survives; withdraw tells whether
// the routes of the message do not.
func (d *Decoder) tolerate(withdraw bool, format string, args ...any) {
	d.u.Withdraw = d.u.Withdraw || withdraw
	d.u.Tolerated = errors.Join(d.u.Tolerated, fmt.Errorf(format, args...))
}

// attributes decodes the path attributes into d.u. What remains of them after
// one that can't be framed is lost; the routes that were found are treated as
// withdrawn (RFC 7606 section 4).
func (d *Decoder) attributes(b []byte) (*attributeSet, error) {
	d.u.Attributes = Attributes{localPref: defaultPreference}
	d.seen = attributeSet{}
	seen, whole := &d.seen, len(b)
	for len(b) > 0 {
		header := 3
		if b[0]&flagLength != 0 {
			header = 4
		}
		if len(b) < header {
			d.tolerate(true, "attributes end within the header of one")
			return seen, nil
		}
		flags, kind, length := b[0], b[1], int(b[2])
		if header == 4 {
			length = int(binary.BigEndian.Uint16(b[2:]))
		}
		if len(b) < header+length {
			d.tolerate(true, "attribute %d has %d bytes where %d are left", kind, length, len(b)-header)
			return seen, nil
		}
		value := b[header : header+length]
		b = b[header+length:]
		if seen.has(kind) {
			if kind == attrMPReach || kind == attrMPUnreach {
				return nil, updateError(SubcodeMalformedAttributes, "attribute %d twice", kind)
			}
			d.tolerate(false, "attribute %d twice", kind) // the first one counts
			continue
		}
		seen.add(kind)
		if err := d.attribute(flags, kind, value, header+length == whole); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

// attribute decodes one attribute; alone tells that the message has no other.
func (d *Decoder) attribute(flags, kind uint8, v []byte, alone bool) error {
	want := flagsOf[kind]
	if want == 0 {
		if flags&flagOptional == 0 {
			return updateError(SubcodeUnrecognizedWellKnown, "unknown well-known attribute %d", kind)
		}
		return nil
	}
	if int16(flags&(flagOptional|flagTransitive)) != want {
		d.tolerate(true, "attribute %d has flags %#x", kind, flags)
	}
	switch kind {
	case attrMPReach:
		return d.mpReach(v)
	case attrMPUnreach:
		return d.mpUnreach(v, alone)
	case attrOrigin, attrASPath, attrNextHop, attrMED, attrLocalPref:
		d.routeAttribute(kind, v)
	default:
		d.otherAttribute(kind, v)
	}
	return nil
}

// routeAttribute decodes what the selection of routes looks at (RFC 7606
// sections 7.1 to 7.5).
func (d *Decoder) routeAttribute(kind uint8, v []byte) {
	a := &d.u.Attributes
	switch {
	case kind == attrASPath:
		d.asPathAttribute(v)
	case kind == attrOrigin:
		if len(v) != 1 || v[0] > 2 {
			d.tolerate(true, "ORIGIN is % x", v)
			return
		}
		a.origin = v[0]
	case kind == attrLocalPref && d.EBGP:
		d.tolerate(false, "LOCAL_PREF from another AS")
	case len(v) != 4:
		d.tolerate(true, "attribute %d has %d bytes instead of 4", kind, len(v))
	case kind == attrNextHop:
		a.nextHop = netip.AddrFrom4([4]byte(v))
	case kind == attrMED:
		a.med, a.hasMED = binary.BigEndian.Uint32(v), true
	case kind == attrLocalPref:
		a.localPref = binary.BigEndian.Uint32(v)
	}
}

// otherAttribute checks and keeps the rest (RFC 7606 sections 7.6 to 7.16, RFC
// 8092 section 5, RFC 6793 section 6).
func (d *Decoder) otherAttribute(kind uint8, v []byte) {
	a := &d.u.Attributes
	unit := int(unitOf[kind])
	switch {
	case kind == attrAtomic && len(v) != 0, kind == attrAggregator && len(v) != d.aggregatorSize():
		d.tolerate(false, "attribute %d has %d bytes", kind, len(v))
	case (kind == attrOriginator || kind == attrClusterList) && d.EBGP:
		d.tolerate(false, "attribute %d from another AS", kind)
	case kind == attrOriginator && len(v) != 4,
		unit != 0 && (len(v) == 0 || len(v)%unit != 0):
		d.tolerate(true, "attribute %d has %d bytes", kind, len(v))
	case kind == attrOriginator:
		a.originator = binary.BigEndian.Uint32(v)
	case kind == attrCommunities:
		a.communities = v
	case kind == attrLarge:
		a.large = v
	}
}

func (d *Decoder) aggregatorSize() int {
	if d.AS4 {
		return 8
	}
	return 6
}
