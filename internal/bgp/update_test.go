package bgp

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// outcome is what RFC 7606 has an error cost.
type outcome int

const (
	accepted outcome = iota
	discarded
	withdrawn
	ours // withdrawn too, and no error
	reset
)

// malformed are the cases of RFC 7606 sections 3 to 7, of RFC 4271 section
// 6.3 where that was not replaced, and inputs that have crashed other speakers.
var malformed = []struct {
	name    string
	message *message
	want    outcome
	subcode uint8
	ebgp    bool
}{
	{name: "sound", message: good(), want: accepted},
	{name: "origin of two bytes", message: without(attrOrigin).attr(0x40, attrOrigin, 0, 0), want: withdrawn},
	{name: "origin 3", message: without(attrOrigin).attr(0x40, attrOrigin, 3), want: withdrawn},
	{name: "origin flags", message: without(attrOrigin).attr(0xc0, attrOrigin, 0), want: withdrawn},
	{name: "no origin", message: without(attrOrigin), want: withdrawn},
	{name: "no path", message: without(attrASPath), want: withdrawn},
	{name: "path segment of no numbers", message: without(attrASPath).attr(0x40, attrASPath, 2, 0), want: withdrawn},
	{name: "path segment too long", message: without(attrASPath).attr(0x40, attrASPath, 2, 2, 0, 0, 0, 1), want: withdrawn},
	{name: "path segment of unknown kind", message: without(attrASPath).attr(0x40, attrASPath, 9, 1, 0, 0, 0, 1), want: withdrawn},
	{name: "path of one byte", message: without(attrASPath).attr(0x40, attrASPath, 2), want: withdrawn},
	{name: "path through us", message: without(attrASPath).attr(0x40, attrASPath, 2, 1, 0, 0, 0xfd, 0xe8), want: ours},
	{name: "no next hop", message: without(attrNextHop), want: withdrawn},
	{name: "next hop of 3 bytes", message: without(attrNextHop).attr(0x40, attrNextHop, 1, 2, 3), want: withdrawn},
	{name: "MED of 3 bytes", message: good().attr(0x80, attrMED, 1, 2, 3), want: withdrawn},
	{name: "preference of 5 bytes", message: without(attrLocalPref).attr(0x40, attrLocalPref, 1, 2, 3, 4, 5), want: withdrawn},
	{name: "no preference", message: without(attrLocalPref), want: accepted},
	{name: "preference from another AS", message: good(), want: discarded, ebgp: true},
	{name: "atomic aggregate with a byte", message: good().attr(0x40, attrAtomic, 1), want: discarded},
	{name: "aggregator of 6 bytes", message: good().attr(0xc0, attrAggregator, 1, 2, 3, 4, 5, 6), want: discarded},
	{name: "communities of 5 bytes", message: good().attr(0xc0, attrCommunities, 1, 2, 3, 4, 5), want: withdrawn},
	{name: "no communities", message: good().attr(0xc0, attrCommunities), want: withdrawn},
	{name: "originator of 3 bytes", message: good().attr(0x80, attrOriginator, 1, 2, 3), want: withdrawn},
	{name: "originator from another AS", message: without(attrLocalPref).attr(0x80, attrOriginator, 1, 2, 3, 4), want: discarded, ebgp: true},
	{name: "originator is us", message: good().attr(0x80, attrOriginator, 10, 0, 0, 1), want: ours},
	{name: "cluster list of 6 bytes", message: good().attr(0x80, attrClusterList, 1, 2, 3, 4, 5, 6), want: withdrawn},
	{name: "extended community of 7 bytes", message: good().attr(0xc0, attrExtended, 1, 2, 3, 4, 5, 6, 7), want: withdrawn},
	{name: "short IPv6 extended community", message: good().attr(0xc0, attrExtendedIPv6, 1, 2, 3, 4), want: withdrawn},
	{name: "large community of 11 bytes", message: good().attr(0xc0, attrLarge, make([]byte, 11)...), want: withdrawn},
	{name: "AS4_PATH before AS_PATH", message: asPathLast(), want: accepted},
	{name: "unknown well-known", message: good().attr(0x40, 200, 1), want: reset, subcode: SubcodeUnrecognizedWellKnown},
	{name: "unknown optional", message: good().attr(0xc0, 200, 1), want: accepted},
	{name: "origin twice", message: good().attr(0x40, attrOrigin, 2), want: discarded},
	{name: "multiprotocol twice", want: reset, subcode: SubcodeMalformedAttributes,
		message: good().attr(0x80, attrMPUnreach, 0, 2, 1).attr(0x80, attrMPUnreach, 0, 2, 1)},
	{name: "attribute longer than the rest", message: overrun(), want: withdrawn},
	{name: "half an attribute header", message: truncated(), want: withdrawn},
	{name: "prefix length 33", message: nlriOf(33, 1, 2, 3, 4, 5), want: reset, subcode: SubcodeInvalidNetwork},
	{name: "prefix cut short", message: nlriOf(32, 1, 2), want: reset, subcode: SubcodeInvalidNetwork},
	{name: "multiprotocol of 4 bytes", message: good().attr(0x80, attrMPReach, 0, 2, 1, 0), want: reset, subcode: SubcodeOptionalAttribute},
	{name: "next hop of 7 bytes", want: reset, subcode: SubcodeOptionalAttribute,
		message: good().attr(0x80, attrMPReach, 0, 2, 1, 7, 1, 2, 3, 4, 5, 6, 7, 0)},
	{name: "unknown family", message: good().attr(0x80, attrMPReach, 0, 25, 70, 0, 0), want: accepted},
	{name: "error without routes", message: new(message).attr(0x40, attrOrigin, 9), want: reset, subcode: SubcodeMalformedAttributes},
}

const goodPrefix = "198.51.100.0/24"

// good announces goodPrefix.
func good() *message {
	m := new(message).base().hop("100.64.0.2")
	m.nlri = wire(-1, goodPrefix)
	return m
}

// without is good without one attribute.
func without(kind byte) *message {
	m, all := &message{nlri: wire(-1, goodPrefix)}, good().attributes
	for len(all) > 0 {
		n := 4 + int(all[3])
		if all[1] != kind {
			m.attributes = append(m.attributes, all[:n]...)
		}
		all = all[n:]
	}
	return m
}

func asPathLast() *message {
	return without(attrASPath).attr(0xc0, attrAS4Path, 2, 1, 0, 0, 0, 9).attr(0x40, attrASPath)
}

func overrun() *message {
	m := good().attr(0xc0, attrCommunities, 1, 2, 3, 4)
	m.attributes[len(m.attributes)-5] = 200
	return m
}

func truncated() *message {
	m := good()
	m.attributes = append(m.attributes, 0xc0, 8)
	return m
}

func nlriOf(b ...byte) *message {
	m := good()
	m.nlri = b
	return m
}

func TestMalformedUpdatesCostWhatRFC7606Says(t *testing.T) {
	for _, c := range malformed {
		t.Run(c.name, func(t *testing.T) {
			d := decoder(false)
			d.EBGP = c.ebgp
			rib := NewRIB(Config{Sources: testSources})
			rib.Update(0, mustDecode(t, decoder(false), good().bytes()))
			u, err := d.Decode(c.message.bytes())
			if c.want == reset {
				var m *MessageError
				if !errors.As(err, &m) || m.Code != CodeUpdate || m.Subcode != c.subcode {
					t.Fatalf("error %v, want subcode %d", err, c.subcode)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			rib.Update(0, u)
			if got, want := rib.Paths(0, IPv4) == 1, c.want == accepted || c.want == discarded; got != want {
				t.Errorf("route is there: %v, want %v (%v)", got, want, u.Tolerated)
			}
			if got, want := u.Tolerated != nil, c.want == discarded || c.want == withdrawn; got != want {
				t.Errorf("tolerated: %v, want one: %v", u.Tolerated, want)
			}
		})
	}
}

func TestLengthsThatContradictEndTheSession(t *testing.T) {
	for _, body := range [][]byte{{}, {0}, {0, 0, 0}, {0, 1, 0, 0}, {0, 0, 0, 1}, {0xff, 0xff, 0, 0}, {0, 0, 0xff, 0xff, 1}} {
		if u, err := decoder(false).Decode(body); err == nil {
			t.Errorf("% x gave %+v", body, u)
		}
	}
}

func TestPrefixesThatNobodyCanRouteAreIgnored(t *testing.T) {
	rib := NewRIB(Config{Sources: testSources})
	m := new(message).base().hop("100.64.0.2")
	m.nlri = wire(-1, "127.0.0.1/32", "224.0.0.1/32", "240.0.0.0/4", "0.0.0.0/8", "0.0.0.0/0", "10.0.0.0/8")
	list := wire(-1, "::1/128", "ff02::1/128", "fe80::/64", "::/0", "2001:db8::/32")
	m.attr(0x80, attrMPReach, mpReach(2, "2001:db8::2", list)...)
	rib.Update(0, mustDecode(t, decoder(false), m.bytes()))
	if v4, v6 := rib.Paths(0, IPv4), rib.Paths(0, IPv6); v4 != 2 || v6 != 2 {
		t.Errorf("%d IPv4 and %d IPv6 paths, want 2 and 2", v4, v6)
	}
}

func TestNextHopsThatNobodyCanUse(t *testing.T) {
	rib := NewRIB(Config{Sources: testSources, Local: []netip.Addr{netip.MustParseAddr("100.64.0.1")}})
	for _, hop := range []string{"100.64.0.1", "127.0.0.1", "0.0.0.0", "224.0.0.5", "255.255.255.255"} {
		m := new(message).base().hop(hop)
		m.nlri = wire(-1, goodPrefix)
		rib.Update(0, mustDecode(t, decoder(false), m.bytes()))
		if changes := rib.AppendChanges(nil, 10); len(changes) != 0 {
			t.Errorf("next hop %s gave %v", hop, changes)
		}
	}
	for _, hop := range []string{"::ffff:100.64.0.2", "100.64.0.2", "::"} {
		m := new(message).base().attr(0x80, attrMPReach, mpReach(2, hop, wire(-1, "2001:db8::/32"))...)
		rib.Update(0, mustDecode(t, decoder(false), m.bytes()))
		if changes := rib.AppendChanges(nil, 10); len(changes) != 0 {
			t.Errorf("next hop %s gave %v", hop, changes)
		}
	}
}

func TestIPv4ThroughAnIPv6NextHop(t *testing.T) {
	rib := NewRIB(Config{Sources: testSources})
	hop := append(netip.MustParseAddr("2001:db8::2").AsSlice(), netip.MustParseAddr("fe80::2").AsSlice()...)
	v := append(append([]byte{0, 1, 1, 32}, hop...), 0)
	m := new(message).base().attr(0x80, attrMPReach, append(v, wire(-1, goodPrefix)...)...)
	rib.Update(2, mustDecode(t, decoder(false), m.bytes()))
	changes := rib.AppendChanges(nil, 10)
	if len(changes) != 1 || changes[0].NextHops[0].Gateway != netip.MustParseAddr("2001:db8::2") || changes[0].NextHops[0].Uplink != "up-b" {
		t.Errorf("changes %v", changes)
	}
}

func TestEndOfRIB(t *testing.T) {
	for f, rf := range map[Family]packet.RouteFamily{IPv4: packet.RF_IPv4_UC, IPv6: packet.RF_IPv6_UC} {
		b, err := packet.NewEndOfRib(rf).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		u := mustDecode(t, decoder(false), b[19:])
		if !u.EndOfRIB(f) || u.EndOfRIB(1-f) {
			t.Errorf("%v: %+v", f, u)
		}
	}
}

func TestTwoOctetPathsCountTheSame(t *testing.T) {
	d := decoder(false)
	d.AS4 = false
	m := without(attrASPath).attr(0x40, attrASPath, 2, 2, 0, 7, 0x5b, 0xa0, 1, 2, 0, 8, 0, 9)
	rib := NewRIB(Config{Sources: testSources})
	rib.Update(0, mustDecode(t, d, m.bytes()))
	route, ok := rib.Lookup(netip.MustParsePrefix(goodPrefix))
	if !ok || route.Paths[0].ASPath != "7 23456 {8 9}" || rib.attrs.list[1].length != 3 {
		t.Errorf("route %+v", route)
	}
}

// FuzzUpdate takes any bytes through the decoder into a RIB and back out: it
// must neither crash nor leave anything behind that Drop doesn't take away.
func FuzzUpdate(f *testing.F) {
	for _, c := range malformed {
		f.Add(c.message.bytes(), false)
	}
	m := new(message).base().hop("100.64.0.2")
	m.nlri = append(wire(1, goodPrefix), wire(2, goodPrefix, "10.0.0.0/8")...)
	f.Add(m.bytes(), true)
	f.Add(new(message).base().attr(0x80, attrMPReach, mpReach(2, "2001:db8::2", wire(3, "2001:db8::/32"))...).bytes(), true)
	f.Fuzz(func(t *testing.T, body []byte, addPath bool) {
		rib := NewRIB(Config{Sources: testSources})
		d := decoder(addPath)
		for range 2 {
			if u, err := d.Decode(bytes.Clone(body)); err == nil {
				rib.Update(0, u)
				u.Prefixes()
			}
		}
		for _, c := range rib.AppendChanges(nil, 1<<16) {
			if c.Prefix != c.Prefix.Masked() || !c.Prefix.IsValid() || len(c.NextHops) == 0 {
				t.Errorf("change %v", c)
			}
			if _, ok := rib.Lookup(c.Prefix); !ok {
				t.Errorf("%v is not found", c.Prefix)
			}
		}
		rib.Drop(0).Run()
		rib.AppendChanges(nil, 1<<16)
		if n := rib.Prefixes(IPv4) + rib.Prefixes(IPv6) + len(rib.attrs.ids) + len(rib.sets.ids) + rib.Pending(); n != 0 {
			t.Errorf("%d things are left", n)
		}
	})
}

// FuzzCodec compares with GoBGP's codec: what that accepts and writes again,
// we read as the same prefixes.
func FuzzCodec(f *testing.F) {
	f.Add(uint8(24), []byte{198, 51, 100, 0}, uint32(7))
	f.Add(uint8(0), []byte{}, uint32(0))
	f.Add(uint8(65), netip.MustParseAddr("2001:db8::").AsSlice(), uint32(1))
	f.Fuzz(func(t *testing.T, length uint8, address []byte, pref uint32) {
		var a [16]byte
		copy(a[:], address)
		want, m := netip.PrefixFrom(netip.AddrFrom4([4]byte(a[:4])), int(length)), (*packet.BGPMessage)(nil)
		list := []packet.PathAttributeInterface{
			packet.NewPathAttributeOrigin(0), packet.NewPathAttributeAsPath(nil), packet.NewPathAttributeLocalPref(pref),
		}
		if length > 32 {
			if want = netip.PrefixFrom(netip.AddrFrom16(a), int(length)); length > 128 || want.Addr().Is4In6() {
				return
			}
			nlri := packet.NewIPv6AddrPrefix(length, want.Addr().String())
			list = append(list, packet.NewPathAttributeMpReachNLRI("2001:db8::2", []packet.AddrPrefixInterface{nlri}))
			m = packet.NewBGPUpdateMessage(nil, list, nil)
		} else {
			list = append(list, packet.NewPathAttributeNextHop("100.64.0.2"))
			m = packet.NewBGPUpdateMessage(nil, list, []*packet.IPAddrPrefix{packet.NewIPAddrPrefix(length, want.Addr().String())})
		}
		b, err := m.Serialize()
		if err != nil {
			t.Skip(err)
		}
		u := mustDecode(t, decoder(false), b[19:])
		i := slices.IndexFunc(u.reach, func(s section) bool { return len(s.nlri) > 0 })
		if i < 0 || u.reach[i].nlri[0].prefix(u.reach[i].family) != want.Masked() || u.Attributes.localPref != pref {
			t.Errorf("read %+v, want %v", u, want)
		}
	})
}
