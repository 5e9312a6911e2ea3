package frames

import (
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/hostroute/hostroute/internal/testenv"
)

// TestSourceRoute: a packet to the gateway that names the edge as its next stop (RFC 791) would get around what no
// guest may reach. A host on which somebody allowed that is put right by the plan.
func TestSourceRoute(t *testing.T) {
	testenv.RequireRoot(t)
	w, bare := newWorld(t, false), newWorld(t, false)
	bare.removeFilter()
	for _, world := range []*world{w, bare} {
		world.set(world.hv, "ipv4/conf/all/accept_source_route", "1", "ipv4/conf/tap1/accept_source_route", "1")
	}
	w.apply()
	for _, world := range []*world{w, bare} {
		p := packet{frame: number.Add(1), from: one.mac, to: [6]byte{0xee, 0xee, 0xee, 0xee, 0xee, 1}, src: one.v4, dst: gateway4, hop: 64}.datagram()
		raw := p.ip(p.body, func(l *layers.IPv4) {
			l.Options = []layers.IPv4Option{{OptionType: 131, OptionLength: 7, OptionData: append([]byte{4}, edge4.AsSlice()...)}, {OptionType: 0}}
		})
		q := &probe{row: "source route", column: "plain", to: "the edge", reason: "no interconnect address", parts: 3, wires: [][]byte{link(p.from, p.to, nil, layers.EthernetTypeIPv4, raw)}}
		world.send([]*probe{q}, one)
		switch {
		case world == w:
			w.failures([]*probe{q})
		case len(q.arrived()) == 0:
			t.Error("not seen without the filter either, so nothing is proven")
		}
	}
}
