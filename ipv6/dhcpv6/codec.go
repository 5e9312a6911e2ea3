package dhcpv6

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	wire "github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"

	"github.com/hostroute/hostroute/ipv6"
)

// headerSize is that of a message's type and transaction id (RFC 8415, section 8).
const headerSize = 4

var errShort = errors.New("too short")

// Sizes of what stands before the options in an option (RFC 8415, sections 21.4
// to 21.6, 21.21 and 21.22).
const (
	naSize      = 12
	taSize      = 4
	pdSize      = 12
	addressSize = 24
	prefixSize  = 25
)

// decode reads what matters of a message. Options that nothing here depends on
// are not looked into: a client that sends a peculiar one is served, and what
// the library does with domain names or with options in options, at the
// sender's discretion in time, is done for no guest.
func decode(packet []byte) (ipv6.DHCPMessage, error) {
	if len(packet) < headerSize {
		return ipv6.DHCPMessage{}, errShort
	}
	m := ipv6.DHCPMessage{Kind: ipv6.DHCPKind(packet[0]), Transaction: [3]byte(packet[1:headerSize])}
	if m.Kind == ipv6.DHCPRelayForward || m.Kind == ipv6.DHCPRelayReply {
		return m, nil // another header follows, and nobody wants to know
	}
	err := eachOption(packet[headerSize:], func(code wire.OptionCode, data []byte) error { return take(&m, code, data) })
	if err != nil {
		return m, fmt.Errorf("reading the options of a %s: %w", m.Kind, err)
	}
	return m, nil
}

// eachOption walks over options by the library's parser. What is handed out is
// valid only during the call.
func eachOption(data []byte, do func(wire.OptionCode, []byte) error) error {
	var options wire.Options
	return options.FromBytesWithParser(data, func(code wire.OptionCode, data []byte) (wire.Option, error) {
		return nil, do(code, data)
	})
}

// take adds one option to a message. Identifiers are compared and told back by
// their bytes (RFC 8415, section 11); of one that comes twice the first counts.
func take(m *ipv6.DHCPMessage, code wire.OptionCode, data []byte) error {
	switch code {
	case wire.OptionClientID:
		if m.Client == nil {
			m.Client = bytes.Clone(data)
		}
	case wire.OptionServerID:
		if m.Server == nil {
			m.Server = bytes.Clone(data)
		}
	case wire.OptionRapidCommit:
		m.Rapid = true
	case wire.OptionORO:
		return takeWanted(m, data)
	case wire.OptionIANA:
		return takeIA(m, ipv6.IANA, naSize, data)
	case wire.OptionIATA:
		return takeIA(m, ipv6.IATA, taSize, data)
	case wire.OptionIAPD:
		return takeIA(m, ipv6.IAPD, pdSize, data)
	}
	return nil
}

// takeWanted adds what can be told; asking for the same twice is asking once.
func takeWanted(m *ipv6.DHCPMessage, data []byte) error {
	if len(data)%2 != 0 {
		return errShort
	}
	for ; len(data) > 0; data = data[2:] {
		switch code := ipv6.DHCPOption(binary.BigEndian.Uint16(data)); code {
		case ipv6.DHCPOptionDNS, ipv6.DHCPOptionSearch, ipv6.DHCPOptionRefresh,
			ipv6.DHCPOptionNTP, ipv6.DHCPOptionSolicitMax, ipv6.DHCPOptionInformationMax:
			if !slices.Contains(m.Wanted, code) {
				m.Wanted = append(m.Wanted, code)
			}
		}
	}
	return nil
}

func takeIA(m *ipv6.DHCPMessage, kind ipv6.IAKind, size int, data []byte) error {
	if len(data) < size {
		return errShort
	}
	ia := ipv6.IA{Kind: kind, ID: [4]byte(data)}
	err := eachOption(data[size:], func(code wire.OptionCode, data []byte) error {
		switch {
		case code == wire.OptionIAAddr && kind != ipv6.IAPD:
			if len(data) < addressSize {
				return errShort
			}
			addr := netip.AddrFrom16([16]byte(data))
			ia.Leased = append(ia.Leased, ipv6.Leased{Prefix: netip.PrefixFrom(addr, addr.BitLen())})
		case code == wire.OptionIAPrefix && kind == ipv6.IAPD:
			if len(data) < prefixSize {
				return errShort
			}
			prefix := netip.PrefixFrom(netip.AddrFrom16([16]byte(data[9:])), int(data[8])) // not valid beyond 128 bits
			ia.Leased = append(ia.Leased, ipv6.Leased{Prefix: prefix})
		}
		return nil
	})
	m.IAs = append(m.IAs, ia)
	return err
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
		data := binary.BigEndian.AppendUint32(nil, uint32(d/time.Second))
		m.AddOption(&wire.OptionGeneric{OptionCode: code, OptionData: data})
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
