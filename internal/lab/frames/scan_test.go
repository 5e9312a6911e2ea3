package frames

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// hostAddresses are where the hypervisor may be reached; every port of them is scanned. Of oddAddresses, at which
// nothing can listen that is not at the others as well, some are.
var (
	hostAddresses = []netip.Addr{
		gateway4, gatewayLL4, gatewayPriv, uplink4, uplinkPriv4, management4, everybody4,
		gateway6, gatewayLL6, uplink6, uplinkPriv6, management6, allNodes,
	}
	oddAddresses = []netip.Addr{
		anyone4, ip("127.0.0.1"), ip("203.0.113.255"), ip("224.0.0.1"), netip.IPv6Unspecified(), ip("::1"), ip("fe80::ff:fe00:ed02"), allRouters,
	}
	// oddSources are ports that a filter could take for those of a service.
	oddSources = []uint16{53, 67, 68, 179, 546, 547, 3784}
)

// Ports where something listens in the hypervisor: BGP, BFD, the log, metrics, ssh, and an echo.
var (
	listening    = []uint16{22, 179, 4222, 9100}
	listeningUDP = []uint16{7, 3784}
)

// service is a kind of port that a guest may reach.
func service(a netip.Addr, protocol layers.IPProtocol, port uint16) bool {
	return protocol == layers.IPProtocolUDP && (a.Is4() && port == 67 || a.Is6() && port == 547)
}

// scanner sends to ports from somewhere and keeps what came back.
type scanner struct {
	*world
	from     string
	src4     netip.Addr
	src6     netip.Addr
	mac, to  [6]byte
	sentinel guest
	port     uint16
	sent     int
	answers  map[string]int // what came back, by kind
	reached  []string       // what the hypervisor's sockets got and may not
}

func (w *world) guestScanner() *scanner {
	return &scanner{world: w, from: atOne, src4: one.v4, src6: one.v6, mac: one.mac, to: vrf.TapMAC, sentinel: one, port: 40000, answers: map[string]int{}}
}

func (w *world) edgeScanner() *scanner {
	return &scanner{world: w, from: atEdge, src4: edge4, src6: edge6, mac: edgeMAC, to: uplinkMAC, sentinel: one, port: 40000, answers: map[string]int{}}
}

// template is a frame to port 0; offset is where the port stands, and sum where the checksum does.
func (s *scanner) template(to netip.Addr, protocol layers.IPProtocol) (frame []byte, offset, sum int) {
	p := packet{from: s.mac, to: s.to, src: s.src6, dst: to, hop: 64}
	if to.Is4() {
		p.src = s.src4
	}
	if to.IsMulticast() || to == everybody4 {
		p.to = etherOf(to)
	}
	l4 := 14 + 40
	if to.Is4() {
		l4 = 14 + 20
	}
	if protocol == layers.IPProtocolUDP {
		return plainFrame(p.udp(s.port, 0, token(0, 0))), l4 + 2, l4 + 6
	}
	p.next = protocol
	syn := &layers.TCP{SrcPort: layers.TCPPort(s.port), SYN: true, Window: 1024, Seq: 1}
	if err := syn.SetNetworkLayerForChecksum(p.ipLayer()); err != nil {
		panic(err)
	}
	p.body = serialize(syn)
	return plainFrame(p), l4 + 2, l4 + 16
}

func (s *scanner) scan(to netip.Addr, ports []uint16) {
	s.t.Helper()
	s.ports(to, layers.IPProtocolTCP, ports)
	s.ports(to, layers.IPProtocolUDP, ports)
}

// ports scans ports of an address; the UDP ones have a token that says which.
func (s *scanner) ports(to netip.Addr, protocol layers.IPProtocol, ports []uint16) {
	s.t.Helper()
	frame, offset, sum := s.template(to, protocol)
	plain := binary.BigEndian.Uint16(frame[sum:])
	mark := -1
	if protocol == layers.IPProtocolUDP {
		mark = offset + 6 + 6
	}
	var err error
	pinned(0, func() {
		for chunk := range slices.Chunk(ports, 400) { // less than the kernel's backlog holds
			for _, port := range chunk {
				binary.BigEndian.PutUint16(frame[offset:], port)
				add := uint32(port)
				if mark > 0 {
					binary.BigEndian.PutUint16(frame[mark:], port)
					add *= 2
				}
				binary.BigEndian.PutUint16(frame[sum:], adjust(plain, add))
				if err = s.ports0().send(frame); err != nil {
					return
				}
			}
			s.sent += len(chunk)
			if err = s.observe(s.sentinel, func(who string, raw []byte) { s.note(who, raw, to, protocol) }); err != nil {
				return
			}
		}
	})
	s.check(err)
}

func (s *scanner) ports0() *port { return s.world.ports[s.from] }

// adjust is the checksum after words were added (RFC 1624).
func adjust(sum uint16, add uint32) uint16 {
	v := uint32(^sum) + add
	for v>>16 != 0 {
		v = v&0xffff + v>>16
	}
	return ^uint16(v)
}

// note keeps what is an answer, and what reached a socket that it may not reach.
func (s *scanner) note(who string, raw []byte, to netip.Addr, protocol layers.IPProtocol) {
	switch who {
	case s.from:
		if kind := reaction(raw); kind != "" {
			s.answers[kind]++
		}
	case atHost:
		tokens(raw, func(frame uint32, _ byte) {
			if port := uint16(frame); !service(to, protocol, port) {
				s.reached = append(s.reached, fmt.Sprintf("%s port %d of %s", protocol, port, to))
			}
		})
	}
}

// reaction names an answer; what belongs to ARP, ND and group membership is none.
func reaction(raw []byte) string {
	p := gopacket.NewPacket(raw, layers.LayerTypeEthernet, gopacket.NoCopy)
	network := p.NetworkLayer()
	if network == nil {
		return ""
	}
	from := network.NetworkFlow().Src().String()
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.TCP:
			return fmt.Sprintf("TCP %s:%d SYN=%t RST=%t", from, l.SrcPort, l.SYN, l.RST)
		case *layers.UDP:
			return fmt.Sprintf("UDP %s:%d", from, l.SrcPort)
		case *layers.ICMPv4:
			return fmt.Sprintf("ICMP %s %s", from, l.TypeCode)
		case *layers.ICMPv6:
			if t := l.TypeCode.Type(); t >= 130 && t <= 137 || t == 143 {
				return ""
			}
			return fmt.Sprintf("ICMPv6 %s %s", from, l.TypeCode)
		}
	}
	return "something of " + from
}

// portsBy are all that matter, and of the others one in so many.
func portsBy(step int) []uint16 {
	ports := slices.Concat(listening, listeningUDP, []uint16{53, 67, 68, 546, 547, 3785})
	for p := 1; p <= 65535; p += step {
		ports = append(ports, uint16(p))
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// allPorts, or a sample of them where the machine is emulated and 20 times slower.
func allPorts(t *testing.T) []uint16 {
	t.Helper()
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(cpu), "QEMU TCG") {
		return portsBy(2003)
	}
	return portsBy(1)
}

func TestPortScan(t *testing.T) {
	testenv.RequireRoot(t)
	portScan(t, false)
}

func TestPortScanVRF(t *testing.T) {
	testenv.RequireVRF(t)
	portScan(t, true)
}

// portScan: a guest finds no port of the hypervisor, and no protocol.
func portScan(t *testing.T, devices bool) {
	w := newWorld(t, devices)
	w.openPorts()
	s := w.guestScanner()
	ports := allPorts(t)
	for _, a := range hostAddresses {
		s.scan(a, ports)
		s.protocols(a)
	}
	some := portsBy(2003)
	for _, a := range oddAddresses {
		s.scan(a, some)
		s.protocols(a)
	}
	for _, s.port = range oddSources {
		for _, a := range slices.Concat(hostAddresses, oddAddresses) {
			s.scan(a, some)
		}
	}
	t.Logf("%d addresses, %d ports each by TCP and UDP; %d addresses and %d source ports, %d ports each; 256 protocols: %d frames, %s",
		len(hostAddresses), len(ports), len(oddAddresses), len(oddSources), len(some), s.sent, s.summary())
	if len(s.answers) > 0 {
		t.Errorf("a guest got %s", s.summary())
	}
	if n := len(s.reached); n > 0 {
		t.Errorf("%d datagrams reached a socket of the hypervisor: %v", n, s.reached[:min(n, 20)])
	}
	if arrived := w.received(one.tap); arrived < s.sent {
		t.Errorf("%d frames sent, %d arrived at the tap: some ports were not scanned", s.sent, arrived)
	}
	w.scanControls(ports)
}

// received counts the frames that a link got, by the kernel.
func (w *world) received(link string) int {
	w.t.Helper()
	var n int
	if _, err := fmt.Sscan(w.hv.Run("cat", "/sys/class/net/"+link+"/statistics/rx_packets"), &n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// scanControls: the same scan sees the listeners from the edge, and from the guest without the filter.
func (w *world) scanControls(ports []uint16) {
	w.t.Helper()
	sample := slices.Concat(listening, listeningUDP, ports[:32])
	slices.Sort(sample)
	sample = slices.Compact(sample)
	edge := w.edgeScanner()
	for _, a := range []netip.Addr{uplink4, uplink6} {
		edge.control(a, sample, "from the edge")
	}
	w.removeFilter()
	open := w.guestScanner()
	for _, a := range []netip.Addr{gateway4, uplink4, gatewayLL6, gateway6, uplink6} {
		open.control(a, sample, "from the guest, without the filter")
	}
}

func (s *scanner) control(a netip.Addr, sample []uint16, how string) {
	s.t.Helper()
	for _, protocol := range []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP} {
		clear(s.answers)
		s.ports(a, protocol, sample)
		s.sees(a, protocol, how)
	}
}

// sees fails if a scan did not find what listens on an address. Echoes come from a program, which takes its
// time, so they are waited for.
func (s *scanner) sees(a netip.Addr, protocol layers.IPProtocol, how string) {
	s.t.Helper()
	want := map[string]bool{}
	if protocol == layers.IPProtocolTCP {
		for _, port := range listening {
			want[fmt.Sprintf("TCP %s:%d SYN=true RST=false", a, port)] = true
		}
	} else {
		for _, port := range listeningUDP {
			want[fmt.Sprintf("UDP :%d", port)] = true // whatever address a program answers from
		}
	}
	missing := func() bool {
		for kind := range s.answers {
			delete(want, kind)
			if i := strings.LastIndex(kind, ":"); strings.HasPrefix(kind, "UDP ") {
				delete(want, "UDP "+kind[i:])
			}
		}
		return len(want) > 0
	}
	for deadline := time.Now().Add(patience); missing() && time.Now().Before(deadline); {
		var err error
		pinned(0, func() {
			err = s.observe(s.sentinel, func(who string, raw []byte) { s.note(who, raw, a, protocol) })
		})
		s.check(err)
	}
	if missing() {
		s.t.Errorf("%s: %v is not seen, so the scan proves nothing: %s", how, slices.Sorted(maps.Keys(want)), s.summary())
	}
}

// summary is what was answered, as far as a person reads.
func (s *scanner) summary() string {
	kinds := slices.Sorted(maps.Keys(s.answers))
	return fmt.Sprintf("%d kinds of answer %q", len(kinds), kinds[:min(len(kinds), 12)])
}

// protocols sends every protocol, without a body that means anything.
func (s *scanner) protocols(to netip.Addr) {
	s.t.Helper()
	var err error
	pinned(0, func() {
		for protocol := range 256 {
			p := packet{frame: uint32(protocol), from: s.mac, to: s.to, src: s.src6, dst: to, hop: 64, next: layers.IPProtocol(protocol), body: token(0, 0)}
			if to.Is4() {
				p.src = s.src4
			}
			if to.IsMulticast() || to == everybody4 {
				p.to = etherOf(to)
			}
			if err = s.ports0().send(plainFrame(p)); err != nil {
				return
			}
		}
		s.sent += 256
		err = s.observe(s.sentinel, func(who string, raw []byte) { s.note(who, raw, to, 253) })
	})
	s.check(err)
}
