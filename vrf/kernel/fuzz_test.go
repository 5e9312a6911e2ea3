package kernel

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// FuzzParse: whatever a kernel of another version sends, no decoder panics.
func FuzzParse(f *testing.F) {
	var s socket
	s.route(&route{prefix: netip.MustParsePrefix("192.0.2.0/24"), table: 90, hops: []vrf.Hop{
		{Gateway: netip.MustParseAddr("100.64.1.2"), Port: 3}, {Gateway: netip.MustParseAddr("fe80::2"), Port: 4},
	}}, vrf.Add)
	f.Add(slices.Clone(s.out))
	s.reset()
	s.route(&route{prefix: netip.MustParsePrefix("203.0.113.99/32"), table: 90, scope: unix.RT_SCOPE_LINK, onLink: true, hops: []vrf.Hop{
		{Port: 3}, {Gateway: netip.MustParseAddr("203.0.113.7"), Port: 4},
	}}, vrf.Add)
	s.route(&route{prefix: netip.MustParsePrefix("2001:db8::8/128"), table: 1000, kind: unix.RTN_BLACKHOLE, metric: vrf.MetricBlackhole}, vrf.Add)
	f.Add(slices.Clone(s.out))
	s.reset()
	s.rule(unix.RTM_NEWRULE, 0, vrf.Rule{Priority: 1000, L3MDev: true, Protocol: 2})
	f.Add(slices.Clone(s.out))
	s.reset()
	s.nextHop(&vrf.NextHopOp{Object: vrf.NextHopObject{ID: 2019050001, Group: []uint32{1, 2}}})
	f.Add(slices.Clone(s.out))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) >= headerLen {
			m, rest, err := next(b)
			if err != nil {
				return
			}
			var d dumped
			d.parse(m.payload)
			parseNextHop(m.payload)
			parseAddress(m.payload)
			parseRule(m.payload)
			parseNeighbour(m.payload)
			_ = m.failure()
			w := watcher{names: map[int]string{}, changed: map[string]bool{}, signal: make(chan struct{}, 1)}
			for _, kind := range []uint16{m.kind, unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELNEIGH, unix.RTM_NEWNEIGH, unix.RTM_NEWNETCONF, rtmNewNextHop} {
				w.message(kind, false, m.payload)
			}
			b = rest
		}
	})
}

// FuzzRoute: what is encoded is decoded as the same.
func FuzzRoute(f *testing.F) {
	f.Add([]byte{192, 0, 2, 0}, 24, uint32(90), uint32(0), []byte{100, 64, 0, 1}, 3, 2)
	f.Add([]byte{192, 0, 2, 0}, 24, uint32(1000), uint32(0), netip.MustParseAddr("fe80::1").AsSlice(), 3, 1)
	f.Add(netip.MustParseAddr("2001:db8::").AsSlice(), 32, uint32(20), uint32(2019050001), []byte{}, 3, 0)
	f.Fuzz(func(t *testing.T, a []byte, bits int, table, id uint32, gateway []byte, port, hops int) {
		address, ok := netip.AddrFromSlice(a)
		via, hasVia := netip.AddrFromSlice(gateway)
		if !ok || bits < 0 || bits > address.BitLen() || port <= 0 || port > 1<<30 || table == 0 {
			return
		}
		if !hasVia || address.Is6() && via.Is4() {
			hops = 0
		}
		in := route{prefix: netip.PrefixFrom(address, bits).Masked(), table: table, metric: vrf.MetricLearned, kind: unix.RTN_UNICAST}
		if hops <= 0 {
			in.nextHopID = id
		}
		for i := range min(max(hops, 0), 100) {
			in.hops = append(in.hops, vrf.Hop{Gateway: via, Port: port + i})
		}
		var s socket
		s.route(&in, vrf.Replace)
		m, rest, err := next(s.out)
		if err != nil || len(rest) != 0 {
			t.Fatalf("%d bytes are left, %v", len(rest), err)
		}
		var d dumped
		if !d.parse(m.payload) {
			t.Fatal("it is not understood")
		}
		if d.prefix != in.prefix || d.table != table || d.metric != vrf.MetricLearned || d.protocol != vrf.Protocol ||
			d.nextHopID != in.nextHopID || !slices.Equal(d.hops, in.hops) || d.several != (len(in.hops) > 1) || slices.Contains(d.dead, true) {
			t.Errorf("%+v comes back as %+v", in, d)
		}
	})
}
