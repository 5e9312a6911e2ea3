package frames

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// arp is an ARP packet.
type arp struct {
	op                     uint16
	sender, target         [6]byte
	senderAddr, targetAddr netip.Addr
}

func (a arp) bytes() []byte {
	return serialize(&layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: a.op,
		SourceHwAddress: a.sender[:], SourceProtAddress: a.senderAddr.AsSlice(), DstHwAddress: a.target[:], DstProtAddress: a.targetAddr.AsSlice(),
	})
}

// speech is a thing to say in ARP.
type speech struct {
	name string
	to   [6]byte
	say  func(arp, netip.Addr) arp
	// answered: the hypervisor answers a legal one.
	answered bool
}

var speeches = []speech{
	{"a request", broadcast, func(a arp, t netip.Addr) arp { a.op, a.targetAddr = 1, t; return a }, true},
	{"a request to the gateway alone", vrf.TapMAC, func(a arp, t netip.Addr) arp { a.op, a.targetAddr = 1, t; return a }, true},
	{"a gratuitous request", broadcast, func(a arp, _ netip.Addr) arp { a.op, a.targetAddr = 1, a.senderAddr; return a }, false},
	{"a reply to the gateway", vrf.TapMAC, func(a arp, _ netip.Addr) arp {
		a.op, a.target, a.targetAddr = 2, vrf.TapMAC, gateway4
		return a
	}, false},
	{"a gratuitous reply", broadcast, func(a arp, _ netip.Addr) arp { a.op, a.target, a.targetAddr = 2, broadcast, a.senderAddr; return a }, false},
}

// arpProbes are the rows of ARP senders. Targets of requests are addresses of the internet, for which the
// hypervisor answers, each asked for once.
func arpProbes(rows []identity, set func(*arp, identity)) []*probe {
	var probes []*probe
	for _, row := range rows {
		for _, column := range wraps {
			if column.shape != whole && column.tags == nil {
				continue // a way of IP
			}
			for _, s := range speeches {
				a := arp{sender: one.mac, senderAddr: one.v4}
				set(&a, row)
				n := number.Add(1)
				target := netip.AddrFrom4([4]byte{198, 18 + byte(n>>16)&1, byte(n >> 8), byte(n)})
				p := &probe{row: "ARP " + row.name, column: column.name, to: s.name, reason: row.reason, parts: 1, seen: map[string]byte{}}
				if !column.legal {
					p.reason = column.reason
				}
				if s.answered {
					p.target = target
				}
				if s.answered && row.own && column.legal {
					p.want = []string{atOne}
				}
				body := append(s.say(a, target).bytes(), token(n, 0)...)
				p.wires = [][]byte{link(one.mac, s.to, column.tags, layers.EthernetTypeARP, body)}
				probes = append(probes, p)
			}
		}
	}
	return probes
}

func TestARP(t *testing.T) {
	testenv.RequireRoot(t)
	arpMatrix(t, false)
}

func TestARPVRF(t *testing.T) {
	testenv.RequireVRF(t)
	arpMatrix(t, true)
}

// arpMatrix: what a guest says in another's name is neither answered nor believed.
func arpMatrix(t *testing.T, devices bool) {
	w, bare := newWorld(t, devices), newWorld(t, devices)
	bare.removeFilter()
	for _, world := range []*world{w, bare} {
		world.loose()
		world.set(world.hv, "ipv4/conf/tap1/arp_accept", "1") // believe in gratuitous ones, as some hosts do
	}
	for _, m := range []struct {
		title string
		make  func() []*probe
	}{
		{"ARP sender's address", func() []*probe {
			return arpProbes(sources4, func(a *arp, i identity) { a.senderAddr = i.value })
		}},
		{"ARP sender's MAC", func() []*probe {
			return arpProbes(macs, func(a *arp, i identity) { a.sender = i.mac })
		}},
	} {
		probes, without := m.make(), m.make()
		before := w.neighbourTable()
		w.sendUnlimited(probes)
		w.believesNothing(m.title, before)
		before = bare.neighbourTable()
		bare.send(without, one)
		if m.title == "ARP sender's address" && maps.Equal(before, bare.neighbourTable()) {
			t.Error("without the filter the hypervisor believes nothing either: what does this test prove?")
		}
		w.report(m.title, probes, without)
		eyesOpen(t, without)
	}
}

// sendUnlimited sends, and fails if the limits had a part in what was seen, or if somebody else is blamed.
func (w *world) sendUnlimited(probes []*probe) {
	w.t.Helper()
	w.send(probes, one)
	drops, err := w.kernel.Drops(w.t.Context())
	w.check(err)
	for tap, d := range drops {
		if d.Limited > 0 {
			w.t.Errorf("%s: %d frames were limited, so it is not known whether they would have passed: send less at once", tap, d.Limited)
		}
		if tap != one.tap && d != (vrf.Drops{}) {
			w.t.Errorf("%s sent nothing and is blamed for %+v", tap, d)
		}
	}
	if drops[one.tap].Spoofed == 0 && drops[one.tap].Refused == 0 {
		w.t.Errorf("what was dropped is not counted: %+v", drops)
	}
}

// believesNothing fails if the neighbour table has changed, apart from what the guest may say of itself.
func (w *world) believesNothing(what string, before map[string]bool) {
	w.t.Helper()
	after := w.neighbourTable()
	maps.DeleteFunc(after, func(entry string, _ bool) bool {
		f := strings.Fields(entry)
		a, err := netip.ParseAddr(f[0])
		return err == nil && len(f) == 4 && f[2] == one.tap && f[3] == mac(one.mac) && (one.owns(a) || a.IsLinkLocalUnicast() && a != gatewayLL6 && a.Is6()) && !before[entry]
	})
	if !maps.Equal(before, after) {
		w.t.Errorf("%s: the hypervisor believes it: %s", what, difference(before, after))
	}
}

func difference(before, after map[string]bool) string {
	var changes []string
	for e := range after {
		if !before[e] {
			changes = append(changes, "+ "+e)
		}
	}
	for e := range before {
		if !after[e] {
			changes = append(changes, "- "+e)
		}
	}
	slices.Sort(changes)
	return fmt.Sprintf("%q", changes)
}

// ndProbes are neighbour solicitations or advertisements, which the hypervisor's sockets see if they pass.
func ndProbes(field string, rows []identity, message func(packet, identity) packet) []*probe {
	var probes []*probe
	for _, row := range rows {
		for _, column := range wraps {
			n := number.Add(1)
			p := message(packet{frame: n, from: one.mac, to: vrf.TapMAC, src: one.linkLocal, dst: gatewayLL6, hop: 255}, row)
			q := &probe{row: field + " " + row.name, column: column.name, to: "the gateway", parts: column.parts, reason: row.reason, wires: column.carry(p)}
			if q.wires == nil {
				continue
			}
			switch {
			case !row.own && !row.local && !(row.value.IsUnspecified() && field == "NS from"): // RFC 4862: DAD
			case column.shape == split:
				q.reason = "RFC 6980: ND is never fragmented"
			case column.legal || column.harmless:
				q.want, q.harmless = []string{atHost}, column.harmless
			default:
				q.reason = column.reason
			}
			q.whole = true
			probes = append(probes, q)
		}
	}
	return probes
}

// option is an ND option that nobody knows, full of tokens, at a multiple of 8 with its second half.
func option(frame uint32) []byte {
	b := append([]byte{253, 9}, make([]byte, 6)...)
	return append(b, marked(frame)...)
}

// advertisement claims an address.
func (p packet) advertisement(target netip.Addr) packet {
	body := append([]byte{0x20, 0, 0, 0}, target.AsSlice()...)
	body = append(body, 2, 1)
	p = p.icmp6(136, append(append(body, one.mac[:]...), option(p.frame)...))
	p.split = len(p.body) - 32
	return p
}

// solicitation asks for an address, in the name of the packet's source.
func (p packet) solicitation(target netip.Addr) packet {
	body := append([]byte{0, 0, 0, 0}, target.AsSlice()...)
	if !p.src.IsUnspecified() {
		body = append(append(body, 1, 1), one.mac[:]...)
	}
	p = p.icmp6(135, append(body, option(p.frame)...))
	p.split = len(p.body) - 32
	return p
}

// inTheNameOf changes the source. Without one, a solicitation must go to a group (RFC 4861 section 7.1.1).
func (p packet) inTheNameOf(source netip.Addr) packet {
	if p.src = source; source.IsUnspecified() {
		p.dst = solicited(gatewayLL6)
		p.to = etherOf(p.dst)
	}
	return p
}

// solicited is the group in which an address is asked for (RFC 4291 section 2.7.1).
func solicited(a netip.Addr) netip.Addr {
	low := a.As16()
	return netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: low[13], 14: low[14], 15: low[15]})
}

func TestND(t *testing.T) {
	testenv.RequireRoot(t)
	ndMatrix(t, false)
}

func TestNDVRF(t *testing.T) {
	testenv.RequireVRF(t)
	ndMatrix(t, true)
}

func ndMatrix(t *testing.T, devices bool) {
	w, bare := newWorld(t, devices), newWorld(t, devices)
	bare.removeFilter()
	for _, m := range []struct {
		title string
		make  func() []*probe
	}{
		{"ND target", func() []*probe {
			return ndProbes("NA for", sources6, func(p packet, i identity) packet { return p.advertisement(i.value) })
		}},
		{"ND source", func() []*probe {
			return ndProbes("NS from", sources6, func(p packet, i identity) packet {
				return p.inTheNameOf(i.value).solicitation(gatewayLL6)
			})
		}},
	} {
		probes, without := m.make(), m.make()
		before := w.neighbourTable()
		w.sendUnlimited(probes)
		w.believesNothing(m.title, before)
		bare.send(without, one)
		w.report(m.title, probes, without)
		eyesOpen(t, without)
	}
}
