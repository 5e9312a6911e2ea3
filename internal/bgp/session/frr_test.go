package session

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/internal/bgp"
)

// frr runs FRR's bgpd, and its zebra for the next hops, as a route reflector.
// It has three neighbours in our namespace, so that hypervisors can hear of
// each other through it.
type frr struct {
	*router
	common []string // arguments
	stop   func()   // bgpd
}

const frrDaemons = "/usr/lib/frr/"

const frrConfig = `
router bgp 65000
 bgp router-id 10.0.0.3
 bgp cluster-id 10.0.0.99
 no bgp default ipv4-unicast
 no bgp network import-check
 bgp graceful-restart
 timers bgp 3 9
 neighbor hv peer-group
 neighbor hv remote-as 65000
 neighbor hv passive
 neighbor hv ttl-security hops 1
 neighbor hv capability extended-nexthop
 neighbor V4.1 peer-group hv
 neighbor V4.3 peer-group hv
 neighbor V4.4 peer-group hv
 address-family ipv4 unicast
  network 198.51.100.0/24 route-map here
  neighbor hv activate
  neighbor hv route-reflector-client
  neighbor hv addpath-tx-all-paths
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:ffff::/48 route-map here
  neighbor hv activate
  neighbor hv route-reflector-client
  neighbor hv addpath-tx-all-paths
 exit-address-family
!
route-map here permit 10
 set ipv6 next-hop global V6::2
!
`

func startFRR(t *testing.T, r *router, lines ...string) *frr {
	t.Helper()
	if _, err := os.Stat(frrDaemons + "bgpd"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	f := &frr{router: r}
	text := strings.NewReplacer("V4", strings.TrimSuffix(r.v4(1), ".1"), "V6", strings.TrimSuffix(r.v6(1), "::1"),
		" timers", strings.Join(append(lines, " timers"), "\n")).Replace(frrConfig)
	writeFile(t, r.dir+"/bgpd.conf", text)
	writeFile(t, r.dir+"/zebra.conf", "")
	writeFile(t, r.dir+"/vtysh.conf", "")
	if err := os.Chmod(r.dir, 0o777); err != nil { // FRR's daemons drop root
		t.Fatal(err)
	}
	f.common = []string{"-P", "0", "-z", r.dir + "/zserv", "--vty_socket", r.dir}
	r.daemon(append([]string{frrDaemons + "zebra", "-f", r.dir + "/zebra.conf", "-i", r.dir + "/zebra.pid"}, f.common...)...)
	eventually(t, "zebra's socket", func() bool { _, err := os.Stat(r.dir + "/zserv"); return err == nil }, func() string { return "" })
	f.start()
	return f
}

func (f *frr) start() {
	f.t.Helper()
	f.stop = f.daemon(append([]string{frrDaemons + "bgpd", "-f", f.dir + "/bgpd.conf", "-i", f.dir + "/bgpd.pid"}, f.common...)...)
	eventually(f.t, "bgpd", func() bool { return strings.Contains(f.sh("show bgp summary"), "10.0.0.3") }, func() string { return f.sh("show bgp summary") })
}

func (f *frr) sh(command string) string {
	return try("vtysh", "--vty_socket", f.dir, "--config_dir", f.dir, "-d", "bgpd", "-c", command)
}

func (f *frr) expect(command string, ok func(string) bool) {
	f.t.Helper()
	eventually(f.t, command, func() bool { return ok(f.sh(command)) }, func() string { return f.sh(command) })
}

func TestFRRRoutesBothWays(t *testing.T) {
	needNamespace(t, "vtysh")
	t.Parallel()
	r := newRouter(t)
	f := startFRR(t, r)
	fib := newMemoryFIB()
	s := start(t, r.config(), fib)
	s.Announce([]bgp.Announcement{announcement("203.0.113.1/32", 65000<<16|7), announcement("2001:db8:cb00:7100::1/128")})
	awaitState(t, s, 0, Established)
	fib.expect(t, "198.51.100.0/24", r.v4(2)+"@"+r.uplink)
	fib.expect(t, "2001:db8:ffff::/48", r.v6(2)+"@"+r.uplink)
	f.expect("show bgp ipv4 unicast 203.0.113.1/32", has(r.v4(1), "localpref 100", "Community: 65000:7"))
	f.expect("show bgp ipv6 unicast 2001:db8:cb00:7100::1/128", has(r.v6(1), "localpref 100"))
	s.Announce(nil)
	f.expect("show bgp ipv4 unicast 203.0.113.1/32", has("not in table"))
	f.expect("show bgp ipv6 unicast 2001:db8:cb00:7100::1/128", has("not in table"))
}

// TestAnycastThroughFRR has two hypervisors announce the same addresses; the
// third one must hear of both (add-path), and neither of itself.
func TestAnycastThroughFRR(t *testing.T) {
	needNamespace(t, "vtysh")
	t.Parallel()
	r := newRouter(t)
	f := startFRR(t, r)
	hypervisor := func(host int) (*Speaker, *memoryFIB) {
		run(t, "ip", "addr", "replace", r.v4(host)+"/24", "dev", r.uplink)
		fib := newMemoryFIB()
		s := start(t, r.config(func(c *Config, p *Peer) {
			c.RouterID = netip.AddrFrom4([4]byte{10, 0, 1, byte(host)})
			p.Source, p.LocalV4, p.LocalV6 = netip.MustParseAddr(r.v4(host)), netip.MustParseAddr(r.v4(host)), netip.MustParseAddr(r.v6(host))
		}), fib)
		return s, fib
	}
	one, fib1 := hypervisor(1)
	three, fib3 := hypervisor(3)
	four, fib4 := hypervisor(4)
	anycast := []bgp.Announcement{announcement("203.0.113.7/32"), announcement("2001:db8:7::7/128")}
	three.Announce(anycast)
	four.Announce(anycast)
	one.Announce(nil)
	up := "@" + r.uplink
	fib1.expect(t, "203.0.113.7/32", r.v4(3)+up+" "+r.v4(4)+up)
	fib1.expect(t, "2001:db8:7::7/128", r.v6(3)+up+" "+r.v6(4)+up)
	fib3.expect(t, "203.0.113.7/32", r.v4(4)+up)
	fib4.expect(t, "203.0.113.7/32", r.v4(3)+up)

	drained := announcement("203.0.113.7/32")
	drained.Preference = bgp.PreferenceDrained
	four.Announce([]bgp.Announcement{drained, anycast[1]})
	fib1.expect(t, "203.0.113.7/32", r.v4(3)+up)
	three.Announce(nil)
	fib1.expect(t, "203.0.113.7/32", r.v4(4)+up)
	fib1.expect(t, "2001:db8:7::7/128", r.v6(4)+up)

	before := one.Peers()[0].UpdatesIn
	one.Refresh("")
	eventually(t, "updates after our refresh", func() bool { return one.Peers()[0].UpdatesIn >= before+4 },
		func() string { return f.sh("show bgp neighbors " + r.v4(1)) })
	f.sh("clear bgp ipv4 unicast " + r.v4(4) + " soft in")
	eventually(t, "FRR's refresh", func() bool { return four.Peers()[0].Refreshes >= 1 }, func() string { return "none" })
	f.expect("show bgp ipv4 unicast 203.0.113.7/32", has(r.v4(4), "localpref 50"))
	if st := one.Peers()[0]; st.Received != (Prefixes{2, 2}) || st.Established != 1 {
		t.Errorf("status %+v", st)
	}
}
