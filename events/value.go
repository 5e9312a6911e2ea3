package events

import (
	"encoding/hex"
	"net/netip"
	"strings"
)

// Prefix, Addr and MAC decode leniently: text that is no such value is kept
// aside, so that Validate, which knows the name of the field, can report it.

// Prefix is an address prefix, "203.0.113.7/32" or "2001:db8::/64" in JSON. A
// bare address is read as the prefix of that one host.
type Prefix struct {
	netip.Prefix
	raw string
}

// PrefixFrom wraps p.
func PrefixFrom(p netip.Prefix) Prefix { return Prefix{Prefix: p} }

// ParsePrefix reads a prefix or a bare address. Host bits must be zero.
func ParsePrefix(s string) (Prefix, error) {
	p := decodePrefix(s)
	if err := p.check("prefix"); err != nil {
		return Prefix{}, err
	}
	return p, nil
}

func decodePrefix(s string) Prefix {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return Prefix{Prefix: netip.PrefixFrom(a, a.BitLen())}
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return Prefix{raw: s}
	}
	return Prefix{Prefix: p}
}

// IsHost tells whether the prefix holds exactly one address.
func (p Prefix) IsHost() bool { return p.IsSingleIP() }

// UnmarshalText takes any text; Validate judges it.
func (p *Prefix) UnmarshalText(text []byte) error {
	*p = decodePrefix(string(text))
	return nil
}

func (p Prefix) check(field string) *Error {
	switch {
	case p.raw != "":
		return invalid(field, p.raw, "not an address prefix; write it like 203.0.113.7/32 or 2001:db8::/64")
	case !p.IsValid():
		return invalid(field, "", "missing")
	case p.Addr().Is4In6():
		return invalid(field, p.String(), "an IPv4-mapped IPv6 prefix; write it as IPv4")
	case p.Masked() != p.Prefix:
		return invalid(field, p.String(), "host bits are set; the prefix is %s", p.Masked())
	case p.Bits() == 0:
		return invalid(field, p.String(), "a default route is no guest's prefix")
	case p.Addr().IsMulticast():
		return invalid(field, p.String(), "a multicast prefix can't be routed to a guest")
	case p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() || p.Addr().IsUnspecified():
		return invalid(field, p.String(), "a loopback, link-local or unspecified address can't be routed")
	}
	return nil
}

// Addr is one address, without a zone.
type Addr struct {
	netip.Addr
	raw string
}

// AddrFrom wraps a.
func AddrFrom(a netip.Addr) Addr { return Addr{Addr: a} }

// UnmarshalText takes any text; Validate judges it.
func (a *Addr) UnmarshalText(text []byte) error {
	*a = Addr{}
	v, err := netip.ParseAddr(string(text))
	if err != nil {
		a.raw = string(text)
		return nil
	}
	a.Addr = v
	return nil
}

func (a Addr) check(field string) *Error {
	switch {
	case a.raw != "":
		return invalid(field, a.raw, "not an IP address")
	case !a.IsValid():
		return invalid(field, "", "missing")
	case a.Zone() != "":
		return invalid(field, a.String(), "an address here has no zone")
	case a.Is4In6():
		return invalid(field, a.String(), "an IPv4-mapped IPv6 address; write it as IPv4")
	case a.IsMulticast() || a.IsUnspecified() || a.IsLoopback():
		return invalid(field, a.String(), "not an address of a host")
	}
	return nil
}

// MAC is a 48-bit hardware address, "52:54:00:12:34:56" in JSON.
type MAC struct {
	Octets [6]byte
	raw    string
}

// ParseMAC reads six colon-separated octets of a unicast address.
func ParseMAC(s string) (MAC, error) {
	m := decodeMAC(s)
	if err := m.check("mac"); err != nil {
		return MAC{}, err
	}
	return m, nil
}

func decodeMAC(s string) MAC {
	var m MAC
	if len(s) == 17 && strings.Count(s, ":") == 5 {
		if n, err := hex.Decode(m.Octets[:], []byte(strings.ReplaceAll(s, ":", ""))); err == nil && n == 6 {
			return m
		}
	}
	return MAC{raw: s}
}

// String gives the six octets in lower case with colons.
func (m MAC) String() string {
	var b [17]byte
	for i, o := range m.Octets {
		hex.Encode(b[i*3:], []byte{o})
		if i < 5 {
			b[i*3+2] = ':'
		}
	}
	return string(b[:])
}

// MarshalText gives the form of String.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText takes any text; Validate judges it.
func (m *MAC) UnmarshalText(text []byte) error {
	*m = decodeMAC(string(text))
	return nil
}

// LinkLocal is the IPv6 link-local address that is formed from the hardware
// address (modified EUI-64, RFC 4291 appendix A).
func (m MAC) LinkLocal() netip.Addr {
	a := [16]byte{0: 0xfe, 1: 0x80, 11: 0xff, 12: 0xfe}
	copy(a[8:11], m.Octets[:3])
	copy(a[13:], m.Octets[3:])
	a[8] ^= 2
	return netip.AddrFrom16(a)
}

func (m MAC) check(field string) *Error {
	switch {
	case m.raw != "":
		return invalid(field, m.raw, "not a hardware address; write it like 52:54:00:12:34:56")
	case m.Octets == [6]byte{}:
		return invalid(field, "", "missing")
	case m.Octets[0]&1 != 0:
		return invalid(field, m.String(), "a group address is no guest's hardware address")
	}
	return nil
}
