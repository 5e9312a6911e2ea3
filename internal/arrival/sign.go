package arrival

import (
	"encoding/binary"
	"net/netip"
)

// Guest is whom a tap is prepared for.
type Guest struct {
	VM  string
	MAC [6]byte // of its interface at the tap
}

// Kind is what sort of frame gave a guest away.
type Kind string

// The kinds of frames; each but the last is an announcement.
const (
	GratuitousARP Kind = "garp"  // RFC 5227, section 3, as a request or a reply
	RARP          Kind = "rarp"  // RFC 903; QEMU announces every guest so
	UnsolicitedNA Kind = "na"    // RFC 4861, section 7.2.6
	Other         Kind = "other" // whatever else the guest sent
)

const (
	sizeEthernet = 14
	sizeARP      = 28
	sizeIPv6     = 40
	sizeNA       = 24 // without options

	typeARP  = 0x0806
	typeRARP = 0x8035
	typeIPv6 = 0x86dd

	nextICMPv6 = 58
	// undecremented is the hop limit of every ND message (RFC 4861, section 3.1).
	undecremented = 255
	typeNA        = 136
	solicited     = 0x40 // the flag of an advertisement that answers somebody
)

// Sign tells whether a frame that came in over a tap is from the guest with the
// given hardware address, and of which kind it is. What looks like an
// announcement and isn't a right one is [Other].
func Sign(frame []byte, mac [6]byte) (Kind, bool) {
	if len(frame) < sizeEthernet || [6]byte(frame[6:]) != mac || mac[0]&1 != 0 || mac == [6]byte{} {
		return "", false
	}
	payload := frame[sizeEthernet:]
	switch kind := binary.BigEndian.Uint16(frame[12:]); {
	case tagged(kind):
		return "", false
	case kind == typeARP && gratuitous(payload, mac):
		return GratuitousARP, true
	case kind == typeRARP && reverse(payload, mac):
		return RARP, true
	case kind == typeIPv6 && unsolicited(payload):
		return UnsolicitedNA, true
	}
	return Other, true
}

// tagged: the type is that of a tag, IEEE 802.1Q or 802.1ad, or what was used
// for the latter before.
func tagged(kind uint16) bool { return kind == 0x8100 || kind == 0x88a8 || kind == 0x9100 }

// addressesOf tells whether a packet of ARP or RARP is of Ethernet and IPv4, with
// this hardware address as the sender's.
func addressesOf(p []byte, mac [6]byte) bool {
	return len(p) >= sizeARP && [6]byte(p[:6]) == [6]byte{0, 1, 8, 0, 6, 4} && [6]byte(p[8:]) == mac
}

// gratuitous: sender and target are one address. A probe (RFC 5227, section 2.1.1),
// whose sender is 0.0.0.0, asks and doesn't announce.
func gratuitous(p []byte, mac [6]byte) bool {
	if !addressesOf(p, mac) {
		return false
	}
	operation, sender := binary.BigEndian.Uint16(p[6:]), [4]byte(p[14:])
	return (operation == 1 || operation == 2) && sender == [4]byte(p[24:]) && sender != [4]byte{}
}

// reverse: a RARP request by the host itself, for itself.
func reverse(p []byte, mac [6]byte) bool {
	return addressesOf(p, mac) && binary.BigEndian.Uint16(p[6:]) == 3 && [6]byte(p[18:]) == mac
}

// unsolicited applies RFC 4861, section 7.1.2, and has the solicited flag clear.
func unsolicited(p []byte) bool {
	if len(p) < sizeIPv6+sizeNA {
		return false
	}
	length := int(binary.BigEndian.Uint16(p[4:]))
	if p[0]>>4 != 6 || p[6] != nextICMPv6 || p[7] != undecremented || length < sizeNA || length > len(p)-sizeIPv6 {
		return false
	}
	message := p[sizeIPv6 : sizeIPv6+length]
	target := netip.AddrFrom16([16]byte(message[8:]))
	return message[0] == typeNA && message[1] == 0 && message[4]&solicited == 0 &&
		!target.IsMulticast() && !target.IsUnspecified() && whole(message[sizeNA:]) && checksum(p[8:sizeIPv6], message) == 0
}

// whole tells whether all options of a message are.
func whole(options []byte) bool {
	for len(options) > 0 {
		if len(options) < 2 || options[1] == 0 || len(options) < 8*int(options[1]) {
			return false
		}
		options = options[8*int(options[1]):]
	}
	return true
}

// checksum is 0 over an ICMPv6 message whose checksum is right (RFC 4443,
// section 2.3), with the source and the destination of its packet.
func checksum(addresses, message []byte) uint16 {
	sum := uint32(len(message)) + nextICMPv6
	for _, b := range [][]byte{addresses, message} {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
