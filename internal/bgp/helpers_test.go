package bgp

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

// message builds UPDATE bodies by hand, wrong ones too.
type message struct {
	withdrawn  []byte
	attributes []byte
	nlri       []byte
}

func (m *message) attr(flags, kind byte, value ...byte) *message {
	m.attributes = append(m.attributes, flags|flagLength, kind, byte(len(value)>>8), byte(len(value)))
	m.attributes = append(m.attributes, value...)
	return m
}

// base adds the attributes that every route has.
func (m *message) base() *message {
	return m.attr(0x40, attrOrigin, 0).attr(0x40, attrASPath).attr(0x40, attrLocalPref, 0, 0, 0, 100)
}

func (m *message) hop(a string) *message {
	return m.attr(0x40, attrNextHop, netip.MustParseAddr(a).AsSlice()...)
}

func (m *message) bytes() []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(m.withdrawn)))
	b = append(b, m.withdrawn...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.attributes)))
	b = append(b, m.attributes...)
	return append(b, m.nlri...)
}

func wire(id int64, prefixes ...string) (b []byte) {
	for _, s := range prefixes {
		p := netip.MustParsePrefix(s)
		if id >= 0 {
			b = binary.BigEndian.AppendUint32(b, uint32(id))
		}
		b = append(b, byte(p.Bits()))
		b = append(b, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
	}
	return b
}

func mpReach(afi byte, hop string, nlri []byte) []byte {
	h := netip.MustParseAddr(hop).AsSlice()
	return append(append(append([]byte{0, afi, 1, byte(len(h))}, h...), 0), nlri...)
}

func decoder(addPath bool) *Decoder {
	return &Decoder{
		Families: [2]bool{true, true}, AddPath: [2]bool{addPath, addPath}, AS4: true,
		LocalAS: 65000, RouterID: 0x0a000001,
	}
}

func mustDecode(t testing.TB, d *Decoder, body []byte) *Update {
	t.Helper()
	u, err := d.Decode(body)
	if err != nil {
		t.Fatalf("decoding % x: %v", body, err)
	}
	return u
}
