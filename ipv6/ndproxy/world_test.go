package ndproxy

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/ipv6"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// The hardware addresses of taps and of the guest n, and what is shared.
const (
	tapMAC  = "ee:ee:ee:ee:ee:01"
	shared  = "2001:db8:cb00:7100::/64"
	gateway = "2001:db8:cb00:7100::1"
)

func guestMAC(n int) [6]byte { return [6]byte{2, 0, 0, 0, 1, byte(n)} }

func guestAddr(n int) string { return fmt.Sprintf("2001:db8:cb00:7100::1:%d", n) }

// world is a hypervisor with guests 1 to n, of which the n-th is at tap n and
// has a port eth0 without an address.
type world struct {
	t      *testing.T
	hv     *testenv.Netns
	guests []*testenv.Netns // from 1
}

func newWorld(t *testing.T, guests int) *world {
	w := &world{t: t, hv: testenv.NewNetns(t), guests: make([]*testenv.Netns, guests+1)}
	w.hv.Sysctl("net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.default.accept_ra=0")
	for n := 1; n <= guests; n++ {
		w.guests[n] = testenv.NewNetns(t)
		w.guests[n].Sysctl("net.ipv6.conf.default.router_solicitations=0")
		w.plug(n)
	}
	return w
}

// plug makes the tap of a guest, as the hypervisor has it for a guest of a
// shared prefix.
func (w *world) plug(n int) {
	tap, mac := w.tap(n), guestMAC(n)
	w.hv.IP(
		fmt.Sprintf("link add %s address %s type veth peer name eth0 address %s netns %s", tap, tapMAC, net.HardwareAddr(mac[:]), w.guests[n].Name),
		fmt.Sprintf("link set %s addrgenmode none up", tap),
		fmt.Sprintf("addr add fe80::1/64 dev %s nodad", tap),
		fmt.Sprintf("addr add %s/128 dev %s nodad", gateway, tap),
		fmt.Sprintf("route replace %s/128 dev %s", guestAddr(n), tap),
	)
	w.guests[n].IP("link set eth0 up")
}

func (w *world) tap(n int) string { return fmt.Sprintf("tap%d", n) }

// services is what the proxy is to serve.
func (w *world) services() map[fleet.Port]ipv6.Service {
	all := map[fleet.Port]ipv6.Service{}
	for n := 1; n < len(w.guests); n++ {
		all[w.port(n)] = ipv6.Service{Tap: w.tap(n), MAC: guestMAC(n), Proxy: &ipv6.Proxy{
			Prefixes: []netip.Prefix{netip.MustParsePrefix(shared)},
			Own:      []netip.Prefix{netip.MustParsePrefix(guestAddr(n) + "/128")},
			Gateways: []netip.Addr{netip.MustParseAddr(gateway)},
		}}
	}
	return all
}

func (w *world) port(n int) fleet.Port {
	w.t.Helper()
	var p fleet.Port
	err := w.hv.Do(func() error {
		device, err := net.InterfaceByName(w.tap(n))
		if err == nil {
			p = fleet.Port{Name: device.Name, Index: device.Index}
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// run serves until the end of the test, and waits until all taps are.
func (w *world) run() *Server {
	s := New(Options{Log: quiet, In: w.hv.Do})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	s.Set(w.services())
	w.ready()
	return s
}

// ready waits until there is a packet socket for each tap.
func (w *world) ready() {
	w.t.Helper()
	for n := 1; n < len(w.guests); n++ {
		testenv.Eventually(w.t, "the socket of "+w.tap(n), func() bool { return slices.Contains(w.sockets(), w.port(n).Index) })
	}
}

// sockets are the devices that packet sockets of the hypervisor are bound to.
func (w *world) sockets() (indexes []int) {
	w.t.Helper()
	for line := range strings.Lines(w.hv.Run("cat", "/proc/net/packet")) {
		if fields := strings.Fields(line); fields[3] == "0003" { // ETH_P_ALL
			index, err := strconv.Atoi(fields[4])
			if err != nil {
				w.t.Fatal(err)
			}
			indexes = append(indexes, index)
		}
	}
	return indexes
}

// wire is a guest's port with a packet socket, which hears the advertisements
// that come.
type wire struct {
	t    *testing.T
	conn *packet.Conn

	mu    sync.Mutex
	heard [][]byte // neighbour advertisements
}

type wireConn struct{ *packet.Conn }

func (c wireConn) Read(buf []byte) (int, struct{}, error) {
	n, _, err := c.ReadFrom(buf)
	return n, struct{}{}, err
}

func (w *world) wire(n int) *wire {
	x := &wire{t: w.t}
	err := w.guests[n].Do(func() error {
		device, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		x.conn, err = packet.Listen(device, packet.Raw, unix.ETH_P_IPV6, nil)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, done := w.t.Context(), make(chan struct{})
	go func() {
		defer close(done)
		_ = receive.Serve(ctx, wireConn{x.conn}, receive.Rate{PerSecond: 1e6, Burst: 1e6}, &receive.Stats{}, quiet, x.frame)
	}()
	w.t.Cleanup(func() { <-done; x.conn.Close() })
	return x
}

func (x *wire) frame(f []byte, _ struct{}) {
	if len(f) >= 78 && f[20] == 58 && f[54] == 136 {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.heard = append(x.heard, append([]byte(nil), f...))
	}
}

func (x *wire) all() [][]byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.heard[:len(x.heard):len(x.heard)]
}

func (x *wire) send(frame []byte) {
	x.t.Helper()
	if _, err := x.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
		x.t.Fatal(err)
	}
}

// solicitation is a frame of the guest n; to nobody in particular goes to the group.
func solicitation(n int, source, target, to string) []byte {
	from, asked := netip.MustParseAddr(source), netip.MustParseAddr(target)
	destination := ipv6.SolicitedNode(asked)
	mac := [6]byte{0xee, 0xee, 0xee, 0xee, 0xee, 1}
	if to != "" {
		destination = netip.MustParseAddr(to)
	}
	if g := destination.As16(); g[0] == 0xff {
		mac = [6]byte{0x33, 0x33, g[12], g[13], g[14], g[15]}
	}
	message, err := ndp.MarshalMessageChecksum(&ndp.NeighborSolicitation{TargetAddress: asked}, from, destination)
	if err != nil {
		panic(err)
	}
	own := guestMAC(n)
	f := append(append(mac[:], own[:]...), unix.ETH_P_IPV6>>8, unix.ETH_P_IPV6&0xff, 0x60, 0, 0, 0)
	f = append(binary.BigEndian.AppendUint16(f, uint16(len(message))), 58, 255)
	return append(append(append(f, from.AsSlice()...), destination.AsSlice()...), message...)
}
