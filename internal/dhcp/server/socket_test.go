package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
	"github.com/hostroute/hostroute/internal/testenv"
)

// dial opens the guest's client port. The guest need not have an address.
func (g *guest) dial() *net.UDPConn {
	g.site.t.Helper()
	var conn net.PacketConn
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		_ = raw.Control(func(fd uintptr) {
			if err = unix.BindToDevice(int(fd), "eth0"); err == nil {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
			}
		})
		return err
	}}
	if err := g.Do(func() (err error) {
		conn, err = config.ListenPacket(g.site.t.Context(), "udp4", "0.0.0.0:68")
		return err
	}); err != nil {
		g.site.t.Fatal(err)
	}
	g.site.t.Cleanup(func() { conn.Close() })
	return conn.(*net.UDPConn)
}

// ask sends a message and returns the answer to it.
func ask(t *testing.T, conn *net.UDPConn, to netip.Addr, packet []byte) *dhcpv4.DHCPv4 {
	t.Helper()
	if _, err := conn.WriteToUDPAddrPort(packet, netip.AddrPortFrom(to, serverPort)); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("waiting for an answer: %v", err)
		}
		m, err := dhcpv4.FromBytes(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		if string(m.TransactionID[:]) == string(packet[4:8]) {
			return m
		}
	}
}

func TestTapsHearNothingOfEachOther(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	one, two := s.plug(classic(1)), s.plug(classic(2))
	wire := one.dial()
	discover := from(t, dhcpv4.MessageTypeDiscover, mac(classic(1)), dhcpv4.WithBroadcast(true))
	if m := ask(t, wire, everybody, discover); !m.YourIPAddr.Equal(net.IP{203, 0, 113, 1}) {
		t.Errorf("the first guest is offered %v", m.YourIPAddr)
	}
	other := from(t, dhcpv4.MessageTypeRequest, mac(classic(1)), dhcpv4.WithBroadcast(true), option(50, []byte{203, 0, 113, 2}))
	if m := ask(t, wire, everybody, other); m.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("asking for the other guest's address gave %v", m.MessageType())
	}
	masked := from(t, dhcpv4.MessageTypeDiscover, mac(classic(2)), dhcpv4.WithBroadcast(true))
	if _, err := wire.WriteToUDPAddrPort(masked, netip.AddrPortFrom(everybody, serverPort)); err != nil {
		t.Fatal(err)
	}
	await(t, "the other guest's MAC is ignored", func() bool { return one.status().Counters.Ignored[dhcp.OtherMAC] == 1 })
	if m := ask(t, two.dial(), everybody, masked); !m.YourIPAddr.Equal(net.IP{203, 0, 113, 2}) {
		t.Errorf("the second guest is offered %v", m.YourIPAddr)
	}
	if a, b := one.status().Counters.Packets, two.status().Counters.Packets; a != 3 || b != 1 {
		t.Errorf("%d and %d packets on the taps, want 3 and 1", a, b)
	}
}

func TestAFloodIsItsOwnGuestsTrouble(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	flooding, other := s.plug(classic(1)), s.plug(host(2))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	wire := flooding.dial()
	flood := from(t, dhcpv4.MessageTypeDiscover, mac(classic(1)), dhcpv4.WithBroadcast(true))
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_, _ = wire.WriteToUDPAddrPort(flood, netip.AddrPortFrom(everybody, serverPort))
		}
	}()
	defer func() { stop(); <-done }()
	await(t, "the flood reaches its limit", func() bool { return flooding.status().Counters.Limited > 0 })
	conn := other.dial()
	for range DefaultRate.Burst {
		ask(t, conn, everybody, from(t, dhcpv4.MessageTypeDiscover, mac(host(2)), dhcpv4.WithBroadcast(true)))
	}
	if c := other.status().Counters; c.Offers != uint64(DefaultRate.Burst) {
		t.Errorf("of %d messages beside the flood %d were answered", DefaultRate.Burst, c.Offers)
	}
}

func TestARestartedServerRenewsAtOnce(t *testing.T) {
	t.Parallel()
	s := &site{t: t, host: testenv.NewNetns(t), services: map[fleet.Port]dhcp.Service{}}
	stop := s.run(Options{})
	g := s.plug(host(7))
	g.IP("address add 203.0.113.7/32 dev eth0", "route add 169.254.0.1 dev eth0", "route add default via 169.254.0.1")
	conn := g.dial()
	renew := func() dhcpv4.MessageType {
		return ask(t, conn, host(7).Gateway, from(t, dhcpv4.MessageTypeRequest, mac(host(7)), dhcpv4.WithClientIP(net.IP{203, 0, 113, 7}))).MessageType()
	}
	if got := renew(); got != dhcpv4.MessageTypeAck {
		t.Fatalf("renewing gave %v", got)
	}
	stop()
	await(t, "the socket is closed", func() bool { return !g.listening() })
	s.run(Options{})
	await(t, "the socket is open again", g.listening)
	if got := renew(); got != dhcpv4.MessageTypeAck {
		t.Errorf("renewing after a restart gave %v", got)
	}
	if status := g.status(); status.LastState != dhcp.Renewing || status.Counters.Acks != 1 || status.Lease == nil {
		t.Errorf("after a restart: %+v", status)
	}
}

// frames opens a packet socket that sees what the tap's guest sees.
func (g *guest) frames() (read func() []byte) {
	t := g.site.t
	t.Helper()
	fd := -1
	if err := g.Do(func() (err error) {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		const ipv4 = 0x0008 // ETH_P_IP, big endian
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, ipv4); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ipv4, Ifindex: link.Index})
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)}); err != nil {
		t.Fatal(err)
	}
	return func() []byte {
		buf := make([]byte, 2000)
		for {
			n, err := unix.Read(fd, buf)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				t.Fatalf("waiting for a frame: %v", err)
			}
			if f := buf[:n]; n > 42 && f[14] == 0x45 && f[23] == unix.IPPROTO_UDP && f[35] == serverPort {
				return f
			}
		}
	}
}

// TestHowAnswersLookOnTheWire looks at the frames that guests get: to whom, from
// where, and without a checksum that somebody else would have to complete.
func TestHowAnswersLookOnTheWire(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{Rate: receive.Rate{PerSecond: 1000, Burst: 1000}})
	service := host(7)
	g := s.plug(service)
	// Not the first address of the tap, which the kernel would take.
	s.host.IP("address del 169.254.0.1/32 dev tap7", "address add 203.0.113.254/32 dev tap7 scope link", "address add 169.254.0.1/32 dev tap7 scope link")
	g.serve(service)
	conn, read := g.dial(), g.frames()
	own, broad := []byte{203, 0, 113, 7}, []byte{255, 255, 255, 255}
	macBroad := slices.Repeat([]byte{255}, 6)
	check := func(name string, packet, wantMAC, wantIP []byte) {
		t.Helper()
		if _, err := conn.WriteToUDPAddrPort(packet, netip.AddrPortFrom(everybody, serverPort)); err != nil {
			t.Fatal(err)
		}
		f := read()
		got := fmt.Sprintf("%x %v from %v, checksum %x", f[0:6], f[30:34], f[26:30], f[40:42])
		if want := fmt.Sprintf("%x %v from %v, checksum 0000", wantMAC, wantIP, service.Gateway.AsSlice()); got != want {
			t.Errorf("%s: the frame goes to %s; want %s", name, got, want)
		}
	}
	discover := from(t, dhcpv4.MessageTypeDiscover, mac(service))
	check("discover", discover, service.MAC[:], own)
	check("discover with the broadcast flag", from(t, dhcpv4.MessageTypeDiscover, mac(service), dhcpv4.WithBroadcast(true)), macBroad, broad)
	check("rebinding", from(t, dhcpv4.MessageTypeRequest, mac(service), dhcpv4.WithClientIP(own)), service.MAC[:], own)
	check("nak", from(t, dhcpv4.MessageTypeRequest, mac(service), option(50, []byte{192, 0, 2, 1})), macBroad, broad)
}

// TestATapInAVRF serves a guest whose tap is enslaved: the socket is bound to
// the tap, broadcasts leave there, and unicasts follow the VRF's routes.
func TestATapInAVRF(t *testing.T) {
	testenv.RequireVRF(t)
	s := newSite(t, Options{})
	s.vrf = "public"
	s.host.IP("link add public type vrf table 90", "link set public up", "route add unreachable default metric 4278198272 vrf public")
	service := host(7)
	g := s.plug(service)
	read := g.frames()
	g.IP("address add 203.0.113.7/32 dev eth0", "route add 169.254.0.1 dev eth0", "route add default via 169.254.0.1")
	conn := g.dial()
	discover := from(t, dhcpv4.MessageTypeDiscover, mac(service))
	for _, step := range []struct {
		name   string
		to     netip.Addr
		packet []byte
		kind   dhcpv4.MessageType
		wantTo []byte
	}{
		{"discover", everybody, discover, dhcpv4.MessageTypeOffer, service.Address.AsSlice()},
		{"discover, broadcast", everybody, from(t, dhcpv4.MessageTypeDiscover, mac(service), dhcpv4.WithBroadcast(true)), dhcpv4.MessageTypeOffer, everybody.AsSlice()},
		{"renewing", service.Gateway, from(t, dhcpv4.MessageTypeRequest, mac(service), dhcpv4.WithClientIP(service.Address.AsSlice())), dhcpv4.MessageTypeAck, service.Address.AsSlice()},
		{"discover, no route", everybody, discover, dhcpv4.MessageTypeOffer, everybody.AsSlice()},
	} {
		if step.name == "discover, no route" {
			s.host.IP("route del 203.0.113.7/32 dev tap7 vrf public")
			g.IP("address flush dev eth0") // from an address without a route nothing is accepted
		}
		t.Log(step.name)
		if m := ask(t, conn, step.to, step.packet); m.MessageType() != step.kind {
			t.Errorf("%s: answered with %v", step.name, m.MessageType())
		}
		if f := read(); !slices.Equal(f[30:34], step.wantTo) || !slices.Equal(f[26:30], service.Gateway.AsSlice()) {
			t.Errorf("%s: from %v to %v", step.name, f[26:30], f[30:34])
		}
	}
}

func TestATapThatIsNotThereIsTold(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	g := s.plug(classic(1))
	gone, replaced := classic(2), classic(1)
	s.server.Set(map[fleet.Port]dhcp.Service{
		{Name: "tap2", Index: 99}:                   gone,
		{Name: g.tap.Name, Index: g.tap.Index + 50}: replaced,
	})
	await(t, "both errors", func() bool {
		status := s.server.Status()
		return status["tap2"].Error != "" && status["tap1"].Error != ""
	})
	if g.listening() {
		t.Error("a device is served that only has the name of the one that was meant")
	}
	// What is right again is served again.
	g.serve(classic(1))
	await(t, "the tap is served", g.listening)
	discover := from(t, dhcpv4.MessageTypeDiscover, mac(classic(1)), dhcpv4.WithBroadcast(true))
	if m := ask(t, g.dial(), everybody, discover); m.MessageType() != dhcpv4.MessageTypeOffer {
		t.Errorf("the answer is %v", m.MessageType())
	}
}
