package bgp

import (
	"encoding/binary"
	"net/netip"
)

// Address family numbers and the unicast SAFI (RFC 4760).
const (
	afiIPv4     = 1
	afiIPv6     = 2
	safiUnicast = 1
)

// section is one list of prefixes of a message.
type section struct {
	family  Family
	nextHop netip.Addr
	nlri    []nlri
}

// Update is a decoded UPDATE. It points into the message and into its decoder:
// it is valid until the decoder's next call.
type Update struct {
	Attributes Attributes
	// Tolerated says what was wrong with the message without being worth the
	// session (RFC 7606), nil for a sound one.
	Tolerated error
	// Withdraw is set when the message's routes are to be treated as withdrawn.
	Withdraw bool

	endOfRIB [2]bool
	reach    []section
	unreach  []section
}

// EndOfRIB tells whether the message is the End-of-RIB marker of a family (RFC
// 4724 section 2).
func (u *Update) EndOfRIB(f Family) bool { return u.endOfRIB[f] }

// Prefixes counts what the message announces and withdraws, as it is applied.
func (u *Update) Prefixes() (announced, withdrawn int) {
	for _, s := range u.reach {
		announced += len(s.nlri)
	}
	for _, s := range u.unreach {
		withdrawn += len(s.nlri)
	}
	if u.Withdraw {
		return 0, announced + withdrawn
	}
	return announced, withdrawn
}

// Decoder decodes UPDATEs of one session, by what was negotiated there.
type Decoder struct {
	Families [2]bool // negotiated; prefixes of another family are ignored
	AddPath  [2]bool // prefixes carry path identifiers
	AS4      bool    // AS numbers have four octets (RFC 6793)
	EBGP     bool    // the peer is of another AS
	LocalAS  uint32
	RouterID uint32

	u       Update
	buffers [4][]nlri
	seen    attributeSet
	aspath  []byte
}

// Decode decodes the body of an UPDATE: the message without its header. The
// error, a *[MessageError], ends the session.
func (d *Decoder) Decode(body []byte) (*Update, error) {
	u := &d.u
	*u = Update{reach: u.reach[:0], unreach: u.unreach[:0]}
	withdrawn, attributes, nlri, err := split(body)
	if err != nil {
		return nil, err
	}
	if err := d.section(&u.unreach, 0, IPv4, netip.Addr{}, withdrawn); err != nil {
		return nil, err
	}
	seen, err := d.attributes(attributes)
	if err != nil {
		return nil, err
	}
	if err := d.section(&u.reach, 1, IPv4, u.Attributes.nextHop, nlri); err != nil {
		return nil, err
	}
	d.complete(seen, len(nlri) > 0)
	if u.Withdraw && len(nlri) == 0 && !seen.has(attrMPReach) {
		// Nothing to withdraw was found: RFC 7606 section 5.2.
		return nil, updateError(SubcodeMalformedAttributes, "%v, and no routes", u.Tolerated)
	}
	u.endOfRIB[IPv4] = len(body) == 4
	return u, nil
}

// split cuts the body into its three parts. Lengths that contradict each other
// leave nothing to be trusted (RFC 7606 section 3, item b).
func split(body []byte) (withdrawn, attributes, nlri []byte, err error) {
	if len(body) < 4 {
		return nil, nil, nil, updateError(SubcodeMalformedAttributes, "an UPDATE of %d bytes", len(body))
	}
	n := int(binary.BigEndian.Uint16(body))
	if 2+n+2 > len(body) {
		return nil, nil, nil, updateError(SubcodeMalformedAttributes, "%d bytes of withdrawn routes in an UPDATE of %d", n, len(body))
	}
	withdrawn, body = body[2:2+n], body[2+n:]
	n = int(binary.BigEndian.Uint16(body))
	if 2+n > len(body) {
		return nil, nil, nil, updateError(SubcodeMalformedAttributes, "%d bytes of attributes where %d are left", n, len(body)-2)
	}
	return withdrawn, body[2 : 2+n], body[2+n:], nil
}

// section decodes a list of prefixes into the buffer of that number.
func (d *Decoder) section(to *[]section, buffer int, f Family, nextHop netip.Addr, b []byte) error {
	if len(b) == 0 || !d.Families[f] {
		return nil
	}
	list, err := appendNLRI(d.buffers[buffer][:0], b, f, d.AddPath[f])
	d.buffers[buffer] = list[:0]
	if err != nil {
		return err
	}
	*to = append(*to, section{family: f, nextHop: nextHop, nlri: list})
	return nil
}

// complete checks for the attributes that routes can't be without (RFC 7606
// section 3, item d) and for routes of our own that came back.
func (d *Decoder) complete(seen *attributeSet, classic bool) {
	u := &d.u
	if len(u.reach) == 0 {
		return
	}
	switch {
	case !seen.has(attrOrigin):
		d.tolerate(true, "no ORIGIN")
	case !seen.has(attrASPath):
		d.tolerate(true, "no AS_PATH")
	case classic && !seen.has(attrNextHop):
		d.tolerate(true, "no NEXT_HOP")
	}
	a := &u.Attributes
	if a.originator != 0 && a.originator == d.RouterID || a.passed(d.LocalAS) {
		u.Withdraw = true // RFC 4456 section 8, RFC 4271 section 9.1.2
	}
}

// mpReach decodes MP_REACH_NLRI (RFC 4760 section 3). A next hop whose length
// makes no sense hides where the prefixes begin: RFC 7606 section 7.11.
func (d *Decoder) mpReach(b []byte) error {
	if len(b) < 5 || len(b) < 5+int(b[3]) {
		return updateError(SubcodeOptionalAttribute, "MP_REACH_NLRI ends after %d bytes", len(b))
	}
	hop, rest := b[4:4+int(b[3])], b[5+int(b[3]):]
	f, ok := family(b)
	if !ok {
		return nil
	}
	addr, ok := mpNextHop(hop)
	if !ok {
		return updateError(SubcodeOptionalAttribute, "a next hop of %d bytes in MP_REACH_NLRI", len(hop))
	}
	return d.section(&d.u.reach, 2, f, addr, rest)
}

// mpUnreach decodes MP_UNREACH_NLRI (RFC 4760 section 4).
func (d *Decoder) mpUnreach(b []byte, alone bool) error {
	if len(b) < 3 {
		return updateError(SubcodeOptionalAttribute, "MP_UNREACH_NLRI ends after %d bytes", len(b))
	}
	f, ok := family(b)
	if !ok {
		return nil
	}
	d.u.endOfRIB[f] = alone && len(b) == 3
	return d.section(&d.u.unreach, 3, f, netip.Addr{}, b[3:])
}

func family(b []byte) (Family, bool) {
	if b[2] != safiUnicast {
		return 0, false
	}
	switch binary.BigEndian.Uint16(b) {
	case afiIPv4:
		return IPv4, true
	case afiIPv6:
		return IPv6, true
	}
	return 0, false
}

// mpNextHop reads a next hop of either family (RFC 8950) with or without a
// link-local address behind it (RFC 2545 section 3). The global one is taken,
// unless there is none.
func mpNextHop(b []byte) (netip.Addr, bool) {
	switch len(b) {
	case 4, 16:
		a, _ := netip.AddrFromSlice(b)
		return a, true
	case 32:
		global, _ := netip.AddrFromSlice(b[:16])
		local, _ := netip.AddrFromSlice(b[16:])
		if global.IsUnspecified() || global.IsLinkLocalUnicast() {
			return local, true
		}
		return global, true
	}
	return netip.Addr{}, false
}
