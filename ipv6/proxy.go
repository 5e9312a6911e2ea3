package ipv6

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Where things are in a frame with an Ethernet and an IPv6 header, and their
// sizes, in bytes.
const (
	sizeEthernet  = 14
	sizeIPv6      = 40
	sizeNeighbour = 24 // of a neighbour solicitation or advertisement without options
	etherTypeIPv6 = 0x86dd
	nextICMPv6    = 58
)

// The flags of a neighbour advertisement (RFC 4861, section 4.4).
const flagsRouterSolicitedOverride = 0xe0

// Question is a neighbour solicitation: who asks for the hardware address of
// what.
type Question struct {
	MAC    [6]byte // of the frame's sender
	Source netip.Addr
	Target netip.Addr
}

// ReadQuestion reads a neighbour solicitation from an untagged Ethernet frame to
// the device with the given hardware address, and checks it by RFC 4861, section
// 7.1.1. One behind an extension header isn't read: no host sends it, and a
// fragment is forbidden (RFC 6980).
func ReadQuestion(frame []byte, to [6]byte) (Question, Ignored) {
	if len(frame) < sizeEthernet+sizeIPv6+sizeNeighbour || binary.BigEndian.Uint16(frame[12:]) != etherTypeIPv6 {
		return Question{}, IgnoredInvalid
	}
	if group := frame[0]&1 != 0; !group && [6]byte(frame[:6]) != to {
		return Question{}, IgnoredInvalid
	}
	packet := frame[sizeEthernet:]
	length := int(binary.BigEndian.Uint16(packet[4:]))
	if packet[0]>>4 != 6 || packet[6] != nextICMPv6 || packet[7] != undecremented || length < sizeNeighbour || length > len(packet)-sizeIPv6 {
		return Question{}, IgnoredInvalid
	}
	source, destination := netip.AddrFrom16([16]byte(packet[8:])), netip.AddrFrom16([16]byte(packet[24:]))
	message := packet[sizeIPv6 : sizeIPv6+length]
	if message[0] != typeNeighbourSolicitation || message[1] != 0 || checksum(source, destination, message) != 0 {
		return Question{}, IgnoredInvalid
	}
	q := Question{MAC: [6]byte(frame[6:]), Source: source, Target: netip.AddrFrom16([16]byte(message[8:]))}
	fromHost, whole := sourceOption(message[sizeNeighbour:])
	group := SolicitedNode(q.Target)
	switch {
	case !whole, q.Target.IsMulticast(), q.Target.IsUnspecified(), source.IsMulticast():
		return Question{}, IgnoredInvalid
	case destination != q.Target && destination != group:
		return Question{}, IgnoredInvalid
	case source.IsUnspecified() && (fromHost || destination != group):
		return Question{}, IgnoredInvalid
	}
	return q, ""
}

// Answer decides whether the proxy answers a question of the guest with the
// given hardware address. It does so for every other address of the shared
// prefixes, whether or not somebody has it: what is sent to nobody comes back as
// unreachable, as from any router. Duplicate address detection is never
// answered, since it would take the guest's address from it.
func (p Proxy) Answer(guest [6]byte, q Question) Ignored {
	switch {
	case q.MAC != guest:
		return IgnoredForeignSource
	case q.Source.IsUnspecified():
		return IgnoredDAD
	case !q.Source.IsLinkLocalUnicast() && !contained(p.Own, q.Source):
		return IgnoredForeignSource
	case q.Target == RouterAddress || slices.Contains(p.Gateways, q.Target):
		return IgnoredGateway
	case contained(p.Own, q.Target):
		return IgnoredOwn
	case !contained(p.Prefixes, q.Target):
		return IgnoredForeignTarget
	}
	return ""
}

// Reply is the frame that answers the question with a hardware address: a
// neighbour advertisement to who asked, from the address that was asked for, as
// the host itself would send it (RFC 4861, section 7.2.4).
func (q Question) Reply(router [6]byte) []byte {
	f := make([]byte, 0, sizeEthernet+sizeIPv6+sizeNeighbour+8)
	f = append(f, q.MAC[:]...)
	f = append(f, router[:]...)
	f = binary.BigEndian.AppendUint16(f, etherTypeIPv6)
	f = append(f, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, sizeNeighbour+8)
	f = append(f, nextICMPv6, undecremented)
	f = append(f, q.Target.AsSlice()...)
	f = append(f, q.Source.AsSlice()...)
	f = append(f, typeNeighbourAdvertisement, 0, 0, 0, flagsRouterSolicitedOverride, 0, 0, 0)
	f = append(f, q.Target.AsSlice()...)
	f = append(f, optionTarget, 1)
	f = append(f, router[:]...)
	message := f[sizeEthernet+sizeIPv6:]
	binary.BigEndian.PutUint16(message[2:], checksum(q.Target, q.Source, message))
	return f
}

// SolicitedNode is the group that asks for an address (RFC 4291, section 2.7.1).
func SolicitedNode(a netip.Addr) netip.Addr {
	group, of := [16]byte{0xff, 0x02, 11: 0x01, 12: 0xff}, a.As16()
	copy(group[13:], of[13:])
	return netip.AddrFrom16(group)
}

// checksum is that of an ICMPv6 message with its pseudo-header (RFC 4443,
// section 2.3). Over a message with a right checksum it is 0.
func checksum(source, destination netip.Addr, message []byte) uint16 {
	sum := uint32(len(message)) + nextICMPv6
	for _, b := range [][]byte{source.AsSlice(), destination.AsSlice(), message} {
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

func contained(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
