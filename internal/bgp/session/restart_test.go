package session

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/hostroute/hostroute/internal/bgp"
)

// watch polls a condition until stop is called and tells how often it held,
// and how often it did not.
func watch(holds func() bool) (stop func() (held, broken int64)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var held, broken atomic.Int64
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if holds() {
				held.Add(1)
			} else {
				broken.Add(1)
			}
		}
	}()
	return func() (int64, int64) {
		cancel()
		<-done
		return held.Load(), broken.Load()
	}
}

// restarts runs a speaker, ends it without a word, and runs a second one that
// says that it was restarted; between and after, the peer must have the route.
func restarts(t *testing.T, cfg Config, awaitRoute func(), present func() bool, stale func()) {
	t.Helper()
	set := []bgp.Announcement{announcement("203.0.113.1/32"), announcement("2001:db8:cb00:7100::1/128")}
	first := New(cfg, newMemoryFIB(), discard)
	ran := make(chan error, 1)
	go func() { ran <- first.Run(t.Context()) }()
	first.Announce(set)
	awaitState(t, first, 0, Established)
	awaitRoute()
	stop := watch(present)
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	stale()
	cfg.Restarting = true
	second := start(t, cfg, newMemoryFIB())
	awaitState(t, second, 0, Established)
	second.Announce(set)
	eventually(t, "everything told again", func() bool {
		st := second.Peers()[0]
		return st.Announced == Prefixes{1, 1} && st.Complete
	}, func() string { return fmt.Sprintf("%+v", second.Peers()) })
	awaitRoute()
	if held, broken := stop(); broken > 0 || held == 0 {
		t.Errorf("the peer had the route %d times and %d times not", held, broken)
	}
}

func TestBIRDKeepsOurRoutesOverARestart(t *testing.T) {
	needNamespace(t, "bird", "birdc")
	t.Parallel()
	b := startBIRD(t, newRouter(t), "direct; ttl security on;")
	const show = "show route all for 203.0.113.1"
	present := func() bool { return strings.Contains(b.ctl(show), "BGP.next_hop: "+b.v4(1)) }
	restarts(t, b.router.config(), func() { b.expect(show, has("BGP.next_hop: "+b.v4(1))) }, present,
		func() { b.expect("show protocols all hv", has("Neighbor graceful restart active")) })
	b.expect("show protocols all hv", hasNot("Neighbor graceful restart active"))
	b.expect("show protocols all hv", has("Established"))
}

func TestFRRKeepsOurRoutesOverARestart(t *testing.T) {
	needNamespace(t, "vtysh")
	t.Parallel()
	r := newRouter(t)
	f := startFRR(t, r)
	const show = "show bgp ipv4 unicast 203.0.113.1/32"
	present := func() bool { return strings.Contains(f.sh(show), r.v4(1)) }
	restarts(t, r.config(), func() { f.expect(show, has(r.v4(1))) }, present,
		func() { f.expect(show, has("stale")) })
	f.expect(show, hasNot("stale"))
}

func TestOurRoutesOutliveARestartOfBIRD(t *testing.T) {
	needNamespace(t, "bird", "birdc")
	t.Parallel()
	b := startBIRD(t, newRouter(t), "direct; ttl security on;")
	fib := newMemoryFIB()
	s := start(t, b.router.config(), fib)
	s.Announce(nil)
	fib.expect(t, "198.51.100.0/24", b.v4(2)+"@"+b.uplink)
	fib.expect(t, "2001:db8:7::7/128", b.v6(16)+"@"+b.uplink+" "+b.v6(17)+"@"+b.uplink)

	b.stop() // by KILL
	awaitError(t, s, 0, "the peer closed the connection")
	eventually(t, "stale paths", func() bool {
		route, ok := s.Routes("public", netip.MustParsePrefix("198.51.100.0/24"))
		return ok && route.Paths[0].Stale && route.Paths[0].Chosen
	}, func() string { return fmt.Sprint(s.Tables()) })
	text := strings.ReplaceAll(b.text, "route 203.0.113.7/32 via "+b.v4(10)+";", "")
	text = strings.ReplaceAll(text, "route 203.0.113.7/32 via "+b.v4(11)+";", "")
	writeFile(t, b.dir+"/bird.conf", text)
	b.start("-R") // says that its forwarding state is still there
	awaitState(t, s, 0, Established)
	fib.expect(t, "203.0.113.7/32", "") // not told again: swept at End-of-RIB
	if n := fib.withdrawals("198.51.100.0/24", "2001:db8:ffff::/48", "2001:db8:7::7/128"); n > 0 {
		t.Errorf("%d withdrawals of routes that were never gone", n)
	}
	if st := s.Peers()[0]; st.Received != (Prefixes{1, 3}) || !st.Complete {
		t.Errorf("status %+v", st)
	}
}

func TestStalePathsEndWithTheRestartTime(t *testing.T) {
	t.Parallel()
	peer, cfg := newScript(t)
	fib := newMemoryFIB()
	s := start(t, cfg, fib)
	restart := packet.NewCapGracefulRestart(false, false, 1, []*packet.CapGracefulRestartTuple{packet.NewCapGracefulRestartTuple(packet.RF_IPv4_UC, true)})
	peer.established(restart)
	peer.send(route("198.51.100.0/24"))
	fib.expect(t, "198.51.100.0/24", "100.64.0.2@")
	peer.listener.Close()
	peer.conn.Close()
	eventually(t, "a stale path", func() bool {
		route, ok := s.Routes("public", netip.MustParsePrefix("198.51.100.0/24"))
		return ok && len(route.Paths) == 1 && route.Paths[0].Stale
	}, func() string { return fib.String() })
	fib.expect(t, "198.51.100.0/24", "")
}

func TestStalePathsGoWithTheUplink(t *testing.T) {
	t.Parallel()
	peer, cfg := newScript(t)
	cfg.ConnectRetry = time.Hour
	fib := newMemoryFIB()
	s := start(t, cfg, fib)
	peer.established(packet.NewCapGracefulRestart(false, false, 4000, []*packet.CapGracefulRestartTuple{packet.NewCapGracefulRestartTuple(packet.RF_IPv4_UC, true)}))
	peer.send(route("198.51.100.0/24"))
	fib.expect(t, "198.51.100.0/24", "100.64.0.2@")
	peer.listener.Close()
	peer.conn.Close()
	eventually(t, "a stale path", func() bool {
		route, ok := s.Routes("public", netip.MustParsePrefix("198.51.100.0/24"))
		return ok && len(route.Paths) == 1 && route.Paths[0].Stale
	}, func() string { return fib.String() })
	s.UplinkChanged("", false)
	fib.expect(t, "198.51.100.0/24", "")
}

// TestStalePathsAfterTheSessionIsBack covers what a peer may say when it comes
// back: that it kept its forwarding state, that it lost it, or nothing for as
// long as we wait for its End-of-RIB.
func TestStalePathsAfterTheSessionIsBack(t *testing.T) {
	t.Parallel()
	capability := func(forwarding bool) packet.ParameterCapabilityInterface {
		return packet.NewCapGracefulRestart(forwarding, false, 60,
			[]*packet.CapGracefulRestartTuple{packet.NewCapGracefulRestartTuple(packet.RF_IPv4_UC, forwarding)})
	}
	for name, c := range map[string]struct {
		forwarding bool
		wait       time.Duration
		after      func(*script)
	}{
		"kept, then told again": {true, time.Minute, func(s *script) { s.send(route("192.0.2.0/24"), packet.NewEndOfRib(packet.RF_IPv4_UC)) }},
		"kept, never told":      {true, time.Millisecond, func(s *script) { s.send(route("192.0.2.0/24")) }},
		"lost":                  {false, time.Minute, func(s *script) { s.send(route("192.0.2.0/24")) }},
	} {
		t.Run(name, func(t *testing.T) {
			peer, cfg := newScript(t)
			cfg.StaleTime = c.wait
			fib := newMemoryFIB()
			s := start(t, cfg, fib)
			peer.established(capability(true))
			peer.send(route("198.51.100.0/24"), route("192.0.2.0/24"))
			fib.expect(t, "198.51.100.0/24", "100.64.0.2@")
			fib.expect(t, "192.0.2.0/24", "100.64.0.2@")
			peer.conn.Close()
			peer.established(capability(c.forwarding))
			awaitState(t, s, 0, Established)
			c.after(peer)
			fib.expect(t, "198.51.100.0/24", "")
			fib.expect(t, "192.0.2.0/24", "100.64.0.2@")
			if n := fib.withdrawals("192.0.2.0/24"); c.forwarding && c.wait > time.Second && n > 0 {
				t.Errorf("%d withdrawals of a route that was never gone", n)
			}
		})
	}
}

func TestRestartBitsSayWhatIsTrue(t *testing.T) {
	t.Parallel()
	for _, restarting := range []bool{false, true} {
		peer, cfg := newScript(t)
		cfg.Restarting = restarting
		s := start(t, cfg, newMemoryFIB())
		bits := func() (r, f bool) {
			peer.await("OPEN", func(m *packet.BGPMessage) bool { return m.Header.Type == packet.BGP_MSG_OPEN })
			peer.mu.Lock()
			defer peer.mu.Unlock()
			for _, o := range peer.got[0].Body.(*packet.BGPOpen).OptParams {
				for _, c := range o.(*packet.OptionParameterCapability).Capability {
					if gr, ok := c.(*packet.CapGracefulRestart); ok {
						return gr.Flags&8 != 0, gr.Tuples[0].Flags&0x80 != 0
					}
				}
			}
			return false, false
		}
		peer.established()
		if r, f := bits(); r != restarting || f != restarting {
			t.Errorf("first OPEN: R %v, F %v, restarting %v", r, f, restarting)
		}
		awaitState(t, s, 0, Established)
		peer.conn.Close() // before it was told anything: the restart isn't over
		peer.established()
		if r, f := bits(); r != restarting || !f {
			t.Errorf("second OPEN: R %v, F %v, restarting %v", r, f, restarting)
		}
		s.Announce(nil)
		peer.await("End-of-RIB", func(m *packet.BGPMessage) bool { return m.Header.Type == packet.BGP_MSG_UPDATE })
		eventually(t, "the end of the restart", func() bool { return !s.peers[0].restarting() }, func() string { return "" })
		peer.conn.Close()
		peer.established()
		if r, f := bits(); r || !f {
			t.Errorf("last OPEN: R %v, F %v", r, f)
		}
	}
}

func TestARestartedSpeakerWaitsForAllPlanes(t *testing.T) {
	for _, all := range []bool{true, false} {
		one, cfg := newScript(t)
		two, second := newScript(t)
		cfg.Peers = append(cfg.Peers, second.Peers...)
		cfg.Peers[0].Uplink, cfg.Peers[1].Uplink = "lo", "lo"
		cfg.Restarting, cfg.Deferral = true, time.Hour
		if !all {
			cfg.Deferral = 100 * time.Millisecond
		}
		fib := newMemoryFIB()
		s := start(t, cfg, fib)
		v4, v6 := packet.NewEndOfRib(packet.RF_IPv4_UC), packet.NewEndOfRib(packet.RF_IPv6_UC)
		one.established()
		one.send(route("198.51.100.0/24"), v4, v6)
		eventually(t, "the first End-of-RIB", func() bool { return s.Peers()[0].Complete }, func() string { return fmt.Sprint(s.Peers()) })
		if all {
			if got := fib.get("public", "198.51.100.0/24"); got != "" {
				t.Errorf("written before the second plane was heard: %s", got)
			}
			two.established()
			two.send(route("198.51.100.0/24"), v4, v6)
		}
		fib.expect(t, "198.51.100.0/24", "100.64.0.2@lo")
	}
}
