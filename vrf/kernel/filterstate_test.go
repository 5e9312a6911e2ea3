package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

func (s *stage) nft(command ...string) string {
	s.t.Helper()
	return s.hv.Run("nft", command...)
}

// elementsOf reads a set with nft(8), which knows nothing of how we read.
func (s *stage) elementsOf(family, set string) []string {
	s.t.Helper()
	var answer struct {
		NFTables []struct {
			Set struct{ Elem []any }
		}
	}
	must(s.t, json.Unmarshal([]byte(s.nft("-j", "list", "set", family, "hostroute", set)), &answer))
	var list []string
	for _, o := range answer.NFTables {
		for _, e := range o.Set.Elem {
			text := fmt.Sprint(e)
			list = append(list, strings.TrimSuffix(strings.TrimPrefix(text, "map[concat:["), "]]"))
		}
	}
	slices.Sort(list)
	return list
}

func (s *stage) wantElements(family, set string, want ...string) {
	s.t.Helper()
	slices.Sort(want)
	if got := s.elementsOf(family, set); !slices.Equal(got, want) {
		s.t.Errorf("%s %s has %q, want %q", family, set, got, want)
	}
}

// TestElements looks at the sets with nft(8): without a sweep nothing goes but
// what is in the way, with one all that is not desired.
func TestElements(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireTool(t, "nft")
	s := newStage(t, false)
	apply := func(sweep bool, links ...string) {
		t.Helper()
		_, err := s.k.Apply(t.Context(), s.host, vrf.Options{Sweep: sweep, Links: links})
		must(t, err)
	}
	apply(true)
	s.wantElements("inet", "taps", "tap0", "tap1")
	s.wantElements("arp", "taps", "tap0", "tap1")
	s.wantElements("inet", "exempt", "lo", "u0")
	s.wantElements("inet", "hosts4", "tap0 203.0.113.7", "tap1 203.0.113.8")
	s.wantElements("arp", "hosts4", "tap0 203.0.113.7", "tap1 203.0.113.8")
	s.wantElements("inet", "prefixes4", "tap0 map[prefix:map[addr:203.0.113.16 len:28]]")
	s.wantElements("arp", "prefixes4", "tap0 map[prefix:map[addr:203.0.113.16 len:28]]")
	s.wantElements("inet", "hosts6", "tap0 2001:db8::7", "tap1 2001:db8::8")
	s.wantElements("inet", "subnets6", "tap0 2001:db8:1::")
	s.wantElements("inet", "prefixes6", "tap0 map[prefix:map[addr:2001:db8:2:: len:60]]")
	s.wantElements("inet", "gateways6", "tap0 fe80::1", "tap1 fe80::1")

	s.host.Taps[1].Sources = []netip.Prefix{netip.MustParsePrefix("203.0.113.8/30")}
	apply(false, "tap1")
	s.host.Taps[1].Sources = []netip.Prefix{netip.MustParsePrefix("203.0.113.8/29")}
	apply(false, "tap1") // the wider one takes the place of the interval within it
	s.wantElements("inet", "prefixes4", "tap0 map[prefix:map[addr:203.0.113.16 len:28]]", "tap1 map[prefix:map[addr:203.0.113.8 len:29]]")
	s.wantElements("inet", "hosts4", "tap0 203.0.113.7", "tap1 203.0.113.8")
	s.host.Taps[1].Sources = []netip.Prefix{netip.MustParsePrefix("203.0.113.9/32")}
	apply(false, "tap1")
	s.wantElements("inet", "hosts4", "tap0 203.0.113.7", "tap1 203.0.113.8", "tap1 203.0.113.9")
	apply(true, "tap1")
	s.wantElements("inet", "hosts4", "tap0 203.0.113.7", "tap1 203.0.113.9")
	s.wantElements("arp", "prefixes4", "tap0 map[prefix:map[addr:203.0.113.16 len:28]]")

	s.host.Taps = s.host.Taps[:1]
	apply(false, "tap1")
	s.wantElements("inet", "taps", "tap0", "tap1")
	apply(true, "tap1")
	s.wantElements("inet", "taps", "tap0")
	s.wantElements("arp", "macs", fmt.Sprintf("tap0 %02x:%02x:%02x:%02x:%02x:%02x", s.portA.mac[0], s.portA.mac[1], s.portA.mac[2], s.portA.mac[3], s.portA.mac[4], s.portA.mac[5]))
	s.wantNothingLeft()
}

func (s *stage) wantNothingLeft() {
	s.t.Helper()
	actual, err := s.k.Read(s.t.Context(), s.host)
	must(s.t, err)
	if r := vrf.Plan(s.host, actual, vrf.Options{Sweep: true}); len(r.Ops) > 0 {
		s.t.Errorf("a plan has %v", r.Ops)
	}
}

// TestMended: whatever somebody does to the filter is told by a notice and
// mended by the next plan, and what is not ours stays. What we do ourselves is
// not told, or the rounds would never end.
func TestMended(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireTool(t, "nft")
	s := newStage(t, false)
	s.apply()
	s.nft("add", "table", "inet", "theirs")
	s.nft("add", "chain", "inet", "theirs", "c")
	var log noticeLog
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Watch(ctx, Options{NetNS: s.hv.FD()}, nil, log.add) }()
	log.wait(t, "the first notice", func(n Notice) bool { return n.Resync && n.Filter })
	handle := func() string {
		out := s.nft("-a", "list", "chain", "inet", "hostroute", "ipv4")
		_, after, _ := strings.Cut(out, "goto spoofed comment")
		_, number, _ := strings.Cut(after, "# handle ")
		number, _, _ = strings.Cut(number, "\n")
		return number
	}
	for _, c := range []struct {
		name    string
		command []string
	}{
		{"a rule deleted", []string{"delete", "rule", "inet", "hostroute", "ipv4", "handle", handle()}},
		{"a rule added", []string{"insert", "rule", "inet", "hostroute", "guest", "accept"}},
		{"a chain flushed", []string{"flush", "chain", "inet", "hostroute", "guest"}},
		{"the policy changed", []string{"add chain inet hostroute input { policy drop ; }"}},
		{"the table asleep", []string{"add table inet hostroute { flags dormant ; }"}},
		{"an element deleted", []string{"delete element inet hostroute hosts4 { tap0 . 203.0.113.7 }"}},
		{"an element of ours in another set", []string{"add element inet hostroute prefixes4 { tap0 . 203.0.113.7 }"}},
		{"half a subnet", []string{"add element inet hostroute subnets6 { tap0 . 2001:db8:1::8 }"}},
		{"an element of one of two deleted", []string{"delete element arp hostroute taps { tap1 }"}},
		{"an element added", []string{"add element inet hostroute hosts4 { tap0 . 198.51.100.1 }"}},
		{"a set flushed", []string{"flush set inet hostroute macs"}},
		{"the ARP table deleted", []string{"delete table arp hostroute"}},
		{"all of it deleted", []string{"delete table inet hostroute; delete table arp hostroute"}},
	} {
		log.clear()
		if c.name == "a rule deleted" {
			c.command[len(c.command)-1] = handle()
		}
		s.nft(c.command...)
		log.wait(t, c.name, func(n Notice) bool { return n.Filter })
		s.apply()
		s.wantNothingLeft()
		if s.passes(s.v4(ipv4(vmB, internet, unix.IPPROTO_UDP, 0, udp(1, 2, "spoof "+c.name))), "spoof "+c.name, "own "+c.name) {
			t.Errorf("%s: a spoofed packet passes", c.name)
		}
	}
	log.clear()
	s.host.Taps[0].Sources = s.host.Taps[0].Sources[:1]
	s.apply()
	s.nft("add", "rule", "inet", "theirs", "c", "accept")
	s.hv.IP("link add marker type veth peer name marker2")
	log.wait(t, "the link that comes after our change", func(n Notice) bool { return slices.Contains(n.Links, "marker2") })
	log.mu.Lock()
	if slices.ContainsFunc(log.list, func(n Notice) bool { return n.Filter }) {
		t.Error("our own change, or that of another table, is told as one of the filter")
	}
	log.mu.Unlock()
	cancel()
	must(t, <-ended)
	if !strings.Contains(s.nft("list", "ruleset"), "table inet theirs") {
		t.Error("somebody else's table is gone")
	}
	s.nft("flush", "ruleset")
	s.apply()
	s.wantNothingLeft()
}

// TestKilledHalfway executes only the first operations of a plan, for every
// number of them: no packet that isn't the guest's own ever passes, on taps
// that were up and forwarding before there was an agent.
func TestKilledHalfway(t *testing.T) {
	testenv.RequireRoot(t)
	killedHalfway(t, newStage(t, false), 1)
}

func TestKilledHalfwayVRF(t *testing.T) {
	testenv.RequireVRF(t)
	killedHalfway(t, newStage(t, true), 7) // an emulated machine is slow
}

func killedHalfway(t *testing.T, s *stage, stride int) {
	// With the MAC that it will have, no frame is for somebody else.
	s.hv.IP("link set tap0 address ee:ee:ee:ee:ee:01")
	actual, err := s.k.Read(t.Context(), s.host)
	must(t, err)
	ops := vrf.Plan(s.host, actual, vrf.Options{Sweep: true}).Ops
	if _, first := ops[0].(vrf.BuildFilter); !first {
		t.Fatalf("the first operation is %s", ops[0])
	}
	for k, op := range ops {
		must(t, s.k.Execute(t.Context(), []vrf.Op{op}))
		if k%stride != 0 && k != len(ops)-1 {
			continue
		}
		if _, isFilter := op.(vrf.BuildFilter); isFilter {
			s.hv.Sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
		}
		s.portA.trySend(s.v4(ipv4(vmB, internet, unix.IPPROTO_UDP, 0, udp(1, 2, "spoofed"))))
		s.portA.trySend(s.v6(ipv6(vmB6, internet6, unix.IPPROTO_UDP, udp(1, 2, "spoofed"))))
	}
	s.routes()
	if s.passes(s.v4(ipv4(vmB, internet, unix.IPPROTO_UDP, 0, udp(1, 2, "spoofed"))), "spoofed", "own") {
		t.Error("a spoofed packet passed")
	}
	want := uint64(1)
	for k := range ops {
		if k%stride == 0 || k == len(ops)-1 {
			want += 2
		}
	}
	// While the tap has no IPv6, or is bounced, the kernel drops a few itself.
	if d := s.drops(); d.Spoofed < want/2 {
		t.Errorf("%d were dropped as spoofed, of %d", d.Spoofed, want)
	}
}

// TestRelease: the interface of a guest that is no longer desired stays
// closed, also where somebody brings it up and takes it out of the group
// before it is released.
func TestRelease(t *testing.T) {
	testenv.RequireRoot(t)
	s := newStage(t, false)
	s.apply()
	released := s.host.Taps[0]
	s.host.Taps = s.host.Taps[1:]
	s.hv.IP("link set tap0 group 0")
	actual, err := s.k.Read(t.Context(), s.host)
	must(t, err)
	for _, op := range vrf.Plan(s.host, actual, vrf.Options{Sweep: true}).Ops {
		must(t, s.k.Execute(t.Context(), []vrf.Op{op}))
		s.portA.trySend(s.v4(ipv4(vmA, vmB, unix.IPPROTO_UDP, 0, udp(1, 2, "released"))))
	}
	s.wantNothingLeft()
	s.wantElements("inet", "taps", "tap1")
	s.hv.IP("link set tap0 up")
	s.portA.send(s.v4(ipv4(vmA, vmB, unix.IPPROTO_UDP, 0, udp(1, 2, "released"))))
	s.portA.send(ether(s.portA.mac, vrf.TapMAC, unix.ETH_P_ARP, arp(1, s.portA.mac, vmA, "169.254.0.1")))
	testenv.Eventually(t, "the count of what it sent", func() bool { return s.drops().Spoofed >= 2 })
	s.host.Taps = append(s.host.Taps, released)
	s.apply()
	if s.passes(s.v4(ipv4(vmA, vmB, unix.IPPROTO_UDP, 0, udp(1, 2, "again"))), "released", "own") {
		t.Error("a packet of the released guest passed")
	}
}

// TestPatterns: an interface that only looks like a guest's is closed, unless
// the host has an address on it.
func TestPatterns(t *testing.T) {
	testenv.RequireRoot(t)
	s := newStage(t, false)
	s.apply()
	s.hv.IP("link set tap0 down", "link set tap0 name vnet7", "link set vnet7 group 0", "link set vnet7 up")
	s.host.Taps = s.host.Taps[1:]
	s.apply()
	before, err := s.k.Drops(t.Context())
	must(t, err)
	s.portA.send(s.v4(ipv4(vmA, vmB, unix.IPPROTO_UDP, 0, udp(1, 2, "unnamed"))))
	counted := func() uint64 {
		d, err := s.k.Drops(t.Context())
		must(t, err)
		return d["vnet7"].Spoofed - before["vnet7"].Spoofed
	}
	testenv.Eventually(t, "the count of what it sent", func() bool { return counted() == 1 })
	s.hv.Sysctl("net.ipv4.conf.vnet7.rp_filter=0")
	s.hv.IP("addr add 198.51.100.1/24 dev vnet7")
	_, err = s.k.Apply(t.Context(), s.host, vrf.Options{Links: []string{"vnet7"}})
	must(t, err)
	s.wantElements("inet", "exempt", "lo", "u0", "vnet7")
	s.portA.send(s.v4(ipv4("198.51.100.2", vmB, unix.IPPROTO_UDP, 0, udp(1, 2, "the host's"))))
	testenv.Eventually(t, "a packet from the host's own port", func() bool { return s.portB.saw("the host's") })
	s.hv.IP("addr del 198.51.100.1/24 dev vnet7")
	_, err = s.k.Apply(t.Context(), s.host, vrf.Options{Links: []string{"vnet7"}})
	must(t, err)
	s.wantElements("inet", "exempt", "lo", "u0")
}

// TestNoFilter: what is missing is said, with the way out.
func TestNoFilter(t *testing.T) {
	for _, errno := range []error{unix.EOPNOTSUPP, unix.EINVAL, unix.EPROTONOSUPPORT} {
		if err := explainFilter(fmt.Errorf("set prefixes4: %w", errno)); !errors.Is(err, ErrNoFilter) || !strings.Contains(err.Error(), "prefixes4") {
			t.Errorf("%v is %v", errno, err)
		}
	}
	if err := explainFilter(unix.EPERM); errors.Is(err, ErrNoFilter) {
		t.Errorf("%v", err)
	}
}

// TestOutsideItsVRF: a tap that somebody takes out of its VRF doesn't put its
// guest into the host's own network, until the next plan puts it back.
func TestOutsideItsVRF(t *testing.T) {
	testenv.RequireVRF(t)
	s := newStage(t, true)
	s.apply()
	s.hv.IP("link set tap0 nomaster", "link set tap0 up", "route add 2001:db8:9::/64 via fe80::9 dev tap1")
	before := s.drops()
	s.portA.send(s.v6(ipv6(vmA6, "2001:db8:9::9", unix.IPPROTO_UDP, udp(1, 2, "outside"))))
	testenv.Eventually(t, "the count of what it sent", func() bool { return s.drops().Refused == before.Refused+1 })
	s.apply()
	if s.passes(s.v4(ipv4(vmA, vmB, unix.IPPROTO_UDP, 0, udp(1, 2, "inside"))), "outside", "own") {
		t.Error("the guest's packet left by the host's own table")
	}
}
