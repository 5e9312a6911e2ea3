package frames

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// packet is an IP packet before it is wrapped: body is the upper layer, with its checksum. What stands from
// split on is in the second fragment, if it is fragmented.
type packet struct {
	frame    uint32
	from, to [6]byte
	src, dst netip.Addr
	next     layers.IPProtocol
	hop      uint8
	body     []byte
	split    int
}

var build = gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}

// serialize panics on what no test may ask for.
func serialize(parts ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, build, parts...); err != nil {
		panic(fmt.Errorf("building a frame: %w", err))
	}
	return buf.Bytes()
}

// marked is 64 bytes of payload: tokens of the first part, then of the second.
func marked(frame uint32) []byte {
	var b []byte
	for i := range 8 {
		b = append(b, token(frame, byte(i/4))...)
	}
	return b
}

func (p packet) ipLayer() gopacket.NetworkLayer {
	if p.src.Is4() {
		return &layers.IPv4{Version: 4, IHL: 5, TTL: p.hop, Protocol: p.next, SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice(), Id: uint16(p.frame)}
	}
	return &layers.IPv6{Version: 6, HopLimit: p.hop, NextHeader: p.next, SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice(), FlowLabel: p.frame & 0xfffff}
}

// udp fills in a datagram.
func (p packet) udp(from, to uint16, payload []byte) packet {
	p.next = layers.IPProtocolUDP
	l := &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(to)}
	if err := l.SetNetworkLayerForChecksum(p.ipLayer()); err != nil {
		panic(err)
	}
	p.body = serialize(l, gopacket.Payload(payload))
	return p
}

// icmp4 fills in an ICMP message: its type, the rest of its header, its payload.
func (p packet) icmp4(typ, code uint8, id, seq uint16, payload []byte) packet {
	p.next = layers.IPProtocolICMPv4
	p.body = serialize(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code), Id: id, Seq: seq}, gopacket.Payload(payload))
	return p
}

// icmp6 fills in an ICMPv6 message.
func (p packet) icmp6(typ uint8, payload []byte) packet {
	p.next = layers.IPProtocolICMPv6
	l := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}
	if err := l.SetNetworkLayerForChecksum(p.ipLayer()); err != nil {
		panic(err)
	}
	p.body = serialize(l, gopacket.Payload(payload))
	return p
}

// echo asks for an answer.
func (p packet) echo() packet {
	if p.src.Is4() {
		p = p.icmp4(8, 0, 1, 1, marked(p.frame))
	} else {
		p = p.icmp6(128, append([]byte{0, 1, 0, 1}, marked(p.frame)...))
	}
	p.split = len(p.body) - 32
	return p
}

// datagram is plain traffic.
func (p packet) datagram() packet {
	p = p.udp(4000, 4001, marked(p.frame))
	p.split = len(p.body) - 32
	return p
}

// ip is the packet as it stands between body and link: next and body may be extension headers.
func (p packet) ip(body []byte, v4 ...func(*layers.IPv4)) []byte {
	switch l := p.ipLayer().(type) {
	case *layers.IPv4:
		for _, f := range v4 {
			f(l)
		}
		return serialize(l, gopacket.Payload(body))
	case *layers.IPv6:
		return serialize(l, gopacket.Payload(body))
	}
	panic("no IP")
}

// tag is an 802.1Q or 802.1ad tag.
type tag struct {
	protocol layers.EthernetType
	vlan     uint16
}

// link puts Ethernet and tags around a payload.
func link(from, to [6]byte, tags []tag, kind layers.EthernetType, payload []byte) []byte {
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr(from[:]), DstMAC: net.HardwareAddr(to[:]), EthernetType: kind}
	parts := []gopacket.SerializableLayer{eth}
	for i, t := range tags {
		if i == 0 {
			eth.EthernetType = t.protocol
		}
		inner := kind
		if i+1 < len(tags) {
			inner = tags[i+1].protocol
		}
		parts = append(parts, &layers.Dot1Q{VLANIdentifier: t.vlan, Type: inner})
	}
	return serialize(append(parts, gopacket.Payload(payload))...)
}
