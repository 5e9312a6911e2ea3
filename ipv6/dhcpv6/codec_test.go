package dhcpv6

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	wire "github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/hostroute/hostroute/ipv6"
)

// asked is a guest's address as the socket tells it.
func asked() sender { return sender{from: netip.MustParseAddr("fe80::7"), to: allServers()} }

func seeds() map[string][]byte {
	known := &wire.OptIAAddress{IPv6Addr: net.ParseIP("2001:db8:cb00:7100::7"), PreferredLifetime: time.Hour, ValidLifetime: time.Hour}
	foreign := &wire.OptIAAddress{IPv6Addr: net.ParseIP("2001:db8:cb00:7100::9"), PreferredLifetime: time.Hour, ValidLifetime: time.Hour}
	hint := &wire.OptIAPrefix{Prefix: &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(48, 128)}}
	na := &wire.OptIANA{IaId: [4]byte{1}, Options: wire.IdentityOptions{Options: wire.Options{known, foreign}}}
	pd := &wire.OptIAPD{IaId: [4]byte{2}, Options: wire.PDOptions{Options: wire.Options{hint}}}
	oro := wire.OptRequestedOption(wire.OptionDNSRecursiveNameServer, wire.OptionDomainSearchList, wire.OptionNTPServer,
		wire.OptionSolMaxRT, wire.OptionInfMaxRT, wire.OptionInformationRefreshTime)
	make := func(kind wire.MessageType, options ...wire.Option) []byte {
		return (&wire.Message{MessageType: kind, TransactionID: wire.TransactionID{1, 2, 3}, Options: wire.MessageOptions{Options: options}}).ToBytes()
	}
	return map[string][]byte{
		"solicit":             make(wire.MessageTypeSolicit, duid(7), na, pd, &wire.OptIATA{IaId: [4]byte{3}}, oro, rapid(), wire.OptElapsedTime(0)),
		"request":             make(wire.MessageTypeRequest, duid(7), serverID(), pd, oro),
		"confirm":             make(wire.MessageTypeConfirm, duid(7), na),
		"renew":               make(wire.MessageTypeRenew, duid(7), serverID(), na, pd, oro),
		"rebind":              make(wire.MessageTypeRebind, duid(7), na, pd),
		"release":             make(wire.MessageTypeRelease, duid(7), serverID(), na),
		"decline":             make(wire.MessageTypeDecline, duid(7), serverID(), na),
		"information-request": make(wire.MessageTypeInformationRequest, oro, &wire.OptionGeneric{OptionCode: 39, OptionData: []byte{0, 255, 1}}),
		"relay":               append([]byte{12, 0}, bytes.Repeat([]byte{1}, 40)...),
		"empty":               {},
	}
}

// FuzzMessage goes from the bytes of a message to those of the answer, which
// the library must read and which may hold nothing that isn't the guest's.
func FuzzMessage(f *testing.F) {
	for _, packet := range seeds() {
		f.Add(packet)
	}
	l := lease()
	f.Fuzz(func(t *testing.T, packet []byte) {
		reply, _, _, why := respond(l, packet, asked())
		if why != "" {
			if reply != nil {
				t.Fatalf("ignored for %q and answered", why)
			}
			return
		}
		m, err := wire.MessageFromBytes(readable(t, reply))
		if err != nil {
			t.Fatalf("the answer is malformed: %v: %x", err, reply)
		}
		if !bytes.Equal(m.TransactionID[:], packet[1:4]) {
			t.Fatalf("the transaction of the answer is %s", m.TransactionID)
		}
		if m.GetOneOption(wire.OptionClientID) == nil && packet[0] != byte(ipv6.DHCPInformationRequest) {
			t.Fatal("the answer names no client")
		}
		own := append([]string{l.Delegated[0].String()}, l.Addresses[0].String(), l.Addresses[1].String())
		for _, given := range told(m) {
			if !slices.Contains(own, given) {
				t.Fatalf("the guest is given %s", given)
			}
		}
	})
}

// readable is an answer with another client identifier where the library would
// refuse the guest's: it looks into what is to be told back byte by byte
// (RFC 8415, section 11), and may be anything.
func readable(t *testing.T, reply []byte) []byte {
	out := bytes.Clone(reply[:headerSize])
	err := eachOption(reply[headerSize:], func(code wire.OptionCode, data []byte) error {
		if _, err := wire.DUIDFromBytes(data); code == wire.OptionClientID && err != nil {
			data = duid(7).ToBytes()
		}
		out = binary.BigEndian.AppendUint16(out, uint16(code))
		out = binary.BigEndian.AppendUint16(out, uint16(len(data)))
		out = append(out, data...)
		return nil
	})
	if err != nil {
		t.Fatalf("the options of the answer are malformed: %v: %x", err, reply)
	}
	return out
}

// TestReplyOnTheWire reads what is written by the library's own types.
func TestReplyOnTheWire(t *testing.T) {
	reply, _, _, why := respond(lease(), seeds()["renew"], asked())
	m, err := wire.MessageFromBytes(reply)
	if err != nil || why != "" {
		t.Fatalf("%v, ignored for %q", err, why)
	}
	ia := m.Options.OneIANA()
	if ia.T1 != 30*time.Minute || ia.T2 != 48*time.Minute || ia.IaId != [4]byte{1} || len(ia.Options.Addresses()) != 3 {
		t.Errorf("addresses: %s", ia)
	}
	if a := ia.Options.Addresses()[2]; a.ValidLifetime != 0 || !a.IPv6Addr.Equal(net.ParseIP("2001:db8:cb00:7100::9")) {
		t.Errorf("the address that isn't the guest's came back as %s", a)
	}
	if p := m.Options.OneIAPD().Options.Prefixes(); len(p) != 1 || p[0].Prefix.String() != "2001:db8:cb00:7107::/64" || p[0].ValidLifetime != 2*time.Hour {
		t.Errorf("prefixes: %s", p)
	}
	if dns := m.Options.DNS(); len(dns) != 1 || !dns[0].Equal(net.ParseIP("2001:db8:ffff::53")) {
		t.Errorf("DNS: %s", dns)
	}
	if s := m.Options.DomainSearchList().Labels; !slices.Equal(s, lease().Search) {
		t.Errorf("search: %q", s)
	}
	if ntp := m.Options.NTPServers(); len(ntp) != 1 || !ntp[0].Equal(net.ParseIP("2001:db8:ffff::123")) {
		t.Errorf("NTP: %s", ntp)
	}
	for code, want := range map[wire.OptionCode][]byte{wire.OptionSolMaxRT: {0, 0, 1, 44}, wire.OptionInfMaxRT: {0, 0, 1, 44}, wire.OptionServerID: ipv6.ServerDUID()} {
		if got := m.GetOneOption(code); got == nil || !bytes.Equal(got.ToBytes(), want) {
			t.Errorf("option %s is %v, want %x", code, got, want)
		}
	}
}

func TestStatusOnTheWire(t *testing.T) {
	for name, want := range map[string]iana.StatusCode{"confirm": iana.StatusNotOnLink, "release": iana.StatusSuccess, "decline": iana.StatusSuccess} {
		reply, _, _, _ := respond(lease(), seeds()[name], asked())
		m, err := wire.MessageFromBytes(reply)
		if err != nil || m.Options.Status() == nil || m.Options.Status().StatusCode != want {
			t.Errorf("%s: %v, %v, want %s", name, err, m, want)
		}
	}
	m := wire.Message{MessageType: wire.MessageTypeSolicit, Options: wire.MessageOptions{Options: wire.Options{duid(1), &wire.OptIATA{}, &wire.OptIANA{}, &wire.OptIAPD{}}}}
	reply, _, _, _ := respond(ipv6.Lease{}, m.ToBytes(), asked())
	a, err := wire.MessageFromBytes(reply)
	if err != nil {
		t.Fatal(err)
	}
	na, ta, pd := a.Options.OneIANA().Options.Status(), a.Options.OneIATA().Options.Status(), a.Options.OneIAPD().Options.Status()
	if na == nil || ta == nil || pd == nil || na.StatusCode != iana.StatusNoAddrsAvail || ta.StatusCode != iana.StatusNoAddrsAvail || pd.StatusCode != iana.StatusNoPrefixAvail {
		t.Errorf("a guest with nothing is told %s", a.LongString(0))
	}
}

func TestDecode(t *testing.T) {
	prefix := &wire.OptIAPrefix{Prefix: &net.IPNet{IP: net.ParseIP("2001:db8:5::"), Mask: net.CIDRMask(56, 128)}}
	m := wire.Message{MessageType: wire.MessageTypeRebind, TransactionID: wire.TransactionID{1, 2, 3}}
	for _, o := range []wire.Option{
		duid(1), duid(2), serverID(), &wire.OptionGeneric{OptionCode: wire.OptionServerID, OptionData: []byte{9}}, rapid(),
		&wire.OptIANA{IaId: [4]byte{1}, Options: wire.IdentityOptions{Options: wire.Options{&wire.OptIAAddress{IPv6Addr: net.ParseIP("2001:db8::5")}, prefix}}},
		&wire.OptIATA{IaId: [4]byte{2}, Options: wire.IdentityOptions{Options: wire.Options{&wire.OptIAAddress{IPv6Addr: net.ParseIP("2001:db8::6")}}}},
		&wire.OptIAPD{IaId: [4]byte{3}, Options: wire.PDOptions{Options: wire.Options{prefix, &wire.OptIAAddress{IPv6Addr: net.ParseIP("2001:db8::5")}}}},
		wire.OptRequestedOption(wire.OptionNTPServer, 9999, wire.OptionDNSRecursiveNameServer), wire.OptRequestedOption(wire.OptionNTPServer),
	} {
		m.AddOption(o)
	}
	leased := func(s string) []ipv6.Leased { return []ipv6.Leased{{Prefix: netip.MustParsePrefix(s)}} }
	want := ipv6.DHCPMessage{
		Kind: ipv6.DHCPRebind, Transaction: [3]byte{1, 2, 3}, Client: duid(1).ToBytes(), Server: ipv6.ServerDUID(), Rapid: true,
		IAs: []ipv6.IA{
			{Kind: ipv6.IANA, ID: [4]byte{1}, Leased: leased("2001:db8::5/128")},
			{Kind: ipv6.IATA, ID: [4]byte{2}, Leased: leased("2001:db8::6/128")},
			{Kind: ipv6.IAPD, ID: [4]byte{3}, Leased: leased("2001:db8:5::/56")},
		},
		Wanted: []ipv6.DHCPOption{ipv6.DHCPOptionNTP, ipv6.DHCPOptionDNS},
	}
	got, err := decode(m.ToBytes())
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" || err != nil {
		t.Errorf("%v, -want +got\n%s", err, diff)
	}
}

// TestPeculiarOptions are such that the guest is served all the same, or
// ignored as malformed, but nothing worse.
func TestPeculiarOptions(t *testing.T) {
	head := []byte{1, 1, 2, 3, 0, 1, 0, 4, 0, 9, 1, 2} // a Solicit with a DUID
	for name, c := range map[string]struct {
		tail []byte
		want ipv6.DHCPIgnored
	}{
		"a name that is none":                   {[]byte{0, 39, 0, 3, 0, 255, 1}, ""},
		"a user class that is none":             {[]byte{0, 15, 0, 1, 9}, ""},
		"a second DUID":                         {[]byte{0, 1, 0, 3, 0, 3, 9}, ""},
		"names in an association that go round": {append([]byte{0, 3, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24, 0, 4}, 1, 'x', 0xc0, 0), ""},
		"a prefix of 200 bits":                  {append([]byte{0, 25, 0, 41, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 26, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0, 200}, make([]byte, 16)...), ""},
		"an association that is cut":            {[]byte{0, 3, 0, 5, 0, 0, 0, 1, 0}, ignoredMalformed},
		"an option longer than its message":     {[]byte{0, 3, 255, 255, 0}, ignoredMalformed},
		"half an option request":                {[]byte{0, 6, 0, 1, 0}, ignoredMalformed},
	} {
		if _, _, _, why := respond(lease(), append(bytes.Clone(head), c.tail...), asked()); why != c.want {
			t.Errorf("%s: ignored for %q, want %q", name, why, c.want)
		}
	}
}
