package session

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/bgp"
)

// birdLongLived is BIRD as a reflector of two hypervisors, .1 and .3, that does
// long-lived graceful restart.
const birdLongLived = `
log stderr all;
router id 10.0.0.2;
protocol device { scan time 1; }
template bgp hypervisor {
	local as 65000;
	passive yes; rr client; rr cluster id 10.0.0.99; direct; ttl security on;
	hold time 9; error wait time 1, 1;
	graceful restart yes; graceful restart time 1;
	long lived graceful restart yes; long lived stale time 1000;
	ipv4 { import all; export where source = RTS_BGP; add paths tx; next hop keep; };
	ipv6 { import all; export where source = RTS_BGP; add paths tx; next hop keep; };
}
protocol bgp hv from hypervisor { neighbor V4.1 as 65000; }
protocol bgp hv3 from hypervisor { neighbor V4.3 as 65000; }
`

func startLongLivedBIRD(t *testing.T, r *router) *bird {
	t.Helper()
	b := &bird{router: r}
	b.text = strings.ReplaceAll(birdLongLived, "V4", strings.TrimSuffix(r.v4(1), ".1"))
	writeFile(t, b.dir+"/bird.conf", b.text)
	b.start()
	return b
}

func startLongLivedFRR(t *testing.T, r *router) *frr {
	t.Helper()
	return startFRR(t, r, " bgp graceful-restart restart-time 1", " bgp long-lived-graceful-restart stale-time 1000")
}

// hypervisor is the configuration of one with sessions over some planes, which
// asks to be waited for one second, and to be kept for 1000 more.
func hypervisor(t *testing.T, host int, planes ...*router) Config {
	t.Helper()
	c := Config{
		AS: 65000, RouterID: netip.AddrFrom4([4]byte{10, 0, 1, byte(host)}), HoldTime: 3 * time.Second,
		ConnectRetry: 200 * time.Millisecond, RestartTime: time.Second, LongLivedStaleTime: 1000 * time.Second,
	}
	for i, r := range planes {
		run(t, "ip", "addr", "replace", r.v4(host)+"/24", "dev", r.uplink)
		p := r.peer()
		p.Name, p.Plane = fmt.Sprint("rr", i), fmt.Sprint("plane", i)
		p.Source, p.LocalV4, p.LocalV6 = netip.MustParseAddr(r.v4(host)), netip.MustParseAddr(r.v4(host)), netip.MustParseAddr(r.v6(host))
		c.Peers = append(c.Peers, p)
	}
	return c
}

var guests = []bgp.Announcement{announcement("203.0.113.1/32"), announcement("2001:db8:cb00:7100::1/128")}

// longGone has a hypervisor end without a word, and not come back within its
// restart time: the reflector must keep its routes, marked, and another
// hypervisor use them until it is back.
func longGone(t *testing.T, r *router, marked, unmarked func()) {
	t.Helper()
	cfg := hypervisor(t, 3, r)
	first := New(cfg, newMemoryFIB(), discard)
	ran := make(chan error, 1)
	go func() { ran <- first.Run(t.Context()) }()
	first.Announce(guests)
	fib := newMemoryFIB()
	other := start(t, hypervisor(t, 1, r), fib)
	other.Announce(nil)
	via := r.v4(3) + "@" + r.uplink
	fib.expect(t, "203.0.113.1/32", via)
	fib.expect(t, "2001:db8:cb00:7100::1/128", r.v6(3)+"@"+r.uplink)
	unmarked()
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	marked()
	seen := func(long bool) func() bool {
		return func() bool {
			route, ok := other.Routes("public", netip.MustParsePrefix("203.0.113.1/32"))
			return ok && len(route.Paths) == 1 && route.Paths[0].LongLived == long && !route.Paths[0].Stale && route.Paths[0].Chosen
		}
	}
	eventually(t, "the mark, elsewhere", seen(true), func() string { return fmt.Sprint(other.Routes("public", netip.MustParsePrefix("203.0.113.1/32"))) })
	cfg.Restarting = true
	start(t, cfg, newMemoryFIB()).Announce(guests)
	unmarked()
	eventually(t, "no mark, elsewhere", seen(false), func() string { return fmt.Sprint(other.Routes("public", netip.MustParsePrefix("203.0.113.1/32"))) })
	if n := fib.withdrawals("203.0.113.1/32", "2001:db8:cb00:7100::1/128"); n > 0 {
		t.Errorf("%d withdrawals of routes that were never gone", n)
	}
}

func TestBIRDKeepsOurRoutesForLong(t *testing.T) {
	needNamespace(t, "bird", "birdc")
	t.Parallel()
	b := startLongLivedBIRD(t, newRouter(t))
	const show = "show route all for 203.0.113.1"
	longGone(t, b.router, func() { b.expect(show, has("BGP.next_hop: "+b.v4(3), "(65535,6)")) },
		func() {
			b.expect(show, func(s string) bool { return strings.Contains(s, b.v4(3)) && !strings.Contains(s, "(65535,6)") })
		})
}

func TestFRRKeepsOurRoutesForLong(t *testing.T) {
	needNamespace(t, "vtysh")
	t.Parallel()
	f := startLongLivedFRR(t, newRouter(t))
	const show = "show bgp ipv4 unicast 203.0.113.1/32"
	longGone(t, f.router, func() { f.expect(show, has(f.v4(3), "llgr-stale")) },
		func() {
			f.expect(show, func(s string) bool {
				return strings.Contains(s, f.v4(3)) && !strings.Contains(s, "stale")
			})
		})
}

// TestBothRealReflectorsGone stops BIRD on one plane, which falls silent, and
// kills FRR on the other; both come back with nothing.
func TestBothRealReflectorsGone(t *testing.T) {
	needNamespace(t, "bird", "birdc", "vtysh")
	t.Parallel()
	b, f := startLongLivedBIRD(t, newRouter(t)), startLongLivedFRR(t, newRouter(t))
	start(t, hypervisor(t, 3, b.router, f.router), newMemoryFIB()).Announce(guests)
	fib := newMemoryFIB()
	s := start(t, hypervisor(t, 1, b.router, f.router), fib)
	s.Announce(nil)
	viaB, viaF := b.v4(3)+"@"+b.uplink, f.v4(3)+"@"+f.uplink
	fib.expect(t, "203.0.113.1/32", viaB+" "+viaF)
	signal := func(sig syscall.Signal) {
		if err := b.process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	fib.expect(t, "203.0.113.1/32", viaF) // silent for a hold time
	f.stop()                              // by KILL
	for i := range 2 {
		eventually(t, "a path that is stale for long", func() bool {
			st := s.Peers()[i]
			return len(st.Kept) == 2 && st.Kept[1].State == "long-lived" && st.Kept[1].Paths == 1
		}, func() string { return fmt.Sprintf("%+v", s.Peers()) })
	}
	fib.expect(t, "203.0.113.1/32", viaB+" "+viaF)
	fib.expect(t, "2001:db8:cb00:7100::1/128", b.v6(3)+"@"+b.uplink+" "+f.v6(3)+"@"+f.uplink)

	signal(syscall.SIGCONT)
	f.start()
	b.expect("show route for 203.0.113.1", has(b.v4(3)))
	f.expect("show bgp ipv4 unicast 203.0.113.1/32", has(f.v4(3)))
	eventually(t, "fresh routes from both, and nothing kept", func() bool {
		route, _ := s.Routes("public", netip.MustParsePrefix("203.0.113.1/32"))
		for _, p := range route.Paths {
			if p.Stale || p.LongLived {
				return false
			}
		}
		return len(route.Paths) == 2 && len(s.Peers()[0].Kept) == 0 && len(s.Peers()[1].Kept) == 0
	}, func() string { return fmt.Sprintf("%+v", s.Peers()) })
	fib.expect(t, "203.0.113.1/32", viaB+" "+viaF)
	if n := fib.withdrawals("203.0.113.1/32", "2001:db8:cb00:7100::1/128"); n > 0 {
		t.Errorf("%d withdrawals of routes that were never gone", n)
	}
}

// TestLeavingRealReflectors: neither keeps what it keeps of a hypervisor that ends
// at the same time as if for a restart.
func TestLeavingRealReflectors(t *testing.T) {
	needNamespace(t, "bird", "birdc", "vtysh")
	t.Parallel()
	b, f := startLongLivedBIRD(t, newRouter(t)), startLongLivedFRR(t, newRouter(t))
	s := start(t, hypervisor(t, 3, b.router, f.router), newMemoryFIB())
	s.Announce(guests)
	other := start(t, hypervisor(t, 1, b.router, f.router), newMemoryFIB())
	other.Announce([]bgp.Announcement{announcement("203.0.113.2/32")})
	const inBIRD, inFRR = "show route for 203.0.113.1", "show bgp ipv4 unicast 203.0.113.1/32"
	const keptByBIRD, keptByFRR = "show route all for 203.0.113.2", "show bgp ipv4 unicast 203.0.113.2/32"
	b.expect(inBIRD, has("203.0.113.1/32"))
	f.expect(inFRR, has(f.v4(3)))
	b.expect(keptByBIRD, has("203.0.113.2/32"))
	f.expect(keptByFRR, has(f.v4(1)))
	if err := other.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), eventuallyWithin)
	defer cancel()
	for _, d := range s.Leave(ctx) {
		if !d.Confirmed {
			t.Errorf("departure %+v", d)
		}
	}
	if out := b.ctl(inBIRD); !strings.Contains(out, "Network not found") {
		t.Errorf("BIRD has it still: %s", out)
	}
	f.expect(inFRR, has("not in table")) // FRR forgets at its leisure what it was told
	b.expect("show protocols all hv3", hasNot("graceful restart active"))
	f.expect("show bgp ipv6 unicast 2001:db8:cb00:7100::1/128", has("not in table"))
	b.expect("show route for 2001:db8:cb00:7100::1", has("Network not found"))
	b.expect(keptByBIRD, has("203.0.113.2/32", b.v4(1)))
	f.expect(keptByFRR, has(f.v4(1), "stale"))
}
