package kernel

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// The frames are written by hand, so that they can be wrong in every way.

func ether(from, to [6]byte, kind uint16, payload []byte) []byte {
	b := append(append([]byte{}, to[:]...), from[:]...)
	return append(binary.BigEndian.AppendUint16(b, kind), payload...)
}

// tagged puts VLAN tags between the addresses and the type, outermost first.
func tagged(frame []byte, tags ...[2]uint16) []byte {
	b := append([]byte{}, frame[:12]...)
	for _, t := range tags {
		b = binary.BigEndian.AppendUint16(b, t[0])
		b = binary.BigEndian.AppendUint16(b, t[1])
	}
	return append(b, frame[12:]...)
}

func ipv4(from, to string, proto byte, fragment uint16, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	binary.BigEndian.PutUint16(b[4:], 77)
	binary.BigEndian.PutUint16(b[6:], fragment)
	copy(b[12:], netip.MustParseAddr(from).AsSlice())
	copy(b[16:], netip.MustParseAddr(to).AsSlice())
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, payload...)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func ipv6(from, to string, next byte, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[6], b[7] = 0x60, next, 255
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], netip.MustParseAddr(from).AsSlice())
	copy(b[24:], netip.MustParseAddr(to).AsSlice())
	return append(b, payload...)
}

func udp(from, to uint16, payload string) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return append(b, payload...)
}

// icmpMessage needs no checksum where it is only forwarded.
func icmpMessage(kind byte, payload string) []byte {
	return append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, payload...)
}

// extended puts an IPv6 extension header of eight bytes before a payload.
func extended(next byte, payload []byte) []byte {
	return append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, payload...)
}

func fragment6(next byte, offset uint16, more bool, payload []byte) []byte {
	field := offset << 3
	if more {
		field |= 1
	}
	return append([]byte{next, 0, byte(field >> 8), byte(field), 0, 0, 0, 77}, payload...)
}

func arp(op byte, senderMAC [6]byte, sender, target string) []byte {
	b := append([]byte{0, 1, 8, 0, 6, 4, 0, op}, senderMAC[:]...)
	b = append(append(b, netip.MustParseAddr(sender).AsSlice()...), 0, 0, 0, 0, 0, 0)
	return append(b, netip.MustParseAddr(target).AsSlice()...)
}

// port is an interface on which a test sends and listens to frames.
type port struct {
	t    testing.TB
	conn *packet.Conn
	mac  [6]byte

	mu   sync.Mutex
	seen []string
}

func openPort(t testing.TB, ns *testenv.Netns, name string) *port {
	t.Helper()
	p := &port{t: t}
	must(t, ns.Do(func() error {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		copy(p.mac[:], ifi.HardwareAddr)
		p.conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	}))
	ended := make(chan struct{})
	go func() { defer close(ended); p.listen() }()
	t.Cleanup(func() { p.conn.Close(); <-ended })
	return p
}

func (p *port) listen() {
	b := make([]byte, 65536)
	for {
		n, _, err := p.conn.ReadFrom(b)
		if err != nil { // closed
			return
		}
		p.mu.Lock()
		p.seen = append(p.seen, string(b[:n]))
		p.mu.Unlock()
	}
}

func (p *port) send(frame []byte) {
	p.t.Helper()
	_, err := p.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]})
	must(p.t, err)
}

// trySend sends where the other end may be down just now.
func (p *port) trySend(frame []byte) {
	_, _ = p.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]})
}

// saw tells whether a frame with that text has come in.
func (p *port) saw(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.seen {
		if strings.Contains(f, text) {
			return true
		}
	}
	return false
}

func (p *port) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = nil
}

// stage is a hypervisor with two guests and an edge router, each in a namespace
// of its own.
type stage struct {
	t        testing.TB
	k        *Kernel
	host     vrf.Host
	hv       *testenv.Netns
	a, b     *testenv.Netns
	edge     *testenv.Netns
	portA    *port
	portEdge *port
	portB    *port
}

const (
	vmA, vmA6, vmB, vmB6 = "203.0.113.7", "2001:db8::7", "203.0.113.8", "2001:db8::8"
	internet, internet6  = "192.0.2.1", "2001:db8:ffff::1"
)

// newStage builds it, with a VRF device or only with its table. Nothing is
// applied yet; the guests' own stacks are silent unless a test wants them.
func newStage(t testing.TB, device bool) *stage {
	t.Helper()
	s := &stage{t: t, hv: testenv.NewNetns(t), a: testenv.NewNetns(t), b: testenv.NewNetns(t), edge: testenv.NewNetns(t)}
	for _, ns := range []*testenv.Netns{s.hv, s.a, s.b, s.edge} {
		ns.Sysctl("net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.router_solicitations=0")
	}
	testenv.Veth(s.hv, "tap0", s.a, "eth0")
	testenv.Veth(s.hv, "tap1", s.b, "eth0")
	testenv.Veth(s.hv, "u0", s.edge, "hv")
	s.edge.IP("addr add 100.64.0.2/24 dev hv", "addr add fd64::2/64 dev hv nodad", "addr add 192.0.2.1/32 dev lo", "addr add 2001:db8:ffff::1/128 dev lo",
		"route add 203.0.113.0/24 via 100.64.0.1", "route add 2001:db8::/64 via fd64::1")
	s.portA, s.portB, s.portEdge = openPort(t, s.a, "eth0"), openPort(t, s.b, "eth0"), openPort(t, s.edge, "hv")
	s.k = New(Options{NetNS: s.hv.FD()})
	t.Cleanup(func() { must(t, s.k.Close()) })
	s.host = vrf.Host{
		VRFs:          []vrf.VRF{{Name: "public", Table: 90, NoDevice: !device}},
		Uplinks:       []vrf.Uplink{{Name: "u0", VRF: "public", Plane: "a", Addresses: []netip.Prefix{netip.MustParsePrefix("100.64.0.1/24"), netip.MustParsePrefix("fd64::1/64")}}},
		Interconnects: []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10")},
		TapPatterns:   []string{"vnet*"},
		Taps: []vrf.Tap{
			guestTap("tap0", s.portA.mac, vmA+"/32", vmA6+"/128", "203.0.113.16/28", "2001:db8:1::/64", "2001:db8:2::/60"),
			guestTap("tap1", s.portB.mac, vmB+"/32", vmB6+"/128"),
		},
	}
	return s
}

func guestTap(name string, mac [6]byte, prefixes ...string) vrf.Tap {
	tap := vrf.Tap{Name: name, VRF: "public", MAC: mac, Gateways: []netip.Addr{netip.MustParseAddr("169.254.0.1"), netip.MustParseAddr("203.0.113.1")}}
	for _, p := range prefixes {
		prefix := netip.MustParsePrefix(p)
		tap.Sources = append(tap.Sources, prefix)
		if prefix.IsSingleIP() {
			tap.Routes = append(tap.Routes, vrf.Route{Prefix: prefix})
			tap.Neighbours = append(tap.Neighbours, vrf.Neighbour{Address: prefix.Addr(), MAC: mac})
			continue
		}
		for _, via := range tap.Neighbours {
			if via.Address.Is4() == prefix.Addr().Is4() {
				tap.Routes = append(tap.Routes, vrf.Route{Prefix: prefix, Via: via.Address})
			}
		}
	}
	return tap
}

// apply brings the host to what is desired, and gives the way to the edge.
func (s *stage) apply() {
	s.t.Helper()
	_, err := s.k.Apply(s.t.Context(), s.host, vrf.Options{Sweep: true})
	must(s.t, err)
	s.routes()
}

// routes are what BGP would bring, and where there is no VRF device the rules.
func (s *stage) routes() {
	s.hv.IP("route replace default via 100.64.0.2 dev u0 onlink table 90 proto bgp", "route replace default via fd64::2 dev u0 onlink table 90 proto bgp",
		"neigh replace 100.64.0.2 lladdr "+net.HardwareAddr(s.portEdge.mac[:]).String()+" dev u0 nud permanent",
		"neigh replace fd64::2 lladdr "+net.HardwareAddr(s.portEdge.mac[:]).String()+" dev u0 nud permanent")
	if s.host.VRFs[0].NoDevice && !strings.Contains(s.hv.Run("ip", "rule"), "lookup 90") {
		s.hv.Run("ip", "rule", "add", "pref", "100", "lookup", "90")
		s.hv.Run("ip", "-6", "rule", "add", "pref", "100", "lookup", "90")
	}
}

// frame is one of guest a, to its gateway.
func (s *stage) frame(kind uint16, payload []byte) []byte {
	return ether(s.portA.mac, vrf.TapMAC, kind, payload)
}

func (s *stage) v4(payload []byte) []byte { return s.frame(unix.ETH_P_IP, payload) }
func (s *stage) v6(payload []byte) []byte { return s.frame(unix.ETH_P_IPV6, payload) }

// passes sends a frame and then two that are allowed, one to the edge and one to
// the other guest: each port has a reader of its own, so what the first can come
// out of must have shown its marker before its silence says anything.
func (s *stage) passes(frame []byte, text, marker string) bool {
	s.t.Helper()
	s.portA.send(frame)
	for _, to := range []string{internet, vmB} {
		s.portA.send(s.v4(ipv4(vmA, to, unix.IPPROTO_UDP, 0, udp(1000, 2000, marker))))
	}
	testenv.Eventually(s.t, "the frames that are allowed", func() bool { return s.portEdge.saw(marker) && s.portB.saw(marker) })
	return s.portEdge.saw(text) || s.portB.saw(text)
}

// drops gives tap0's counters.
func (s *stage) drops() vrf.Drops {
	s.t.Helper()
	d, err := s.k.Drops(s.t.Context())
	must(s.t, err)
	return d["tap0"]
}
