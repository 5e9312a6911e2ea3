package ra

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/ipv6"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// newHypervisor makes the namespace of the taps.
func newHypervisor(t *testing.T) *testenv.Netns {
	hv := testenv.NewNetns(t)
	hv.Sysctl("net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.default.accept_ra=0")
	return hv
}

// newGuest makes a guest with its port eth0, still down, at the other end of a tap.
func newGuest(t *testing.T, hv *testenv.Netns, tap string) *testenv.Netns {
	guest := testenv.NewNetns(t)
	guest.Sysctl("net.ipv6.conf.default.router_solicitation_delay=0", "net.ipv6.conf.default.router_solicitation_interval=1")
	plug(hv, tap, guest)
	return guest
}

func plug(hv *testenv.Netns, tap string, guest *testenv.Netns) {
	hv.IP(
		fmt.Sprintf("link add %s address ee:ee:ee:ee:ee:01 type veth peer name eth0 netns %s", tap, guest.Name),
		fmt.Sprintf("link set %s addrgenmode none up", tap),
		fmt.Sprintf("addr add fe80::1/64 dev %s nodad", tap),
	)
}

// port finds a device.
func port(t *testing.T, n *testenv.Netns, name string) fleet.Port {
	t.Helper()
	var p fleet.Port
	err := n.Do(func() error {
		device, err := net.InterfaceByName(name)
		if err == nil {
			p = fleet.Port{Name: name, Index: device.Index}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// run serves in a namespace until stop or the end of the test.
func run(t *testing.T, hv *testenv.Netns) (s *Server, stop func()) {
	return runWith(t, Options{Log: quiet, In: hv.Do})
}

func runWith(t *testing.T, o Options) (s *Server, stop func()) {
	s = New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

// ear hears the router advertisements that arrive at eth0 of a guest.
type ear struct {
	mu    sync.Mutex
	heard []heard
}

// heard is an advertisement, and to whom it was sent.
type heard struct {
	to netip.Addr
	*ndp.RouterAdvertisement
}

type earConn struct{ *packet.Conn }

func (c earConn) Read(buf []byte) (int, struct{}, error) {
	n, _, err := c.ReadFrom(buf)
	return n, struct{}{}, err
}

func listenAt(t *testing.T, guest *testenv.Netns) *ear {
	var conn *packet.Conn
	err := guest.Do(func() error {
		device, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err = packet.Listen(device, packet.Raw, unix.ETH_P_IPV6, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	e, ctx, done := &ear{}, t.Context(), make(chan struct{})
	go func() {
		defer close(done)
		_ = receive.Serve(ctx, earConn{conn}, receive.Rate{PerSecond: 1e6, Burst: 1e6}, &receive.Stats{}, quiet, e.frame)
	}()
	t.Cleanup(func() { <-done; conn.Close() })
	return e
}

func (e *ear) frame(f []byte, _ struct{}) {
	if len(f) < 70 || f[20] != 58 || f[54] != 134 {
		return
	}
	m, err := ndp.ParseMessage(f[54 : 54+int(f[18])<<8+int(f[19])])
	if ra, ok := m.(*ndp.RouterAdvertisement); ok && err == nil && f[21] == 255 && netip.AddrFrom16([16]byte(f[22:38])) == ipv6.RouterAddress {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.heard = append(e.heard, heard{netip.AddrFrom16([16]byte(f[38:54])), ra})
	}
}

func (e *ear) all() []heard {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.heard)
}

// slaac is a service of a guest with a /64 of its own.
func slaac(prefix string) ipv6.Service {
	return ipv6.Service{Router: ipv6.Router{
		Lifetime: 1800 * time.Second, Interval: 600 * time.Second, Other: true,
		Prefixes: []ipv6.OnLink{{Prefix: netip.MustParsePrefix(prefix), Autonomous: true, Valid: 7200 * time.Second, Preferred: 3600 * time.Second}},
	}}
}

func contains(s string, parts ...string) bool {
	return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(s, p) })
}
