package frames

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/kernel"
)

func ip(s string) netip.Addr       { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// guest is who is behind a tap, according to the log.
type guest struct {
	tap       string
	mac       [6]byte
	v4, v6    netip.Addr
	linkLocal netip.Addr
	routed    netip.Prefix // a /64 of its own, or invalid
}

var (
	one = guest{"tap1", [6]byte{2, 0, 0, 0, 0, 1}, ip("203.0.113.1"), ip("2001:db8:cb00:7100::101"), ip("fe80::ff:fe00:1"), prefix("2001:db8:cb00:7101::/64")}
	two = guest{"tap2", [6]byte{2, 0, 0, 0, 0, 2}, ip("203.0.113.2"), ip("2001:db8:cb00:7100::102"), ip("fe80::ff:fe00:2"), netip.Prefix{}}
	// three lives in the private VRF.
	three = guest{"tap3", [6]byte{2, 0, 0, 0, 0, 3}, ip("192.0.2.3"), ip("2001:db8:0:66::3"), ip("fe80::ff:fe00:3"), netip.Prefix{}}
)

// Addresses of the hypervisor and around it.
var (
	gateway4    = ip("203.0.113.254")
	gatewayLL4  = ip("169.254.0.1")
	gateway6    = ip("2001:db8:cb00:7100::1")
	gatewayLL6  = ip("fe80::1")
	gatewayPriv = ip("192.0.2.126")
	uplink4     = ip("100.64.0.2")
	uplink6     = ip("2001:db8:ffff:a::2")
	edge4       = ip("100.64.0.1")
	edge6       = ip("2001:db8:ffff:a::1")
	uplinkPriv4 = ip("100.65.0.2")
	uplinkPriv6 = ip("2001:db8:ffff:b::2")
	management4 = ip("192.0.2.130")
	management6 = ip("2001:db8:ffff:c::2")
	internet4   = ip("198.51.100.1")
	internet6   = ip("2001:db8:ffff::1")
	edgeMAC     = [6]byte{2, 0, 0, 0, 0xed, 1}
	uplinkMAC   = [6]byte{2, 0, 0, 0, 0xed, 2}
)

// owns tells what is the guest's by the log.
func (g guest) owns(a netip.Addr) bool {
	return a == g.v4 || a == g.v6 || a == g.linkLocal || g.routed.IsValid() && g.routed.Contains(a)
}

// theHost is the hypervisor as its agent would want it.
func theHost(t *testing.T, devices bool) vrf.Host {
	t.Helper()
	return vrf.Host{
		VRFs: []vrf.VRF{{Name: "public", Table: 90, NoDevice: !devices}, {Name: "private", Table: 20, NoDevice: !devices}},
		Uplinks: []vrf.Uplink{
			{Name: "up0", VRF: "public", Plane: "a", Addresses: []netip.Prefix{netip.PrefixFrom(uplink4, 24), netip.PrefixFrom(uplink6, 64)}},
			{Name: "up1", VRF: "private", Plane: "a", Addresses: []netip.Prefix{netip.PrefixFrom(uplinkPriv4, 24), netip.PrefixFrom(uplinkPriv6, 64)}},
		},
		Taps:        projected(t),
		TapPatterns: []string{"vnet*"},
	}
}

// world is a hypervisor with its guests and everybody's eyes.
type world struct {
	t       *testing.T
	life    testing.TB // for what lives as long as the world
	devices bool
	hv      *testenv.Netns
	outside *testenv.Netns
	host    vrf.Host
	kernel  *kernel.Kernel
	ports   map[string]*port // by who is there
	inside  map[string]*port // the hypervisor's side of the same cables
	local   []int            // raw sockets of the hypervisor
	batch   uint32
	buf     []byte
}

// Who looks where.
const (
	atOne     = "sender" // what comes back to the guest that sent
	atTwo     = "other guest"
	atThree   = "private guest"
	atEdge    = "edge"
	atPrivate = "private edge"
	atMgmt    = "management"
	atHost    = "hypervisor" // delivered to the hypervisor's own sockets
)

var cables = map[string]string{atOne: "tap1", atTwo: "tap2", atThree: "tap3", atEdge: "up0", atPrivate: "up1", atMgmt: "m0"}

// newWorld is a hypervisor as the plan makes it.
func newWorld(t *testing.T, devices bool) *world {
	t.Helper()
	w := rawWorld(t, devices)
	w.apply()
	w.surround()
	w.listen()
	return w
}

// rawWorld has the cables, and nobody has told the hypervisor anything.
func rawWorld(t *testing.T, devices bool) *world {
	t.Helper()
	w := &world{t: t, life: t, devices: devices, host: theHost(t, devices), ports: map[string]*port{}, inside: map[string]*port{}, buf: make([]byte, 65536)}
	w.hv, w.outside = testenv.NewNetns(t), testenv.NewNetns(t)
	w.set(w.outside, "ipv6/conf/default/disable_ipv6", "1")
	w.set(w.hv, "ipv6/conf/default/accept_dad", "0", "ipv6/conf/all/accept_dad", "0")
	w.connect()
	w.kernel = kernel.New(kernel.Options{NetNS: w.hv.FD()})
	t.Cleanup(func() { w.check(w.kernel.Close()) })
	for who, link := range cables {
		w.ports[who] = newPort(w.life, w.outside, link)
		w.inside[who] = newPort(w.life, w.hv, link)
		w.inside[who].deaf()
	}
	return w
}

// connect makes the cables.
func (w *world) connect() {
	w.t.Helper()
	var here, there []string
	for _, link := range cables {
		here = append(here, "link add "+link+" type veth peer name "+link+" netns "+w.outside.Name, "link set "+link+" up")
		there = append(there, "link set "+link+" up")
	}
	w.ip(append(here, "link set up0 address "+mac(uplinkMAC), "addr add "+management4.String()+"/25 dev m0", "addr add "+management6.String()+"/64 dev m0 nodad")...)
	w.outside.IP(there...)
}

// surround adds what others than the agent bring: learned routes, the neighbours of the uplinks, which have no
// stack that could answer, and rules where there are no VRF devices.
func (w *world) surround() {
	w.t.Helper()
	v4, v6 := w.rules()
	for link, addresses := range map[string][]string{
		"up0": {edge4.String(), edge6.String()}, "up1": {"100.65.0.1", "2001:db8:ffff:b::1"}, "m0": {"192.0.2.129", "2001:db8:ffff:c::1"},
	} {
		for _, a := range addresses {
			v4 = append(v4, "neigh replace "+a+" lladdr "+mac(edgeMAC)+" dev "+link+" nud permanent")
		}
	}
	w.ip(append(v4, "route add default via "+edge4.String()+" dev up0 onlink table 90 proto 99", "route add default via 100.65.0.1 dev up1 onlink table 20 proto 99")...)
	w.ip6(append(v6, "route add default via "+edge6.String()+" dev up0 onlink table 90 proto 99", "route add default via 2001:db8:ffff:b::1 dev up1 onlink table 20 proto 99")...)
}

// set writes kernel settings of a namespace.
func (w *world) set(ns *testenv.Netns, pairs ...string) {
	w.t.Helper()
	w.check(ns.Do(func() error {
		for i := 0; i < len(pairs); i += 2 {
			if err := os.WriteFile("/proc/sys/net/"+pairs[i], []byte(pairs[i+1]), 0); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) apply() {
	w.t.Helper()
	result, err := w.kernel.Apply(w.t.Context(), w.host, vrf.Options{Sweep: true})
	w.check(err)
	if len(result.Problems) > 0 || len(result.Waiting) > 0 {
		w.t.Fatalf("problems %v, waiting for %v", result.Problems, result.Waiting)
	}
}

// rules stand in for VRF devices. Those at 200 and 40000 are for what the hypervisor sends itself and for the
// reverse path check, which looks up with no interface. Local addresses come first, as on any host: nothing but
// the filter keeps guests from them.
func (w *world) rules() (v4, v6 []string) {
	if w.devices {
		return nil, nil
	}
	lines := []string{"rule add pref 40000 table 90"}
	for link, table := range map[string]int{"tap1": 90, "tap2": 90, "up0": 90, "tap3": 20, "up1": 20} {
		lines = append(lines, fmt.Sprintf("rule add pref 100 iif %s table %d", link, table))
	}
	v4 = append(slices.Clone(lines), "rule add pref 200 to 192.0.2.0/25 table 20")
	return v4, append(lines, "rule add pref 200 to 2001:db8:0:66::/64 table 20")
}

// ip runs ip(8) in the hypervisor, ip6 what it takes for IPv4 unless told otherwise.
func (w *world) ip(lines ...string)  { w.t.Helper(); w.batchIP(lines) }
func (w *world) ip6(lines ...string) { w.t.Helper(); w.batchIP(lines, "-6") }

func (w *world) batchIP(lines []string, options ...string) {
	w.t.Helper()
	cmd := w.hv.Command("ip", append(options, "-b", "-")...)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("ip %q, %q: %v: %s", options, lines, err, out)
	}
}

// removeFilter takes every nftables table away, for the proof that the eyes see.
func (w *world) removeFilter() { w.hv.Run("nft", "flush", "ruleset") }

// loose takes away the reverse path check, the second line of defence, so that the first is tested alone.
func (w *world) loose() {
	w.t.Helper()
	w.check(w.hv.Do(func() error {
		files, err := filepath.Glob("/proc/sys/net/ipv4/conf/*/rp_filter")
		for _, f := range files {
			err = errors.Join(err, os.WriteFile(f, []byte("0"), 0))
		}
		return err
	}))
}

// neighbourTable is the hypervisor's, one entry a line, without what counts or ages.
func (w *world) neighbourTable() map[string]bool {
	entries := map[string]bool{}
	for line := range strings.Lines(w.hv.Run("ip", "neigh", "show", "nud", "all")) {
		f := strings.Fields(line)
		entry := strings.Join(f[:min(3, len(f))], " ")
		if i := strings.Index(line, "lladdr "); i >= 0 {
			entry += " " + strings.Fields(line[i:])[1]
		}
		if !strings.Contains(line, "NOARP") {
			entries[entry] = true
		}
	}
	return entries
}

// pinned calls f on a thread that stays on one CPU and ends with it.
func pinned(cpu int, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			panic(fmt.Errorf("staying on CPU %d: %w", cpu, err))
		}
		f()
	}()
	<-done
}

func mac(m [6]byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}
