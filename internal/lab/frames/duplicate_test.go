package frames

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

func TestDuplicates(t *testing.T) {
	testenv.RequireRoot(t)
	duplicates(t, false)
}

func TestDuplicatesVRF(t *testing.T) {
	testenv.RequireVRF(t)
	duplicates(t, true)
}

// duplicates: a guest that checks whether an address is free finds its own free, and its gateways taken.
func duplicates(t *testing.T, devices bool) {
	w := newWorld(t, devices)
	for _, c := range []struct {
		name   string
		ask    []byte
		answer netip.Addr // the address that is defended, or none
	}{
		{"ARP probe for its own address", arpProbe(one.v4), netip.Addr{}},
		{"ARP probe for the gateway", arpProbe(gateway4), gateway4},
		{"ARP probe for 169.254.0.1", arpProbe(gatewayLL4), gatewayLL4},
		{"ARP probe for another guest's address", arpProbe(two.v4), netip.Addr{}},
		{"ARP announcement of its own address", arpAnnouncement(one.v4), netip.Addr{}},
		{"ARP request for its own address", arpRequest(one.v4), netip.Addr{}},
		{"ARP request for another guest's address", arpRequest(two.v4), two.v4},
		{"DAD for fe80::1", detection(gatewayLL6), gatewayLL6},
		{"DAD for the gateway", detection(gateway6), gateway6},
		{"DAD for its own address", detection(one.v6), netip.Addr{}},
		{"DAD for an address of its /64", detection(ip("2001:db8:cb00:7101::abcd")), netip.Addr{}},
		{"DAD for its link-local address", detection(one.linkLocal), netip.Addr{}},
		{"DAD for a privacy address, link-local", detection(ip("fe80::1234:5678:9abc:def0")), netip.Addr{}},
		{"DAD for another guest's address", detection(two.v6), netip.Addr{}},
	} {
		answers := w.ask(c.ask)
		switch {
		case !c.answer.IsValid() && len(answers) > 0:
			t.Errorf("%s: answered with %v, which must be nothing", c.name, answers)
		case c.answer.IsValid() && (len(answers) != 1 || answers[0] != answer{c.answer, vrf.TapMAC}):
			t.Errorf("%s: answered with %v, want %v at the tap's MAC once", c.name, answers, c.answer)
		}
	}
}

// answer says that an address is at a MAC.
type answer struct {
	address netip.Addr
	mac     [6]byte
}

// ask sends a question and gives what it is answered with.
func (w *world) ask(frame []byte) []answer {
	w.t.Helper()
	var answers []answer
	var err error
	pinned(0, func() {
		if err = w.ports[atOne].send(frame); err != nil {
			return
		}
		err = w.observe(one, func(who string, raw []byte) {
			if a, ok := claim(raw); ok && who == atOne {
				answers = append(answers, a)
			}
		})
	})
	w.check(err)
	return answers
}

// claim reads an ARP reply or a neighbour advertisement.
func claim(raw []byte) (answer, bool) {
	p := gopacket.NewPacket(raw, layers.LayerTypeEthernet, gopacket.Default)
	if a, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok && a.Operation == 2 {
		return answer{netip.AddrFrom4([4]byte(a.SourceProtAddress)), [6]byte(a.SourceHwAddress)}, true
	}
	if a, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement); ok {
		for _, o := range a.Options {
			if o.Type == layers.ICMPv6OptTargetAddress {
				return answer{netip.AddrFrom16([16]byte(a.TargetAddress)), [6]byte(o.Data)}, true
			}
		}
		return answer{address: netip.AddrFrom16([16]byte(a.TargetAddress))}, true
	}
	return answer{}, false
}

func onLink(a arp) []byte { return link(one.mac, broadcast, nil, layers.EthernetTypeARP, a.bytes()) }

func arpProbe(target netip.Addr) []byte { // RFC 5227 section 2.1.1
	return onLink(arp{op: 1, sender: one.mac, senderAddr: anyone4, targetAddr: target})
}

func arpRequest(target netip.Addr) []byte {
	return onLink(arp{op: 1, sender: one.mac, senderAddr: one.v4, targetAddr: target})
}

func arpAnnouncement(own netip.Addr) []byte {
	return onLink(arp{op: 1, sender: one.mac, senderAddr: own, targetAddr: own})
}

// detection is a solicitation as in RFC 4862 section 5.4.2.
func detection(target netip.Addr) []byte {
	group := solicited(target)
	p := packet{frame: number.Add(1), from: one.mac, to: etherOf(group), src: netip.IPv6Unspecified(), dst: group, hop: 255}
	return plainFrame(p.solicitation(target))
}
