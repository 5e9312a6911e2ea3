package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// BenchmarkPlaneLoss brings routes by the ten thousand to the million into the
// kernel and loses a plane: told so, as by BFD, and by the carrier. Beside that
// it rewrites all routes, which is what the loss would cost without next-hop
// groups. docs/benchmarks.md explains the tables that it prints.
func BenchmarkPlaneLoss(b *testing.B) {
	testenv.RequireRoot(b)
	var t planeTables
	for _, v6 := range []bool{false, true} {
		for _, size := range []planeSize{
			{v6, 10_000, 2, 200}, {v6, 100_000, 2, 200}, {v6, 1_000_000, 2, 200}, {v6, 100_000, 4, 2000},
		} {
			b.Run(size.String(), func(b *testing.B) { t.add(size, planeLoss(b, size)) })
		}
	}
	fmt.Print(t.String())
}

type planeSize struct {
	v6                          bool
	routes, planes, hypervisors int
}

func (s planeSize) family() string {
	if s.v6 {
		return "IPv6"
	}
	return "IPv4"
}

func (s planeSize) String() string {
	return fmt.Sprintf("%s/routes=%d/nexthops=%dx%d", s.family(), s.routes, s.planes, s.hypervisors)
}

// gateway is the address of a hypervisor on a plane.
func (s planeSize) gateway(plane, hypervisor int) netip.Addr {
	if s.v6 {
		return netip.AddrFrom16([16]byte{0xfd, 0x64, 3: byte(plane), 14: byte(hypervisor >> 8), 15: byte(hypervisor)})
	}
	return netip.AddrFrom4([4]byte{100, 64 + byte(plane), byte(hypervisor >> 8), byte(hypervisor)})
}

// prefix is the host route number i.
func (s planeSize) prefix(i int) netip.Prefix {
	a := [16]byte{0x20, 1, 0xd, 0xb8, 12: 10, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}
	if s.v6 {
		return netip.PrefixFrom(netip.AddrFrom16(a), 128)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte(a[12:])), 32)
}

// minRounds is for the sizes where one round takes long.
const minRounds = 5

func planeLoss(b *testing.B, size planeSize) planeResult {
	p := newPlanes(b, size)
	p.fill()
	var r planeResult
	for b.Loop() {
		p.told(&r)
	}
	for len(r.lost.call) < minRounds {
		p.told(&r)
	}
	for range minRounds {
		p.carrier(&r)
	}
	r.rewrite = p.rewriteAll()
	for _, m := range []struct {
		of   samples
		name string
	}{
		{r.lost.call, "lost-ms"}, {r.lost.own, "lost-agent-ms"}, {r.back.call, "back-ms"}, {r.carrierLost, "carrier-kernel-ms"},
		{r.repaired.call, "carrier-lost-ms"}, {r.carrierBack.call, "carrier-back-ms"}, {r.rewrite, "rewrite-ms"},
	} {
		b.ReportMetric(m.of.median().Seconds()*1000, m.name)
	}
	return r
}

// planes is a hypervisor in a namespace, and in another one what is at the
// other end of its uplinks and has the addresses of all gateways.
type planes struct {
	planeSize
	b          *testing.B
	hv, fabric *testenv.Netns
	k          *Kernel
	fib        *FIB
	meter      *meter
	links      *netlink.Conn // notices of the hypervisor's links
	cables     *socket       // to the fabric
	sets       [][]vrf.NextHop
}

const planeTable = 1000

func newPlanes(b *testing.B, size planeSize) *planes {
	p := &planes{planeSize: size, b: b, hv: testenv.NewNetns(b), fabric: testenv.NewNetns(b), sets: make([][]vrf.NextHop, size.hypervisors)}
	for _, ns := range []*testenv.Netns{p.hv, p.fabric} {
		ns.Sysctl("net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.router_solicitations=0",
			"net.ipv6.conf.default.keep_addr_on_down=1")
	}
	host := vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: planeTable, NoDevice: true}}}
	for plane := range size.planes {
		host.Uplinks = append(host.Uplinks, p.uplink(plane))
	}
	p.k = New(Options{NetNS: p.hv.FD()})
	b.Cleanup(func() { must(b, p.k.Close()) })
	_, err := p.k.Apply(b.Context(), host, vrf.Options{})
	must(b, err)
	p.fib = NewFIB(Options{NetNS: p.hv.FD()}, host.VRFs, host.Uplinks)
	b.Cleanup(func() { must(b, p.fib.Close()) })
	_, err = p.fib.Adopt(b.Context())
	must(b, err)
	p.meter = newMeter(p.fib.plane.socket)
	p.links, err = netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: p.hv.FD()})
	must(b, err)
	b.Cleanup(func() { p.links.Close() })
	must(b, p.links.JoinGroup(unix.RTNLGRP_LINK))
	p.cables, err = dial(p.fabric.FD())
	must(b, err)
	b.Cleanup(func() { p.cables.close() })
	return p
}

// uplink makes the uplink of a plane and its other end.
func (p *planes) uplink(plane int) vrf.Uplink {
	name, length := fmt.Sprintf("u%d", plane), 16
	if p.v6 {
		length = 64
	}
	testenv.Veth(p.hv, name, p.fabric, fmt.Sprintf("e%d", plane))
	var lines []string
	for h := range p.sets {
		gateway := p.gateway(plane, h+1)
		p.sets[h] = append(p.sets[h], vrf.NextHop{Gateway: gateway, Uplink: name})
		lines = append(lines, fmt.Sprintf("addr add %s/%d dev e%d", gateway, length, plane))
	}
	p.fabric.IP(lines...)
	own := netip.PrefixFrom(p.gateway(plane, 0xfffe), length)
	return vrf.Uplink{Name: name, VRF: "public", Plane: fmt.Sprint(plane), Addresses: []netip.Prefix{own}}
}

// fill brings the routes into the kernel, as the agent would.
func (p *planes) fill() {
	changes := make([]vrf.Change, p.routes)
	for i := range changes {
		changes[i] = vrf.Change{Prefix: p.prefix(i), NextHops: p.sets[i%len(p.sets)]}
	}
	for some := range slices.Chunk(changes, 4096) {
		must(p.b, p.fib.Apply(p.b.Context(), "public", some))
	}
}

// told loses the first plane and gets it back, as BFD tells.
func (p *planes) told(r *planeResult) {
	for _, up := range []bool{false, true} {
		into := &r.lost
		if up {
			into = &r.back
		}
		p.measure(into, func() error { return p.fib.UplinkChanged(p.b.Context(), "u0", up) })
		p.wantOn(up, p.hypervisors*p.planes)
	}
}

// carrier does the same with the carrier. The agent hears of it by a notice,
// when the kernel has drawn its consequences.
func (p *planes) carrier(r *planeResult) {
	r.carrierLost = append(r.carrierLost, p.setCarrier(false))
	p.measure(&r.repaired, func() error { return p.fib.Repair(p.b.Context()) })
	p.wantOn(false, p.hypervisors*(p.planes-1))
	p.setCarrier(true)
	p.measure(&r.carrierBack, func() error { return p.fib.Repair(p.b.Context()) })
	p.wantOn(true, p.hypervisors*p.planes)
}

// measure runs a call of the agent, of which some is the kernel's.
func (p *planes) measure(c *cost, call func() error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p.meter.reset()
	start := time.Now()
	must(p.b, call())
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	c.call = append(c.call, took)
	c.own = append(c.own, took-p.meter.inside)
	c.messages, c.allocated = p.meter.messages, after.TotalAlloc-before.TotalAlloc
}

// wantOn checks what the kernel has: that many members, some of them on the
// first plane or none.
func (p *planes) wantOn(up bool, members int) {
	p.b.Helper()
	objects, _, err := p.fib.plane.socket.nextHops(p.b.Context())
	must(p.b, err)
	port, first := p.fib.plane.portOf(p.b, "u0"), 0
	for _, o := range objects {
		if len(o.Group) > 0 {
			members++
		} else if o.Hop.Port == port {
			first++
		}
	}
	want := 0
	if up {
		want = p.hypervisors
	}
	if len(objects) != members || first != want {
		p.b.Fatalf("the kernel has %d next hops, of them %d on u0; want %d, and %d", len(objects), first, members, want)
	}
}

func (p *dataplane) portOf(b *testing.B, name string) int {
	link, err := p.handle.LinkByName(name)
	must(b, err)
	return link.Attrs().Index
}

// setCarrier pulls the cable of the first uplink, or plugs it in, and waits
// for the kernel's notice, which comes after the kernel has dealt with it.
func (p *planes) setCarrier(on bool) time.Duration {
	flags := uint32(0)
	if on {
		flags = unix.IFF_UP
	}
	start := time.Now()
	p.cables.reset()
	at := p.cables.begin(unix.RTM_NEWLINK, 0)
	p.cables.out = append(p.cables.out, make([]byte, 8)...)
	p.cables.out = binary.NativeEndian.AppendUint32(p.cables.out, flags)
	p.cables.out = binary.NativeEndian.AppendUint32(p.cables.out, unix.IFF_UP)
	p.cables.attr(unix.IFLA_IFNAME, []byte("e0\x00"))
	p.cables.end(at)
	must(p.b, p.cables.do())
	port := p.fib.plane.portOf(p.b, "u0")
	for {
		messages, err := p.links.Receive()
		must(p.b, err)
		for _, m := range messages {
			running := binary.NativeEndian.Uint32(m.Data[8:])&unix.IFF_RUNNING != 0
			if m.Header.Type == unix.RTM_NEWLINK && int(binary.NativeEndian.Uint32(m.Data[4:])) == port && running == on {
				return time.Since(start)
			}
		}
	}
}

// rewriteAll writes every route anew without the lost plane, from multipath
// routes as one has them without groups. It is the least that such an agent
// has to do: batches that are made without a thought.
func (p *planes) rewriteAll() (took samples) {
	hops := make([][]vrf.Hop, p.hypervisors)
	for h, set := range p.sets {
		for _, hop := range set {
			hops[h] = append(hops[h], vrf.Hop{Gateway: hop.Gateway, Port: p.fib.plane.portOf(p.b, hop.Uplink)})
		}
	}
	for range max(1, min(minRounds, 200_000/p.routes)) {
		p.rewrite(hops, 0)
		took = append(took, p.rewrite(hops, 1))
	}
	return took
}

// rewrite gives every route its next hops from the given one on.
func (p *planes) rewrite(hops [][]vrf.Hop, from int) time.Duration {
	start := time.Now()
	batch := make([]vrf.RouteWrite, 0, 256)
	for i := range p.routes {
		batch = append(batch, vrf.RouteWrite{Prefix: p.prefix(i), Table: planeTable, Verb: vrf.Replace, Hops: hops[i%len(hops)][from:]})
		if len(batch) == cap(batch) || i == p.routes-1 {
			must(p.b, p.fib.plane.WriteRoutes(p.b.Context(), batch, func(i int, err error) { p.b.Fatalf("%v: %v", batch[i], err) }))
			batch = batch[:0]
		}
	}
	return time.Since(start)
}

// meter stands between a socket and the kernel and knows how long the kernel
// had the word, and how many messages it was sent.
type meter struct {
	syscall.RawConn
	socket   *socket
	inside   time.Duration
	messages int
}

func newMeter(s *socket) *meter {
	m := &meter{RawConn: s.raw, socket: s}
	s.raw = m
	return m
}

func (m *meter) reset() { m.inside, m.messages = 0, 0 }

// Read times the system calls.
func (m *meter) Read(f func(uintptr) bool) error {
	return m.RawConn.Read(m.timed(f))
}

// Write times the system calls and counts the messages.
func (m *meter) Write(f func(uintptr) bool) error {
	for rest := m.socket.out; len(rest) >= headerLen; rest = rest[min(int(binary.NativeEndian.Uint32(rest)), len(rest)):] {
		m.messages++
	}
	return m.RawConn.Write(m.timed(f))
}

func (m *meter) timed(f func(uintptr) bool) func(uintptr) bool {
	return func(fd uintptr) bool {
		start := time.Now()
		defer func() { m.inside += time.Since(start) }()
		return f(fd)
	}
}
