package session

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/internal/bgp"
)

// gobgp runs GoBGP's own daemon as a route reflector. It is built from a module
// of its own (testdata/gobgp), so that its dependencies are none of ours.
type gobgp struct {
	*router
	bin string
}

const gobgpConfig = `
[global.config]
  as = 65000
  router-id = "10.0.0.4"
  local-address-list = ["V4.2"]
[[neighbors]]
  [neighbors.config]
    neighbor-address = "V4.1"
    peer-as = 65000
  [neighbors.transport.config]
    passive-mode = true
  [neighbors.ttl-security.config]
    enabled = true
    ttl-min = 255
  [neighbors.route-reflector.config]
    route-reflector-client = true
    route-reflector-cluster-id = "10.0.0.99"
  [neighbors.graceful-restart.config]
    enabled = true
    notification-enabled = true
    restart-time = 60
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true
    [neighbors.afi-safis.add-paths.config]
      send-max = 8
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-unicast"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true
    [neighbors.afi-safis.add-paths.config]
      send-max = 8
`

func startGoBGP(t *testing.T, r *router) *gobgp {
	t.Helper()
	g := &gobgp{router: r, bin: t.TempDir()}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", g.bin+"/",
		"github.com/osrg/gobgp/v3/cmd/gobgpd", "github.com/osrg/gobgp/v3/cmd/gobgp")
	build.Dir = filepath.Join("testdata", "gobgp")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building GoBGP: %v\n%s", err, out)
	}
	text := strings.ReplaceAll(gobgpConfig, "V4", strings.TrimSuffix(r.v4(1), ".1"))
	writeFile(t, r.dir+"/gobgp.toml", text)
	// Listeners of its are MPTCP otherwise, and have neither TTL nor MD5.
	r.daemon("env", "GODEBUG=multipathtcp=0", g.bin+"/gobgpd", "-f", r.dir+"/gobgp.toml", "--api-hosts", "127.0.0.1:50051", "--pprof-disable")
	eventually(t, "gobgpd", func() bool { return strings.Contains(g.ctl("global"), "10.0.0.4") }, func() string { return g.ctl("global") })
	return g
}

func (g *gobgp) ctl(command string) string {
	return try("nsenter", append([]string{"-t", g.pid, "-n", g.bin + "/gobgp"}, strings.Fields(command)...)...)
}

func (g *gobgp) expect(command string, ok func(string) bool) {
	g.t.Helper()
	eventually(g.t, command, func() bool { return ok(g.ctl(command)) }, func() string { return g.ctl(command) })
}

func TestGoBGPRoutesBothWays(t *testing.T) {
	needNamespace(t, "go")
	t.Parallel()
	r := newRouter(t)
	g := startGoBGP(t, r)
	g.ctl("global rib add 198.51.100.0/24 nexthop " + r.v4(2))
	g.ctl("global rib add 203.0.113.7/32 identifier 10 nexthop " + r.v4(10))
	g.ctl("global rib add 203.0.113.7/32 identifier 11 nexthop " + r.v4(11))
	g.ctl("global rib add -a ipv6 2001:db8:ffff::/48 nexthop " + r.v6(2))
	fib := newMemoryFIB()
	s := start(t, r.config(), fib)
	s.Announce([]bgp.Announcement{announcement("203.0.113.1/32", 65000<<16|7), announcement("2001:db8:cb00:7100::1/128")})
	awaitState(t, s, 0, Established)
	up := "@" + r.uplink
	fib.expect(t, "198.51.100.0/24", r.v4(2)+up)
	fib.expect(t, "203.0.113.7/32", r.v4(10)+up+" "+r.v4(11)+up)
	fib.expect(t, "2001:db8:ffff::/48", r.v6(2)+up)
	<-s.Synced()
	g.expect("global rib 203.0.113.1/32", has(r.v4(1), "{LocalPref: 100}", "{Communities: 65000:7}"))
	g.expect("global rib -a ipv6 2001:db8:cb00:7100::1/128", has(r.v6(1), "{LocalPref: 100}"))

	g.ctl("global rib del 203.0.113.7/32 identifier 11 nexthop " + r.v4(11))
	fib.expect(t, "203.0.113.7/32", r.v4(10)+up)
	g.ctl("neighbor " + r.v4(1) + " softresetout")
	s.Announce(nil)
	g.expect("global rib 203.0.113.1/32", has("Network not in table"))
	g.ctl("neighbor " + r.v4(1) + " shutdown")
	eventually(t, "the reason for the fall", func() bool {
		return s.Peers()[0].LastFall == "the peer closed the session: cease, hard reset (6/9)"
	}, func() string { return s.Peers()[0].LastFall })
	fib.expect(t, "198.51.100.0/24", "") // a hard reset leaves nothing stale
}
