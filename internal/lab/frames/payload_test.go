package frames

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// message is a kind of payload that is legal for some and not for guests, or the other way round: a row.
type message struct {
	name string
	// legal where it is sent as it is meant; why it may be sent, or may not:
	legal  bool
	reason string
	to     []netip.Addr
	src    netip.Addr // other than the guest's address
	make   func(packet) packet
	want   []string // who sees a legal one
	// fragments: a legal one may be fragmented.
	fragments bool
}

var (
	allNodes   = ip("ff02::1")
	allRouters = ip("ff02::2")
	allDHCPv6  = ip("ff02::1:2")
	everybody4 = ip("255.255.255.255")
	anyone4    = ip("0.0.0.0")
)

// messages are the rows, with the reason why a guest may send them or not.
var messages = []message{
	{name: "router advertisement", reason: "RFC 6105: guests are no routers", to: []netip.Addr{allNodes, two.v6, gatewayLL6, internet6}, make: advertise},
	{name: "router advertisement, link-local", reason: "RFC 6105: guests are no routers", to: []netip.Addr{allNodes, two.v6, gatewayLL6}, src: one.linkLocal, make: advertise},
	{name: "redirect", reason: "RFC 4861 section 4.5: from routers only", to: []netip.Addr{allNodes, two.v6, gatewayLL6, internet6}, make: redirect},
	{name: "redirect, link-local", reason: "RFC 4861 section 4.5: from routers only", to: []netip.Addr{two.v6, gatewayLL6}, src: one.linkLocal, make: redirect},
	{name: "ICMPv4 redirect", reason: "RFC 1812 section 5.2.7.2: from routers only", to: []netip.Addr{two.v4, gateway4, internet4}, make: redirect4},
	{name: "DHCPv4 OFFER", reason: "guests are no DHCP servers", to: []netip.Addr{everybody4, two.v4, gateway4, internet4}, make: offer4},
	{name: "DHCPv4 OFFER to another port", reason: "guests are no DHCP servers", to: []netip.Addr{two.v4}, make: offerRelay},
	{name: "DHCPv6 ADVERTISE", reason: "guests are no DHCP servers", to: []netip.Addr{allNodes, two.v6, gatewayLL6, internet6}, make: offer6},
	{name: "DHCPv6 ADVERTISE, link-local", reason: "guests are no DHCP servers", to: []netip.Addr{allNodes, two.v6, gatewayLL6}, src: one.linkLocal, make: offer6},
	{name: "router solicitation", legal: true, reason: "RFC 4861 section 6.3.7", to: []netip.Addr{allRouters}, src: one.linkLocal, make: solicitRouter, want: []string{atHost}},
	{name: "DHCPv4 DISCOVER", legal: true, reason: "RFC 2131 section 4.1", to: []netip.Addr{everybody4}, src: anyone4, make: discover4, want: []string{atHost}},
	{name: "DHCPv4 REQUEST", legal: true, reason: "RFC 2131 section 4.4.5: renewing", to: []netip.Addr{gatewayLL4, gateway4}, make: discover4, want: []string{atHost}, fragments: true},
	{name: "DHCPv6 SOLICIT", legal: true, reason: "RFC 8415 section 14", to: []netip.Addr{allDHCPv6}, src: one.linkLocal, make: solicit6, want: []string{atHost}},
}

func advertise(p packet) packet {
	p.hop = 255
	p = p.icmp6(134, append([]byte{64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}, option(p.frame)...))
	p.split = len(p.body) - 32
	return p
}

func solicitRouter(p packet) packet {
	p.hop = 255
	p = p.icmp6(133, append([]byte{0, 0, 0, 0}, option(p.frame)...))
	p.split = len(p.body) - 32
	return p
}

func redirect(p packet) packet {
	p.hop = 255
	body := append([]byte{0, 0, 0, 0}, one.linkLocal.AsSlice()...)
	p = p.icmp6(137, append(append(body, internet6.AsSlice()...), option(p.frame)...))
	p.split = len(p.body) - 32
	return p
}

func redirect4(p packet) packet {
	quoted := packet{src: two.v4, dst: internet4, hop: 64, next: layers.IPProtocolUDP}
	inner := append(quoted.ip(make([]byte, 8)), 0, 0, 0, 0)
	p = p.icmp4(5, 1, uint16(one.v4.As4()[0])<<8|uint16(one.v4.As4()[1]), uint16(one.v4.As4()[2])<<8|uint16(one.v4.As4()[3]), append(inner, marked(p.frame)...))
	p.split = len(p.body) - 32
	return p
}

// bootp is a DHCPv4 message with the tokens in an option (43) that means nothing to anybody.
func bootp(p packet, op, kind byte) []byte {
	b := make([]byte, 236, 400)
	b[0], b[1], b[2] = op, 1, 6
	copy(b[28:], one.mac[:])
	b = append(b, 99, 130, 83, 99, 53, 1, kind, 0, 0, 0, 43, 64)
	return append(append(b, marked(p.frame)...), 255)
}

func (p packet) splitDatagram(from, to uint16, payload []byte, tail int) packet {
	p = p.udp(from, to, payload)
	p.split = len(p.body) - tail - 32
	return p
}

func offer4(p packet) packet     { return p.splitDatagram(67, 68, bootp(p, 2, 2), 1) }
func offerRelay(p packet) packet { return p.splitDatagram(67, 67, bootp(p, 2, 2), 1) }
func discover4(p packet) packet  { return p.splitDatagram(68, 67, bootp(p, 1, 1), 1) }

// dhcp6 has the tokens in an option of a vendor.
func dhcp6(p packet, kind byte) []byte {
	return append([]byte{kind, 1, 2, 3, 0, 17, 0, 72, 0, 0, 0, 0, 0, 0, 0, 0}, marked(p.frame)...)
}

func offer6(p packet) packet   { return p.splitDatagram(547, 546, dhcp6(p, 2), 0) }
func solicit6(p packet) packet { return p.splitDatagram(546, 547, dhcp6(p, 1), 0) }

// payloads makes the probes: every message in every wrap to everybody that it could harm.
func payloads() []*probe {
	var probes []*probe
	for _, row := range messages {
		for _, column := range wraps {
			for _, to := range row.to {
				p := packet{frame: number.Add(1), from: one.mac, to: etherOf(to), src: one.v6, dst: to, hop: 64}
				if to.Is4() {
					p.src = one.v4
				}
				if row.src.IsValid() {
					p.src = row.src
				}
				p = row.make(p)
				q := &probe{row: row.name, column: column.name, to: to.String(), reason: row.reason, wires: column.carry(p), parts: column.parts, whole: true}
				if q.wires == nil {
					continue
				}
				switch {
				case !row.legal:
				case column.shape == split && !row.fragments:
					q.reason = "no client sends fragments of it"
				case column.legal || column.harmless:
					q.want, q.harmless = row.want, column.harmless
				default:
					q.reason = column.reason
				}
				probes = append(probes, q)
			}
		}
	}
	return probes
}

// etherOf is where a packet is sent on the link.
func etherOf(to netip.Addr) [6]byte {
	switch {
	case to == everybody4:
		return broadcast
	case to.IsMulticast():
		a := to.As16()
		return [6]byte{0x33, 0x33, a[12], a[13], a[14], a[15]}
	}
	return vrf.TapMAC
}

func TestPayloads(t *testing.T) {
	testenv.RequireRoot(t)
	payloadMatrix(t, false)
}

func TestPayloadsVRF(t *testing.T) {
	testenv.RequireVRF(t)
	payloadMatrix(t, true)
}

func payloadMatrix(t *testing.T, devices bool) {
	w, bare := newWorld(t, devices), newWorld(t, devices)
	bare.removeFilter()
	bare.loose() // 0.0.0.0 is refused otherwise
	probes, without := payloads(), payloads()
	w.sendUnlimited(probes)
	bare.send(without, one)
	w.report("payloads", probes, without)
	eyesOpen(t, without)
	for _, row := range messages {
		seen := slices.ContainsFunc(without, func(p *probe) bool { return p.row == row.name && len(p.arrived()) > 0 })
		if !seen {
			t.Errorf("%s: not even seen without the filter, so nothing is proven", row.name)
		}
	}
}
