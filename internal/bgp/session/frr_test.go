package session

import (
	"os"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/internal/bgp"
)

// frr runs FRR's bgpd, and its zebra for the next hops, as a route reflector.
// A second session of it, with BIRD's part played by static routes of two
// route-maps, is not needed: two prefixes of one network statement do.
type frr struct{ *router }

const frrDaemons = "/usr/lib/frr/"

const frrConfig = `
router bgp 65000
 bgp router-id 10.0.0.3
 bgp cluster-id 10.0.0.99
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
 bgp graceful-restart
 timers bgp 3 9
 neighbor V4.1 remote-as 65000
 neighbor V4.1 passive
 neighbor V4.1 capability extended-nexthop
 EXTRA
 address-family ipv4 unicast
  network 198.51.100.0/24 route-map here
  neighbor V4.1 activate
  neighbor V4.1 route-reflector-client
  neighbor V4.1 addpath-tx-all-paths
  neighbor V4.1 soft-reconfiguration inbound
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:ffff::/48 route-map here
  neighbor V4.1 activate
  neighbor V4.1 route-reflector-client
  neighbor V4.1 addpath-tx-all-paths
  neighbor V4.1 soft-reconfiguration inbound
 exit-address-family
!
route-map here permit 10
 set ipv6 next-hop global V6::2
!
`

func startFRR(t *testing.T, r *router, extra string) *frr {
	t.Helper()
	if _, err := os.Stat(frrDaemons + "bgpd"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	f := &frr{router: r}
	text := strings.NewReplacer(
		"V4", strings.TrimSuffix(r.v4(1), ".1"), "V6", strings.TrimSuffix(r.v6(1), "::1"), "EXTRA", extra,
	).Replace(frrConfig)
	writeFile(t, r.dir+"/bgpd.conf", text)
	writeFile(t, r.dir+"/zebra.conf", "")
	writeFile(t, r.dir+"/vtysh.conf", "")
	if err := os.Chmod(r.dir, 0o777); err != nil { // FRR's daemons drop root
		t.Fatal(err)
	}
	common := []string{"-P", "0", "-z", r.dir + "/zserv", "--vty_socket", r.dir}
	r.daemon(append([]string{frrDaemons + "zebra", "-f", r.dir + "/zebra.conf", "-i", r.dir + "/zebra.pid"}, common...)...)
	eventually(t, "zebra's socket", func() bool { _, err := os.Stat(r.dir + "/zserv"); return err == nil }, func() string { return "" })
	r.daemon(append([]string{frrDaemons + "bgpd", "-f", r.dir + "/bgpd.conf", "-i", r.dir + "/bgpd.pid"}, common...)...)
	eventually(t, "bgpd", func() bool { return strings.Contains(f.sh("show bgp summary"), "10.0.0.3") }, func() string { return f.sh("show bgp summary") })
	return f
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
	r := newRouter(t)
	f := startFRR(t, r, "neighbor V4.1 ttl-security hops 1")
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
