package kernel

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// router is a host with an uplink to another one, which sends packets to the
// addresses behind it, and with taps whose guests never answer.
type router struct {
	*Kernel
	t        *testing.T
	ns, from *testenv.Netns
	host     vrf.Host
	sender   *net.UDPConn
}

func newRouter(t *testing.T, taps ...vrf.Tap) *router {
	r := &router{t: t, ns: testenv.NewNetns(t), from: testenv.NewNetns(t)}
	r.Kernel = New(Options{NetNS: r.ns.FD()})
	t.Cleanup(func() { must(t, r.Kernel.Close()) })
	testenv.Veth(r.ns, "u0", r.from, "eth0")
	for _, name := range []string{"u1", "tap1", "tap2"} {
		r.ns.IP("link add "+name+" type veth peer name p-"+name, "link set p-"+name+" up", "link set "+name+" up")
	}
	for _, n := range []*testenv.Netns{r.ns, r.from} {
		n.Sysctl("net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
	}
	r.from.Sysctl("net.ipv6.conf.all.disable_ipv6=0")
	r.host = vrf.Host{
		VRFs: []vrf.VRF{{Name: "public", Table: 90, NoDevice: true}},
		Uplinks: []vrf.Uplink{
			{Name: "u0", VRF: "public", Addresses: []netip.Prefix{netip.MustParsePrefix("100.64.0.1/24"), netip.MustParsePrefix("fd64::1/64")}},
			{Name: "u1", VRF: "public", Addresses: []netip.Prefix{netip.MustParsePrefix("100.64.1.1/24"), netip.MustParsePrefix("fd64:1::1/64")}},
		},
		Taps: taps,
	}
	r.apply()
	r.ns.Run("ip", "-6", "rule", "add", "iif", "u0", "lookup", "90")
	r.ns.IP("rule add iif u0 lookup 90",
		"neigh replace 100.64.1.2 lladdr 02:00:00:00:00:99 dev u1 nud permanent",
		"neigh replace fd64:1::2 lladdr 02:00:00:00:00:99 dev u1 nud permanent")
	r.from.IP("addr add 100.64.0.2/24 dev eth0", "addr add fd64::2/64 dev eth0 nodad",
		"route add default via 100.64.0.1", "route add default via fd64::1")
	must(t, r.from.Do(func() (err error) { r.sender, err = net.ListenUDP("udp", nil); return err }))
	t.Cleanup(func() { r.sender.Close() })
	return r
}

func (r *router) apply() {
	r.t.Helper()
	if _, err := r.Apply(r.t.Context(), r.host, vrf.Options{Sweep: true}); err != nil {
		r.t.Fatal(err)
	}
}

// send sends a datagram to each of so many ports. What the kernel says of an ICMP
// error to an earlier one is no failure.
func (r *router) send(to string, ports int) {
	for i := range ports {
		a := netip.AddrPortFrom(netip.MustParseAddr(to), uint16(10000+i))
		for {
			if _, err := r.sender.WriteToUDPAddrPort([]byte("x"), a); err == nil {
				break
			}
		}
	}
}

// counter is a counter of the namespace that nstat knows.
func (r *router) counter(name string) int {
	r.t.Helper()
	for line := range strings.Lines(r.ns.Run("nstat", "-a", "-s", "-z", name)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, err := strconv.Atoi(f[1])
			must(r.t, err)
			return n
		}
	}
	r.t.Fatalf("no counter %s", name)
	return 0
}

// sentBy is how many packets have left a link.
func (r *router) sentBy(link string) int {
	r.t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(r.ns.Run("cat", "/sys/class/net/"+link+"/statistics/tx_packets")))
	must(r.t, err)
	return n
}

// oneFamily is what a test needs to know of each.
type oneFamily struct {
	name, moving, nowhere, anycast string
	errors, via                    string
}

func families() []oneFamily {
	return []oneFamily{
		{"IPv4", "203.0.113.8", "203.0.113.250", "203.0.113.99", "IcmpOutDestUnreachs", "100.64.1.2"},
		{"IPv6", "2001:db8::8", "2001:db8::250", "2001:db8:a::99", "Icmp6OutDestUnreachs", "fd64:1::2"},
	}
}

// TestBlackholeIsSilent: where nothing is, the sender is told so. Where a
// blackhole is, it isn't; and a learned route takes its place at once.
func TestBlackholeIsSilent(t *testing.T) {
	testenv.RequireTool(t, "nstat")
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			r := newRouter(t)
			moving := netip.MustParseAddr(f.moving)
			errs := func() int { return r.counter(f.errors) }
			before := errs()
			r.send(f.moving, 1)
			testenv.Eventually(t, "an ICMP error", func() bool { return errs() == before+1 })
			r.host.Blackholes = []vrf.Blackhole{{VRF: "public", Prefix: netip.PrefixFrom(moving, moving.BitLen())}}
			r.apply()
			before = errs()
			r.send(f.moving, 20)
			r.send(f.nowhere, 1) // comes after them, and tells when they are through
			testenv.Eventually(t, "the ICMP error of what comes after", func() bool { return errs() > before })
			if n := errs() - before; n != 1 {
				t.Errorf("the blackhole gave %d ICMP errors", n-1)
			}
			r.ns.IP(fmt.Sprintf("route add %s table 90 metric %d proto 201 via %s dev u1", f.moving, vrf.MetricLearned, f.via))
			sent := r.sentBy("u1")
			r.send(f.moving, 20)
			testenv.Eventually(t, "packets on the learned way", func() bool { return r.sentBy("u1") >= sent+20 })
		})
	}
}

// TestFlowsSpreadOverTaps: an address of two guests gets flows to both, by their
// ports, and all to the one that is left.
func TestFlowsSpreadOverTaps(t *testing.T) {
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			r := newRouter(t, anycastTaps("tap1", "tap2")...)
			const flows, atLeast = 200, 50 // of 100: by chance less than once in 10^11
			counts := func() [2]int { return [2]int{r.sentBy("tap1"), r.sentBy("tap2")} }
			before := counts()
			r.send(f.anycast, flows)
			var got [2]int
			testenv.Eventually(t, "all packets", func() bool {
				now := counts()
				got = [2]int{now[0] - before[0], now[1] - before[1]}
				return got[0]+got[1] >= flows
			})
			if got[0] < atLeast || got[1] < atLeast {
				t.Errorf("of %d flows the taps got %v", flows, got)
			}
			r.ns.IP("link del tap1")
			r.apply()
			sent := r.sentBy("tap2")
			r.send(f.anycast, flows)
			testenv.Eventually(t, "all packets on the tap that is left", func() bool { return r.sentBy("tap2") >= sent+flows })
		})
	}
}
