package session

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/bgp"
)

// bird runs BIRD 2 as a route reflector with routes of its own.
type bird struct {
	*router
	stop    func()
	process *os.Process
	text    string // of its configuration
}

// birdConfig has two origins for the anycast prefixes, so that there is
// something for add-path to carry.
const birdConfig = `
log stderr all;
router id 10.0.0.2;
protocol device { scan time 1; }
protocol static one4 { ipv4; route 198.51.100.0/24 via V4.2; route 203.0.113.7/32 via V4.10; }
protocol static two4 { ipv4 { preference 150; }; route 203.0.113.7/32 via V4.11; }
protocol static one6 { ipv6; route 2001:db8:ffff::/48 via V6::2; route 2001:db8:7::7/128 via V6::10; }
protocol static two6 { ipv6 { preference 150; }; route 2001:db8:7::7/128 via V6::11; }
protocol bgp hv {
	local as 65000;
	neighbor V4.1 as 65000;
	passive yes; rr client; rr cluster id 10.0.0.99;
	hold time 9; error wait time 1, 1; PROTOCOL
	graceful restart yes; graceful restart time 60;
	ipv4 { import all; export filter { if proto = "hv" then reject; accept; }; add paths tx; next hop keep; extended next hop on; };
	ipv6 { import all; export filter { if proto = "hv" then reject; accept; }; add paths tx; next hop keep; };
}
`

func startBIRD(t *testing.T, r *router, protocol string) *bird {
	t.Helper()
	b := &bird{router: r}
	b.configure(protocol)
	b.start()
	return b
}

func (b *bird) configure(protocol string) {
	b.text = strings.NewReplacer(
		"V4", strings.TrimSuffix(b.v4(1), ".1"), "V6", strings.TrimSuffix(b.v6(1), "::1"), "PROTOCOL", protocol,
	).Replace(birdConfig)
	writeFile(b.t, b.dir+"/bird.conf", b.text)
}

func (b *bird) start(flags ...string) {
	b.t.Helper()
	b.process, b.stop = b.router.process(append([]string{"bird", "-f", "-c", b.dir + "/bird.conf", "-s", b.dir + "/ctl"}, flags...)...)
	eventually(b.t, "BIRD's socket", func() bool { return strings.Contains(b.ctl("show status"), "Daemon is up") },
		func() string { return b.ctl("show status") })
}

func (b *bird) ctl(command string) string {
	return try("birdc", append([]string{"-s", b.dir + "/ctl"}, strings.Fields(command)...)...)
}

func (b *bird) expect(command string, ok func(string) bool) {
	b.t.Helper()
	eventually(b.t, command, func() bool { return ok(b.ctl(command)) }, func() string { return b.ctl(command) })
}

func has(words ...string) func(string) bool {
	return func(s string) bool {
		for _, w := range words {
			if !strings.Contains(s, w) {
				return false
			}
		}
		return true
	}
}

func hasNot(word string) func(string) bool {
	return func(s string) bool { return !strings.Contains(s, word) }
}

func TestBIRDRoutesBothWays(t *testing.T) {
	needNamespace(t, "bird", "birdc")
	t.Parallel()
	b := startBIRD(t, newRouter(t), "direct; ttl security on;")
	fib := newMemoryFIB()
	s := start(t, b.router.config(), fib)
	s.Announce([]bgp.Announcement{announcement("203.0.113.1/32", 65000<<16|7), announcement("2001:db8:cb00:7100::1/128")})
	awaitState(t, s, 0, Established)

	up := "@" + b.uplink
	fib.expect(t, "198.51.100.0/24", b.v4(2)+up)
	fib.expect(t, "203.0.113.7/32", b.v4(10)+up+" "+b.v4(11)+up)
	fib.expect(t, "2001:db8:ffff::/48", b.v6(2)+up)
	fib.expect(t, "2001:db8:7::7/128", b.v6(16)+up+" "+b.v6(17)+up)
	select {
	case <-s.Synced():
	case <-time.After(eventuallyWithin):
		t.Fatal("no End-of-RIB")
	}
	st := s.Peers()[0]
	if st.Received != (Prefixes{3, 3}) || st.Announced != (Prefixes{1, 1}) || !st.Complete || st.HoldTime != 9*time.Second {
		t.Errorf("status %+v", st)
	}

	b.expect("show route all 203.0.113.1/32", has("BGP.next_hop: "+b.v4(1), "BGP.local_pref: 100", "BGP.community: (65000,7)", "BGP.as_path: \n"))
	b.expect("show route all 2001:db8:cb00:7100::1/128", has("BGP.next_hop: "+b.v6(1), "BGP.local_pref: 100"))
	drained := announcement("203.0.113.1/32")
	drained.Preference = bgp.PreferenceDrained
	s.Announce([]bgp.Announcement{drained})
	b.expect("show route all 203.0.113.1/32", has("BGP.local_pref: 50"))
	b.expect("show route all 2001:db8:cb00:7100::1/128", hasNot("next_hop"))
	s.UplinkUnsound(b.uplink, true)
	b.expect("show route all 203.0.113.1/32", has("BGP.local_pref: 49"))
	s.UplinkUnsound("other", false)
	s.Announce([]bgp.Announcement{announcement("203.0.113.1/32")})
	b.expect("show route all 203.0.113.1/32", has("BGP.local_pref: 99"))
	s.UplinkUnsound(b.uplink, false)
	b.expect("show route all 203.0.113.1/32", has("BGP.local_pref: 100"))
	s.Announce(nil)
	b.expect("show route all 203.0.113.1/32", hasNot("next_hop"))

	route, ok := s.Routes("public", netip.MustParsePrefix("203.0.113.7/32"))
	if !ok || len(route.Paths) != 2 || !route.Paths[0].Chosen || !route.Paths[1].Chosen || route.Paths[0].ID == route.Paths[1].ID {
		t.Errorf("route %+v", route)
	}
	b.ctl("disable two4")
	fib.expect(t, "203.0.113.7/32", b.v4(10)+up)
	b.ctl("disable one4")
	fib.expect(t, "203.0.113.7/32", "")
}

func TestBIRDRefreshesBothWays(t *testing.T) {
	needNamespace(t, "bird", "birdc")
	t.Parallel()
	b := startBIRD(t, newRouter(t), "direct; ttl security on;")
	fib := newMemoryFIB()
	s := start(t, b.router.config(), fib)
	s.Announce([]bgp.Announcement{announcement("203.0.113.1/32"), announcement("2001:db8:cb00:7100::1/128")})
	fib.expect(t, "198.51.100.0/24", b.v4(2)+"@"+b.uplink)
	b.expect("show route all 203.0.113.1/32", has("BGP.next_hop: "+b.v4(1)))

	b.ctl("reload in hv")
	eventually(t, "a refresh for each family", func() bool { return s.Peers()[0].Refreshes == 2 }, func() string { return fmt.Sprint(s.Peers()) })
	b.expect("show route all 203.0.113.1/32", has("BGP.next_hop: "+b.v4(1)))

	before := s.Peers()[0].UpdatesIn
	s.Refresh("public")
	eventually(t, "updates after our refresh", func() bool { return s.Peers()[0].UpdatesIn >= before+4 }, func() string { return fmt.Sprint(s.Peers()) })
	if st := s.Peers()[0]; st.Received != (Prefixes{3, 3}) || st.Established != 1 {
		t.Errorf("status %+v", st)
	}
}

// TestIPv6Transport runs the session over IPv6, from a global and from a
// link-local address, with and without an IPv4 address on the uplink.
func TestIPv6Transport(t *testing.T) {
	needNamespace(t, "bird", "birdc")
	t.Parallel()
	for name, link := range map[string]bool{"global": false, "link-local": true} {
		t.Run(name, func(t *testing.T) {
			b := startBIRD(t, newRouter(t), "direct; ttl security on;")
			ours, theirs := b.v6(1), b.v6(2)
			if link {
				run(t, "ip", "addr", "add", "fe80::1/64", "dev", b.uplink, "nodad")
				b.in("ip", "addr", "add", "fe80::2/64", "dev", "up", "nodad")
				ours, theirs = "fe80::1%up", "fe80::2"
			}
			writeFile(t, b.dir+"/bird.conf", strings.Replace(b.text, "neighbor "+b.v4(1)+" as", "neighbor "+ours+" as", 1))
			b.ctl("configure")
			fib := newMemoryFIB()
			s := start(t, b.router.config(func(_ *Config, p *Peer) {
				p.Address, p.LocalV4 = netip.MustParseAddr(theirs), netip.Addr{}
				if link {
					p.Source = netip.MustParseAddr("fe80::1").WithZone(b.uplink)
				}
			}), fib)
			s.Announce([]bgp.Announcement{announcement("203.0.113.1/32"), announcement("2001:db8:cb00:7100::1/128")})
			awaitState(t, s, 0, Established)
			b.expect("show route all for 2001:db8:cb00:7100::1", has("BGP.next_hop: "+b.v6(1)))
			b.expect("show route all for 203.0.113.1", has("BGP.next_hop: "+b.v6(1))) // RFC 8950
			fib.expect(t, "198.51.100.0/24", b.v4(2)+"@"+b.uplink)
			fib.expect(t, "2001:db8:ffff::/48", b.v6(2)+"@"+b.uplink)
		})
	}
}
