package frames

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// identity is what a guest claims to be: a row of the matrix.
type identity struct {
	name  string
	value netip.Addr
	mac   [6]byte
	own   bool // it is the guest's
	local bool // it is the guest's on its own link only, and no router forwards it
	// unknown: the log does not have it, so the hypervisor's answers wait for an advertisement, which nobody here sends.
	unknown bool
	reason  string
}

// macs are the rows for the source address of Ethernet.
var macs = []identity{
	{name: "own", mac: one.mac, own: true, reason: "the log says so"},
	{name: "other guest's", mac: two.mac, reason: "another's"},
	{name: "gateway's", mac: vrf.TapMAC, reason: "the tap's own"},
	{name: "hypervisor's", mac: uplinkMAC, reason: "the uplink's"},
	{name: "edge's", mac: edgeMAC, reason: "the edge's"},
	{name: "martian (group)", mac: [6]byte{1, 0, 0x5e, 0, 0, 1}, reason: "a group sends nothing"},
	{name: "martian (broadcast)", mac: broadcast, reason: "a group sends nothing"},
	{name: "zero", mac: [6]byte{}, reason: "nobody's"},
}

// sources4 are the rows for the source address of IPv4.
var sources4 = []identity{
	{name: "own", value: one.v4, own: true, reason: "the log says so"},
	{name: "other guest's", value: two.v4, reason: "another's"},
	{name: "private guest's", value: three.v4, reason: "another's, of another VRF"},
	{name: "free address of the subnet", value: ip("203.0.113.77"), reason: "nobody's yet"},
	{name: "gateway's", value: gateway4, reason: "the tap's own"},
	{name: "gateway's, link-local", value: gatewayLL4, reason: "the tap's own"},
	{name: "hypervisor's", value: uplink4, reason: "an address of the host"},
	{name: "hypervisor's, management", value: management4, reason: "an address of the host"},
	{name: "edge's", value: edge4, reason: "the edge's"},
	{name: "internet's", value: internet4, reason: "somebody else's"},
	{name: "martian (loopback)", value: ip("127.0.0.1"), reason: "RFC 1122 section 3.2.1.3"},
	{name: "martian (group)", value: ip("224.0.0.5"), reason: "RFC 1122 section 3.2.1.3"},
	{name: "martian (broadcast)", value: ip("255.255.255.255"), reason: "RFC 1122 section 3.2.1.3"},
	{name: "6to4 relay", value: ip("192.88.99.1"), reason: "RFC 7526"},
	{name: "unspecified", value: ip("0.0.0.0"), reason: "RFC 1122: for DHCP alone"},
	{name: "link-local", value: ip("169.254.7.7"), reason: "RFC 3927: not the guest's by the log"},
}

// sources6 are the rows for the source address of IPv6.
var sources6 = []identity{
	{name: "own", value: one.v6, own: true, reason: "the log says so"},
	{name: "own, of its /64", value: ip("2001:db8:cb00:7101::abcd"), own: true, reason: "the log says so"},
	{name: "own, link-local", value: one.linkLocal, local: true, reason: "RFC 4291 section 2.5.6"},
	{name: "any, link-local", value: two.linkLocal, local: true, unknown: true, reason: "RFC 7217: it chooses itself, and is alone on its link"},
	{name: "other guest's", value: two.v6, reason: "another's"},
	{name: "private guest's", value: three.v6, reason: "another's, of another VRF"},
	{name: "next /64", value: ip("2001:db8:cb00:7102::1"), reason: "nobody's yet"},
	{name: "gateway's", value: gateway6, reason: "the tap's own"},
	{name: "gateway's, link-local", value: gatewayLL6, reason: "the tap's own"},
	{name: "hypervisor's", value: uplink6, reason: "an address of the host"},
	{name: "hypervisor's, management", value: management6, reason: "an address of the host"},
	{name: "edge's", value: edge6, reason: "the edge's"},
	{name: "internet's", value: internet6, reason: "somebody else's"},
	{name: "martian (loopback)", value: ip("::1"), reason: "RFC 4291 section 2.5.3"},
	{name: "martian (group)", value: ip("ff02::5"), reason: "RFC 4291 section 2.7"},
	{name: "mapped, own", value: ip("::ffff:203.0.113.1"), reason: "RFC 4942 section 2.2: never on a wire"},
	{name: "mapped, other guest's", value: ip("::ffff:203.0.113.2"), reason: "RFC 4942 section 2.2: never on a wire"},
	{name: "6to4 of its IPv4", value: ip("2002:cb00:7101::1"), reason: "RFC 7526; not the guest's by the log"},
	{name: "NAT64 of its IPv4", value: ip("64:ff9b::cb00:7101"), reason: "not the guest's by the log"},
	{name: "unspecified", value: ip("::"), reason: "RFC 4291 section 2.5.2: for DAD alone"},
}

// destination is where a probe goes, and who sees it if it is legal.
type destination struct {
	name string
	v4   netip.Addr
	v6   netip.Addr
	want []string
	echo bool // an echo request, which is answered
	link bool // on the guest's own link
	why  string
}

var destinations = []destination{
	{name: "another guest", v4: two.v4, v6: two.v6, want: []string{atTwo}, why: "guests of a VRF reach each other"},
	{name: "the internet", v4: internet4, v6: internet6, want: []string{atEdge}, why: "what else is a network for"},
	{name: "an address that a guest of another VRF has", v4: three.v4, v6: three.v6, want: []string{atEdge}, why: "it means another thing in this VRF"},
	{name: "the gateway", v4: gateway4, v6: gateway6, want: []string{atHost, atOne}, echo: true, why: "ICMP echo works"},
	{name: "the link-local gateway", v4: gatewayLL4, v6: gatewayLL6, want: []string{atHost, atOne}, echo: true, link: true, why: "ICMP echo works"},
	{name: "the uplink's address", v4: uplink4, v6: uplink6, echo: true, why: "no host address but the gateway's"},
	{name: "the edge's address", v4: edge4, v6: edge6, echo: true, why: "no interconnect address"},
	{name: "the private uplink's address", v4: uplinkPriv4, v6: uplinkPriv6, echo: true, why: "no interconnect address"},
}

// matrix makes the probes of a field: every identity in every wrap to every destination.
func matrix(field string, v4 bool, rows []identity, set func(*packet, identity)) []*probe {
	var probes []*probe
	for _, row := range rows {
		for _, column := range wraps {
			for _, to := range destinations {
				p := packet{from: one.mac, to: vrf.TapMAC, src: one.v6, dst: to.v6, hop: 64}
				if v4 {
					p.src, p.dst = one.v4, to.v4
				}
				set(&p, row)
				if q := newProbe(field, p, row, column, to); q != nil {
					probes = append(probes, q)
				}
			}
		}
	}
	return probes
}

func newProbe(field string, p packet, row identity, column wrap, to destination) *probe {
	p.frame = number.Add(1)
	if to.echo {
		p = p.echo()
	} else {
		p = p.datagram()
	}
	q := &probe{row: field + " " + row.name, column: column.name, to: to.name, wires: column.carry(p), parts: column.parts}
	switch {
	case q.wires == nil:
		return nil
	case !row.own && !(row.local && to.link):
		q.reason = row.reason
	case !column.legal && !column.harmless:
		q.reason = column.reason
	default:
		q.want, q.reason, q.harmless = to.want, to.why, column.harmless
	}
	if row.unknown {
		q.want = slices.DeleteFunc(slices.Clone(q.want), func(who string) bool { return who == atOne })
	}
	if slices.Contains(q.want, atHost) {
		q.parts = 3 // what is answered was put together before
	}
	return q
}

// TestSources is the matrix of source addresses, of Ethernet and of IP.
func TestSources(t *testing.T) {
	testenv.RequireRoot(t)
	sources(t, false)
}

func TestSourcesVRF(t *testing.T) {
	testenv.RequireVRF(t)
	sources(t, true)
}

func sources(t *testing.T, devices bool) {
	w, bare := newWorld(t, devices), newWorld(t, devices)
	bare.removeFilter()
	w.loose()
	bare.loose()
	for _, m := range []struct {
		title string
		make  func() []*probe
	}{
		{"source MAC, IPv4", func() []*probe {
			return matrix("MAC", true, macs, func(p *packet, i identity) { p.from = i.mac })
		}},
		{"source MAC, IPv6", func() []*probe {
			return matrix("MAC", false, macs, func(p *packet, i identity) { p.from = i.mac })
		}},
		{"IPv4 source", func() []*probe {
			return matrix("IPv4", true, sources4, func(p *packet, i identity) { p.src = i.value })
		}},
		{"IPv6 source", func() []*probe {
			return matrix("IPv6", false, sources6, func(p *packet, i identity) { p.src = i.value })
		}},
	} {
		probes, without := m.make(), m.make()
		w.send(probes, one)
		bare.send(without, one)
		w.report(m.title, probes, without)
		eyesOpen(t, without)
	}
}

// eyesOpen fails if, without the filter, nothing illegal was seen in plain frames or legal ones were not.
func eyesOpen(t *testing.T, bare []*probe) {
	t.Helper()
	illegal := 0
	for _, p := range bare {
		if len(p.want) == 0 && len(p.arrived()) > 0 {
			illegal++
		}
		if len(p.want) > 0 && !p.harmless && p.wrong() != "" {
			t.Errorf("without the filter: %s", p.wrong())
		}
	}
	if illegal == 0 {
		t.Error("without the filter nothing illegal was seen either: what does this test prove?")
	}
}
