package dhcpv6

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	wire "github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"

	"github.com/hostroute/hostroute/ipv6"
)

// headerSize is that of a message's type and transaction id (RFC 8415, section 8).
const headerSize = 4

var errShort = errors.New("shorter than a header")

// decode reads what matters of a message. Options that nothing here depends on
// are not looked into, so that a client which sends a peculiar one is served.
func decode(packet []byte) (ipv6.DHCPMessage, error) {
	if len(packet) < headerSize {
		return ipv6.DHCPMessage{}, errShort
	}
	m := ipv6.DHCPMessage{Kind: ipv6.DHCPKind(packet[0]), Transaction: [3]byte(packet[1:headerSize])}
	if m.Kind == ipv6.DHCPRelayForward || m.Kind == ipv6.DHCPRelayReply {
		return m, nil // another header follows, and nobody wants to know
	}
	var options wire.Options
	if err := options.FromBytesWithParser(packet[headerSize:], parse); err != nil {
		return m, fmt.Errorf("reading the options of a %s: %w", m.Kind, err)
	}
	for _, o := range options {
		take(&m, o)
	}
	return m, nil
}

// parse leaves identifiers as they came: they are compared and told back by
// their bytes (RFC 8415, section 11).
func parse(code wire.OptionCode, data []byte) (wire.Option, error) {
	switch code {
	case wire.OptionIANA, wire.OptionIATA, wire.OptionIAPD, wire.OptionORO:
		return wire.ParseOption(code, data)
	}
	o := &wire.OptionGeneric{OptionCode: code}
	return o, o.FromBytes(data)
}

// take adds one option to a message. Of an identifier that comes twice the
// first counts.
func take(m *ipv6.DHCPMessage, o wire.Option) {
	switch o := o.(type) {
	case *wire.OptIANA:
		m.IAs = append(m.IAs, ipv6.IA{Kind: ipv6.IANA, ID: o.IaId, Leased: addresses(o.Options)})
	case *wire.OptIATA:
		m.IAs = append(m.IAs, ipv6.IA{Kind: ipv6.IATA, ID: o.IaId, Leased: addresses(o.Options)})
	case *wire.OptIAPD:
		m.IAs = append(m.IAs, ipv6.IA{Kind: ipv6.IAPD, ID: o.IaId, Leased: prefixes(o.Options)})
	case *wire.OptionGeneric:
		switch {
		case o.OptionCode == wire.OptionClientID && m.Client == nil:
			m.Client = o.OptionData
		case o.OptionCode == wire.OptionServerID && m.Server == nil:
			m.Server = o.OptionData
		case o.OptionCode == wire.OptionRapidCommit:
			m.Rapid = true
		}
	case interface{ Contains(wire.OptionCode) bool }: // the option request
		for _, code := range askable() {
			if o.Contains(wire.OptionCode(code)) {
				m.Wanted = append(m.Wanted, code)
			}
		}
	}
}

// askable are the options that are told on request; asking for the same twice
// is asking once.
func askable() []ipv6.DHCPOption {
	return []ipv6.DHCPOption{ipv6.DHCPOptionDNS, ipv6.DHCPOptionSearch, ipv6.DHCPOptionRefresh,
		ipv6.DHCPOptionNTP, ipv6.DHCPOptionSolicitMax, ipv6.DHCPOptionInformationMax}
}

func addresses(options wire.IdentityOptions) []ipv6.Leased {
	var out []ipv6.Leased
	for _, a := range options.Addresses() {
		var p netip.Prefix
		if addr, ok := netip.AddrFromSlice(a.IPv6Addr); ok {
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		out = append(out, ipv6.Leased{Prefix: p, Preferred: a.PreferredLifetime, Valid: a.ValidLifetime})
	}
	return out
}

func prefixes(options wire.PDOptions) []ipv6.Leased {
	var out []ipv6.Leased
	for _, x := range options.Prefixes() {
		var p netip.Prefix
		if x.Prefix != nil && x.Prefix.Mask != nil { // no mask: longer than 128 bits
			if addr, ok := netip.AddrFromSlice(x.Prefix.IP); ok {
				bits, _ := x.Prefix.Mask.Size()
				p = netip.PrefixFrom(addr, bits)
			}
		}
		out = append(out, ipv6.Leased{Prefix: p, Preferred: x.PreferredLifetime, Valid: x.ValidLifetime})
	}
	return out
}

// encode writes an answer.
func encode(a ipv6.DHCPAnswer) []byte {
	m := wire.Message{MessageType: wire.MessageType(a.Kind), TransactionID: wire.TransactionID(a.Transaction)}
	add := func(code wire.OptionCode, data []byte) {
		m.AddOption(&wire.OptionGeneric{OptionCode: code, OptionData: data})
	}
	if len(a.Client) > 0 {
		add(wire.OptionClientID, a.Client)
	}
	add(wire.OptionServerID, a.Server)
	if a.Preference > 0 {
		add(wire.OptionPreference, []byte{a.Preference})
	}
	if a.Rapid {
		add(wire.OptionRapidCommit, nil)
	}
	addStatus(&m.Options.Options, a.Status)
	for _, ia := range a.IAs {
		m.AddOption(association(ia))
	}
	addConfiguration(&m, a)
	return m.ToBytes()
}

func addConfiguration(m *wire.Message, a ipv6.DHCPAnswer) {
	if len(a.DNS) > 0 {
		m.AddOption(wire.OptDNS(toIPs(a.DNS)...))
	}
	if len(a.Search) > 0 {
		m.AddOption(wire.OptDomainSearchList(&rfc1035label.Labels{Labels: a.Search}))
	}
	if len(a.NTP) > 0 {
		ntp := &wire.OptNTPServer{}
		for _, ip := range toIPs(a.NTP) {
			sub := wire.NTPSuboptionSrvAddr(ip)
			ntp.Suboptions.Add(&sub)
		}
		m.AddOption(ntp)
	}
	addDuration(m, wire.OptionInformationRefreshTime, a.Refresh)
	addDuration(m, wire.OptionSolMaxRT, a.SolicitMax)
	addDuration(m, wire.OptionInfMaxRT, a.InformationMax)
}

func addDuration(m *wire.Message, code wire.OptionCode, d time.Duration) {
	if d > 0 {
		seconds := binary.BigEndian.AppendUint32(nil, uint32(d/time.Second))
		m.AddOption(&wire.OptionGeneric{OptionCode: code, OptionData: seconds})
	}
}

func toIPs(addrs []netip.Addr) []net.IP {
	out := make([]net.IP, len(addrs))
	for i, a := range addrs {
		out[i] = a.AsSlice()
	}
	return out
}

func association(ia ipv6.IA) wire.Option {
	var options wire.Options
	for _, x := range ia.Leased {
		if ia.Kind == ipv6.IAPD {
			options.Add(&wire.OptIAPrefix{PreferredLifetime: x.Preferred, ValidLifetime: x.Valid,
				Prefix: &net.IPNet{IP: x.Prefix.Addr().AsSlice(), Mask: net.CIDRMask(x.Prefix.Bits(), x.Prefix.Addr().BitLen())}})
			continue
		}
		options.Add(&wire.OptIAAddress{IPv6Addr: x.Prefix.Addr().AsSlice(), PreferredLifetime: x.Preferred, ValidLifetime: x.Valid})
	}
	addStatus(&options, ia.Status)
	switch ia.Kind {
	case ipv6.IAPD:
		return &wire.OptIAPD{IaId: ia.ID, T1: ia.T1, T2: ia.T2, Options: wire.PDOptions{Options: options}}
	case ipv6.IATA:
		return &wire.OptIATA{IaId: ia.ID, Options: wire.IdentityOptions{Options: options}}
	}
	return &wire.OptIANA{IaId: ia.ID, T1: ia.T1, T2: ia.T2, Options: wire.IdentityOptions{Options: options}}
}

func addStatus(options *wire.Options, s ipv6.DHCPStatus) {
	if code, text, told := s.Code(); told {
		options.Add(&wire.OptStatusCode{StatusCode: iana.StatusCode(code), StatusMessage: text})
	}
}
