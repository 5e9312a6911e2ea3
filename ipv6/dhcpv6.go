package ipv6

import (
	"net/netip"
	"time"
)

// DHCPKind is the type of a DHCPv6 message, with the numbers of RFC 8415,
// section 7.3.
type DHCPKind uint8

// The kinds that clients send, and the two that this server does. Whatever else
// a client sends is ignored.
const (
	DHCPSolicit            DHCPKind = 1
	DHCPAdvertise          DHCPKind = 2
	DHCPRequest            DHCPKind = 3
	DHCPConfirm            DHCPKind = 4
	DHCPRenew              DHCPKind = 5
	DHCPRebind             DHCPKind = 6
	DHCPReply              DHCPKind = 7
	DHCPRelease            DHCPKind = 8
	DHCPDecline            DHCPKind = 9
	DHCPInformationRequest DHCPKind = 11
	DHCPRelayForward       DHCPKind = 12
	DHCPRelayReply         DHCPKind = 13
)

// String is a name out of a small fixed set, so that it may be a key or a label
// whatever the guest sent.
func (k DHCPKind) String() string {
	switch k {
	case DHCPSolicit:
		return "solicit"
	case DHCPAdvertise:
		return "advertise"
	case DHCPRequest:
		return "request"
	case DHCPConfirm:
		return "confirm"
	case DHCPRenew:
		return "renew"
	case DHCPRebind:
		return "rebind"
	case DHCPReply:
		return "reply"
	case DHCPRelease:
		return "release"
	case DHCPDecline:
		return "decline"
	case DHCPInformationRequest:
		return "information-request"
	case DHCPRelayForward, DHCPRelayReply:
		return "relay"
	}
	return "other"
}

// DHCPOption is the code of an option that a client may ask for (RFC 8415,
// section 21.7).
type DHCPOption uint16

// The options that are told only to a client that asks for them.
const (
	DHCPOptionDNS            DHCPOption = 23 // RFC 3646
	DHCPOptionSearch         DHCPOption = 24 // RFC 3646
	DHCPOptionRefresh        DHCPOption = 32 // RFC 8415, section 21.23
	DHCPOptionNTP            DHCPOption = 56 // RFC 5908
	DHCPOptionSolicitMax     DHCPOption = 82 // RFC 8415, section 21.24 (first RFC 7083)
	DHCPOptionInformationMax DHCPOption = 83 // RFC 8415, section 21.25 (first RFC 7083)
)

// IAKind tells the identity associations apart (RFC 8415, section 4.2), by the
// codes of their options.
type IAKind uint8

// Addresses, temporary addresses, and delegated prefixes.
const (
	IANA IAKind = 3
	IATA IAKind = 4
	IAPD IAKind = 25
)

// IA is an identity association, of a client or in an answer.
type IA struct {
	Kind   IAKind
	ID     [4]byte       // chosen by the client and told back; it decides nothing
	T1, T2 time.Duration // when to renew and to rebind
	Leased []Leased
	Status DHCPStatus
}

// Leased is an address, as a prefix of 128 bits, or a delegated prefix. What a
// client sends may be no valid prefix at all; the lifetimes that it wishes for or
// believes in decide nothing.
type Leased struct {
	Prefix           netip.Prefix
	Preferred, Valid time.Duration
}

// DHCPStatus is a status code (RFC 8415, section 21.13); the zero value is that
// of an answer that tells none.
type DHCPStatus uint8

// What may be told about an identity association or a whole message.
const (
	StatusNone DHCPStatus = iota
	StatusSuccess
	StatusNoAddrsAvail
	StatusNoBinding
	StatusNotOnLink
	StatusUseMulticast
	StatusNoPrefixAvail
)

// Code is the number of the status on the wire, and a sentence for whoever
// reads the guest's log. There is none for StatusNone.
func (s DHCPStatus) Code() (code uint16, text string, told bool) {
	switch s {
	case StatusSuccess:
		return 0, "all is as it should be", true
	case StatusNoAddrsAvail:
		return 2, "this interface has no more addresses", true
	case StatusNoBinding:
		return 3, "this interface has nothing of that", true
	case StatusNotOnLink:
		return 4, "this interface has other addresses", true
	case StatusUseMulticast:
		return 5, "send this to ff02::1:2", true
	case StatusNoPrefixAvail:
		return 6, "this interface has no more prefixes", true
	}
	return 0, "", false
}

// DHCPMessage is what a client sent, as far as it matters.
type DHCPMessage struct {
	Kind        DHCPKind
	Transaction [3]byte
	Client      []byte // its DUID; empty: it told none
	Server      []byte // the DUID of the server that it means; empty: any
	IAs         []IA
	Wanted      []DHCPOption
	Rapid       bool // it takes a Reply to its Solicit (RFC 8415, section 21.14)
	Unicast     bool // it was sent to one host's address and not to ff02::1:2
}

// DHCPAnswer is what the server says to a message. Fields of the zero value are
// not told.
type DHCPAnswer struct {
	Kind           DHCPKind // DHCPAdvertise or DHCPReply
	Transaction    [3]byte
	Client         []byte
	Server         []byte
	Preference     uint8
	Rapid          bool
	Status         DHCPStatus
	IAs            []IA
	DNS            []netip.Addr
	Search         []string
	NTP            []netip.Addr
	SolicitMax     time.Duration
	InformationMax time.Duration
	Refresh        time.Duration
}

// ServerDUID is who the server says it is (RFC 8415, section 11): a DUID-LL of
// the hardware address that every tap on every hypervisor has. It is one and
// the same everywhere, because to the guest it is one and the same server: a
// Renew goes to the server that gave the lease, and others must be silent to it
// (section 16.6), so a guest that moved, or whose hypervisor was built anew,
// would otherwise hear nothing between T1 and T2. Nobody ever sees two of them
// on one link, for a tap's link ends at the tap.
func ServerDUID() []byte {
	return []byte{0, 3, 0, 1, 0xee, 0xee, 0xee, 0xee, 0xee, 0x01}
}
