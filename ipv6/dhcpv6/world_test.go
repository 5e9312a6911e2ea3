package dhcpv6

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	wire "github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/ipv6"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// lease is what the guest of these tests has, unless the test says otherwise.
func lease() ipv6.Lease {
	return ipv6.Lease{
		Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:cb00:7100::7"), netip.MustParseAddr("2001:db8:cb00:7100::8")},
		Delegated: []netip.Prefix{netip.MustParsePrefix("2001:db8:cb00:7107::/64")},
		Valid:     2 * time.Hour, Preferred: time.Hour,
		DNS:    []netip.Addr{netip.MustParseAddr("2001:db8:ffff::53"), netip.MustParseAddr("192.0.2.53")},
		Search: []string{"example.com", "example.net"},
		NTP:    []netip.Addr{netip.MustParseAddr("2001:db8:ffff::123")},
	}
}

// plug makes a tap in a namespace and a guest behind it, whose eth0 it is.
func plug(t *testing.T, hv *testenv.Netns, tap string) (guest *testenv.Netns) {
	t.Helper()
	guest = testenv.NewNetns(t)
	guest.Sysctl("net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
	hv.Sysctl("net.ipv6.conf.default.addr_gen_mode=1", "net.ipv6.conf.all.forwarding=1")
	testenv.Veth(hv, tap, guest, "eth0")
	guest.IP("addr add fe80::7/64 dev eth0 nodad")
	address(hv, tap)
	return guest
}

// address gives a tap what the agent gives it.
func address(hv *testenv.Netns, tap string) {
	hv.IP("link set "+tap+" address ee:ee:ee:ee:ee:01 up", "addr replace fe80::1/64 dev "+tap+" nodad")
}

func port(t *testing.T, hv *testenv.Netns, tap string) fleet.Port {
	t.Helper()
	var links []struct{ Ifindex int }
	if err := json.Unmarshal([]byte(hv.Run("ip", "-j", "link", "show", "dev", tap)), &links); err != nil || len(links) != 1 {
		t.Fatalf("reading the index of %s: %v, %d links", tap, err, len(links))
	}
	return fleet.Port{Name: tap, Index: links[0].Ifindex}
}

// serve runs a server in a namespace until the returned function is called, or
// the test ends, and waits until it serves.
func serve(t *testing.T, hv *testenv.Netns, o Options, leases map[string]ipv6.Lease) (s *Server, stop func()) {
	t.Helper()
	o.In = hv.Do
	s = New(o)
	set(t, hv, s, leases)
	stop = run(t, s)
	for tap := range leases {
		testenv.Eventually(t, "the server to listen on "+tap, func() bool { return listening(hv, tap) })
	}
	return s, stop
}

func run(t *testing.T, s *Server) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func set(t *testing.T, hv *testenv.Netns, s *Server, leases map[string]ipv6.Lease) {
	t.Helper()
	desired := map[fleet.Port]ipv6.Service{}
	for tap, l := range leases {
		desired[port(t, hv, tap)] = ipv6.Service{Tap: tap, VM: "vm-" + tap, Lease: l}
	}
	s.Set(desired)
}

// listening asks the kernel whether a socket holds the server's port on a tap:
// then no other can have it.
func listening(hv *testenv.Netns, tap string) bool {
	return hv.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return firstError(func() error { return unix.BindToDevice(fd, tap) },
			func() error { return unix.Bind(fd, &unix.SockaddrInet6{Port: serverPort}) })
	}) == unix.EADDRINUSE
}

// client is a DHCPv6 client of the test's own.
type client struct {
	t    *testing.T
	conn *net.UDPConn
	next uint32
}

// newClient makes one with the guest's link-local address, or another one.
func newClient(t *testing.T, guest *testenv.Netns, from ...string) *client {
	t.Helper()
	address := "[fe80::7]:546"
	if len(from) > 0 {
		address = netip.AddrPortFrom(netip.MustParseAddr(from[0]), clientPort).String()
	}
	c := &client{t: t}
	bind := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		control := raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "eth0") })
		if control != nil {
			return control
		}
		return err
	}}
	var conn net.PacketConn
	testenv.Eventually(t, "the guest's socket on "+address, func() bool {
		return guest.Do(func() (err error) { conn, err = bind.ListenPacket(t.Context(), "udp6", address); return err }) == nil
	})
	c.conn = conn.(*net.UDPConn)
	t.Cleanup(func() { c.conn.Close() })
	return c
}

// message makes one with a transaction id of its own.
func (c *client) message(kind wire.MessageType, options ...wire.Option) *wire.Message {
	c.next++
	m := &wire.Message{MessageType: kind, TransactionID: wire.TransactionID{byte(c.next >> 16), byte(c.next >> 8), byte(c.next)}}
	for _, o := range options {
		m.AddOption(o)
	}
	return m
}

func (c *client) send(m *wire.Message, to string) {
	c.t.Helper()
	if _, err := c.conn.WriteToUDPAddrPort(m.ToBytes(), netip.AddrPortFrom(netip.MustParseAddr(to), serverPort)); err != nil {
		c.t.Fatalf("sending a %s to %s: %v", m.MessageType, to, err)
	}
}

// receive returns the next message.
func (c *client) receive() *wire.Message {
	c.t.Helper()
	buf := make([]byte, 9216)
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	n, from, err := c.conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		c.t.Fatalf("waiting for an answer: %v", err)
	}
	if from.Addr().WithZone("") != ipv6.RouterAddress || from.Port() != serverPort {
		c.t.Fatalf("the answer came from %v", from)
	}
	m, err := wire.MessageFromBytes(buf[:n])
	if err != nil {
		c.t.Fatalf("reading the answer: %v", err)
	}
	return m
}

// ask sends a message to all servers and returns the answer.
func (c *client) ask(m *wire.Message) *wire.Message {
	c.t.Helper()
	c.send(m, "ff02::1:2")
	a := c.receive()
	if a.TransactionID != m.TransactionID {
		c.t.Fatalf("the answer has the transaction %s instead of %s: something else was answered", a.TransactionID, m.TransactionID)
	}
	return a
}

func duid(n uint32) wire.Option {
	data := []byte{0, 3, 0, 1, 2, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	return &wire.OptionGeneric{OptionCode: wire.OptionClientID, OptionData: data}
}

func serverID() wire.Option {
	return &wire.OptionGeneric{OptionCode: wire.OptionServerID, OptionData: ipv6.ServerDUID()}
}

// told are the addresses and prefixes of an answer that have a lifetime.
func told(m *wire.Message) (out []string) {
	for _, ia := range m.Options.IANA() {
		for _, a := range ia.Options.Addresses() {
			if a.ValidLifetime > 0 {
				out = append(out, a.IPv6Addr.String())
			}
		}
	}
	for _, ia := range m.Options.IAPD() {
		for _, p := range ia.Options.Prefixes() {
			if p.ValidLifetime > 0 {
				out = append(out, p.Prefix.String())
			}
		}
	}
	return out
}

// mine is what told gives for everything of a lease.
func mine(l ipv6.Lease) string {
	var all []string
	for _, a := range l.Addresses {
		all = append(all, a.String())
	}
	for _, p := range l.Delegated {
		all = append(all, p.String())
	}
	return fmt.Sprint(all)
}

// file writes a file of a client and returns where it is.
func file(t *testing.T, dir, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}
