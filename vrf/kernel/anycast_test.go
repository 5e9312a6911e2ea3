package kernel

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// flows is how many flows go to the anycast address, each from a port of its own.
const flows = 1200

// path is where a flow arrives: a member of the anycast address, over a plane.
type path struct{ member, plane byte }

// spread is a hypervisor whose guest talks to an anycast address. The members
// are MAC addresses on the ends of the cables, so that nothing but what is
// tested decides.
type spread struct {
	t      *testing.T
	v6     bool
	hv     *testenv.Netns
	guest  *port
	planes [2]*port
	to     [6]byte // the hypervisor's, for the guest
	prefix netip.Prefix
	host   vrf.Host
	fib    *FIB
	hops   []vrf.NextHop // learned
	round  int           // of packets, so that one that is late is not taken for a new one
}

func newSpread(t *testing.T, v6 bool, r vrf.Resilience) *spread {
	s := &spread{t: t, v6: v6, hv: testenv.NewNetns(t), prefix: netip.MustParsePrefix("192.0.2.1/32")}
	family := "-4"
	if v6 {
		family, s.prefix = "-6", netip.MustParsePrefix("2001:db8::1/128")
	}
	guest, fabric := testenv.NewNetns(t), testenv.NewNetns(t)
	for _, ns := range []*testenv.Netns{s.hv, guest, fabric} {
		ns.Sysctl("net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.router_solicitations=0")
	}
	s.hv.Sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.fib_multipath_hash_policy=1",
		"net.ipv6.fib_multipath_hash_policy=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")
	testenv.Veth(s.hv, "g0", guest, "eth0")
	s.hv.Run("ip", family, "rule", "add", "iif", "g0", "lookup", "90")
	s.hv.IP("addr add 192.168.0.1/24 dev g0", "addr add fd65::1/64 dev g0")
	s.host.VRFs = []vrf.VRF{{Name: "public", Table: 90, NoDevice: true}}
	for plane := range s.planes {
		name, end := fmt.Sprintf("u%d", plane), fmt.Sprintf("e%d", plane)
		testenv.Veth(s.hv, name, fabric, end)
		lines := []string{fmt.Sprintf("addr add %s/24 dev %s", s.gateway(1, byte(plane), false), name), fmt.Sprintf("addr add %s/64 dev %s", s.gateway(1, byte(plane), true), name)}
		for member := range byte(9) {
			lines = append(lines, fmt.Sprintf("neigh add %s lladdr 02:00:00:aa:%02x:%02x dev %s nud permanent", s.gateway(member+2, byte(plane), v6), plane, member+2, name))
		}
		s.hv.IP(lines...)
		s.planes[plane] = openPort(t, fabric, end)
		s.host.Uplinks = append(s.host.Uplinks, vrf.Uplink{Name: name, VRF: "public", Plane: end})
	}
	s.guest = openPort(t, guest, "eth0")
	s.to = openPort(t, s.hv, "g0").mac
	s.start(r)
	return s
}

// start makes a FIB, as a restarted agent does.
func (s *spread) start(r vrf.Resilience) {
	s.fib = NewFIB(Options{NetNS: s.hv.FD(), Resilience: r}, s.host.VRFs, s.host.Uplinks)
	s.t.Cleanup(func() { must(s.t, s.fib.Close()) })
	_, err := s.fib.Adopt(s.t.Context())
	must(s.t, err)
}

func (s *spread) gateway(member, plane byte, v6 bool) netip.Addr {
	if v6 {
		return netip.MustParseAddr(fmt.Sprintf("fd64:%d::%d", plane, member))
	}
	return netip.AddrFrom4([4]byte{100, 64, plane, member})
}

// learn applies these members over both planes.
func (s *spread) learn(members ...byte) {
	s.t.Helper()
	s.learnOver([]byte{0, 1}, members...)
}

func (s *spread) learnOver(planes []byte, members ...byte) {
	s.t.Helper()
	s.hops = nil
	for _, plane := range planes {
		for _, m := range members {
			s.hops = append(s.hops, vrf.NextHop{Gateway: s.gateway(m, plane, s.v6), Uplink: fmt.Sprintf("u%d", plane)})
		}
	}
	s.apply()
}

func (s *spread) apply() {
	s.t.Helper()
	change := vrf.Change{Prefix: s.prefix, NextHops: slices.Clone(s.hops)}
	must(s.t, s.fib.Apply(s.t.Context(), "public", []vrf.Change{change}))
	must(s.t, s.fib.Repair(s.t.Context()))
}

// send sends a packet of every flow and tells where each arrived. It sends a few
// at a time, since the sockets that listen hold no more, and again what was lost.
func (s *spread) send() map[uint16]path {
	s.t.Helper()
	s.planes[0].forget()
	s.planes[1].forget()
	s.round++
	paths := map[uint16]path{}
	testenv.Eventually(s.t, "a packet of every flow to arrive", func() bool {
		const atOnce = 150
		sent := 0
		for i := uint16(0); i < flows && sent < atOnce; i++ {
			if _, ok := paths[firstPort+i]; !ok {
				s.guest.send(s.packet(firstPort + i))
				sent++
			}
		}
		s.planes[0].arrived(paths, 0, s.payload())
		s.planes[1].arrived(paths, 1, s.payload())
		return len(paths) == flows
	})
	return paths
}

const firstPort = 10000

func (s *spread) packet(from uint16) []byte {
	payload := udp(from, 53, s.payload())
	if s.v6 {
		return ether(s.guest.mac, s.to, 0x86dd, ipv6("fd65::2", "2001:db8::1", 17, payload))
	}
	return ether(s.guest.mac, s.to, 0x0800, ipv4("192.168.0.2", "192.0.2.1", 17, 0, payload))
}

func (s *spread) payload() string { return fmt.Sprintf("flow%04d", s.round) }

// arrived books the flows that were seen on a plane.
func (p *port) arrived(paths map[uint16]path, plane byte, payload string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.seen {
		if strings.HasSuffix(f, payload) && f[3] == 0xaa {
			at := len(f) - len(payload) - 8
			paths[binary.BigEndian.Uint16([]byte(f[at:]))] = path{f[5], plane}
		}
	}
}

// shares counts the flows of each member, which must be these and have about as
// many each: five standard deviations of a share drawn at random at most.
func (s *spread) shares(paths map[uint16]path, members ...byte) {
	s.t.Helper()
	count := map[byte]int{}
	for _, p := range paths {
		count[p.member]++
	}
	s.t.Logf("flows of each member: %v", count)
	even := flows / len(members)
	deviation := isqrt(even)
	for _, m := range members {
		if count[m] < even-5*deviation || count[m] > even+5*deviation {
			s.t.Errorf("member %d has %d of %d flows, of %d members: %v", m, count[m], flows, len(members), count)
		}
	}
	if len(count) != len(members) {
		s.t.Errorf("flows went to %v, want members %v", count, members)
	}
}

func isqrt(n int) int {
	r := 0
	for (r+1)*(r+1) <= n {
		r++
	}
	return r
}

// stayed checks that no flow moved but those for which that was right.
func (s *spread) stayed(what string, before, after map[uint16]path, right func(from, to path) bool) {
	s.t.Helper()
	moved, wrong := 0, 0
	for flow, from := range before {
		if to := after[flow]; to != from {
			moved++
			if !right(from, to) {
				wrong++
			}
		}
	}
	s.t.Logf("%s: %d of %d flows moved", what, moved, flows)
	if wrong > 0 {
		s.t.Errorf("%s: %d of %d flows moved, and %d of these should not have", what, moved, flows, wrong)
	}
}

// balanced waits until the members' buckets are equally many, give or take one.
func (s *spread) balanced(members int, meanwhile func()) {
	s.t.Helper()
	testenv.Eventually(s.t, "the buckets to be spread evenly", func() bool {
		meanwhile()
		count := map[string]int{}
		for line := range strings.Lines(s.hv.Run("ip", "nexthop", "bucket", "show")) {
			_, id, _ := strings.Cut(line, " nhid ")
			count[strings.TrimSpace(id)]++
		}
		var counts []int
		for _, n := range count {
			counts = append(counts, n)
		}
		return len(counts) == 2*members && slices.Max(counts)-slices.Min(counts) <= 1
	})
}

// quiet waits until no bucket has had a packet for so many milliseconds.
func (s *spread) quiet(ms int) {
	s.t.Helper()
	testenv.Eventually(s.t, "the buckets to be idle", func() bool {
		var list []struct {
			Bucket struct {
				Idle float64 `json:"idle_time"`
			} `json:"bucket"`
		}
		must(s.t, json.Unmarshal([]byte(s.hv.Run("ip", "-j", "nexthop", "bucket", "show")), &list))
		for _, b := range list {
			if b.Bucket.Idle*1000 <= float64(ms) {
				return false
			}
		}
		return len(list) == 240
	})
}

func eachFamily(t *testing.T, test func(*testing.T, bool)) {
	testenv.RequireRoot(t)
	for name, v6 := range map[string]bool{"IPv4": false, "IPv6": true} {
		t.Run(name, func(t *testing.T) { test(t, v6) })
	}
}

// TestAnycastMemberLeaves: of the flows to an anycast address only those of the
// member that left move, also over a restart; and when a plane is lost and
// comes back, all stay with their member.
func TestAnycastMemberLeaves(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		s := newSpread(t, v6, vrf.DefaultResilience)
		s.learn(2, 3, 4, 5)
		before := s.send()
		s.shares(before, 2, 3, 4, 5)
		s.stayed("nothing happens", before, s.send(), func(path, path) bool { return false })
		s.learn(2, 3, 5)
		after := s.send()
		s.stayed("member 4 left", before, after, func(from, to path) bool { return from.member == 4 && to.member != 4 })
		s.shares(after, 2, 3, 5)
		s.start(vrf.DefaultResilience)
		s.learn(2, 3)
		before, after = after, s.send()
		s.stayed("member 5 left during a restart", before, after, func(from, to path) bool { return from.member == 5 && to.member != 5 })
		s.shares(after, 2, 3)
		must(t, s.fib.UplinkChanged(t.Context(), "u0", false))
		before, after = after, s.send()
		s.stayed("plane 0 is lost", before, after, func(from, to path) bool { return from.plane == 0 && to == path{from.member, 1} })
		must(t, s.fib.UplinkChanged(t.Context(), "u0", true))
		s.stayed("plane 0 is back", before, s.send(), func(path, path) bool { return false })
	})
}

// TestAnycastPlaneWithdrawn: the loss of a plane, of all members or of one, as
// BGP tells it moves flows to the same member's other plane, and shares stay.
func TestAnycastPlaneWithdrawn(t *testing.T) {
	same := func(from, to path) bool { return from.member == to.member }
	eachFamily(t, func(t *testing.T, v6 bool) {
		s := newSpread(t, v6, vrf.Resilience{Buckets: 240, Idle: 300 * time.Millisecond, Unbalanced: time.Hour})
		s.learn(2, 3, 4)
		before := s.send()
		must(t, s.fib.UplinkChanged(t.Context(), "u0", false))
		s.learnOver([]byte{1}, 2, 3, 4)
		after := s.send()
		s.stayed("plane 0 is lost and withdrawn", before, after, func(from, to path) bool { return to == path{from.member, 1} })
		must(t, s.fib.UplinkChanged(t.Context(), "u0", true))
		s.quiet(300)
		s.learn(2, 3, 4)
		s.balanced(3, func() {})
		before, after = after, s.send()
		s.stayed("plane 0 is back", before, after, same)
		s.hops = slices.DeleteFunc(s.hops, func(h vrf.NextHop) bool { return h == vrf.NextHop{Gateway: s.gateway(3, 0, v6), Uplink: "u0"} })
		s.apply()
		before, after = after, s.send()
		s.stayed("member 3 lost plane 0", before, after, func(from, to path) bool { return from == path{3, 0} && to == path{3, 1} })
		s.shares(after, 2, 3, 4)
	})
}

// TestAnycastMemberJoins: it gets the buckets that are idle for a while, and
// where all are busy its share after a time; no other flow moves for it.
func TestAnycastMemberJoins(t *testing.T) {
	joined := func(_, to path) bool { return to.member == 6 }
	eachFamily(t, func(t *testing.T, v6 bool) {
		idle := newSpread(t, v6, vrf.Resilience{Buckets: 240, Idle: 400 * time.Millisecond, Unbalanced: time.Hour})
		idle.learn(2, 3, 4)
		before := idle.send()
		idle.learn(2, 3, 4, 6)
		idle.balanced(4, func() {})
		after := idle.send()
		idle.stayed("member 6 joined, and nobody talked", before, after, joined)
		idle.shares(after, 2, 3, 4, 6)

		busy := newSpread(t, v6, vrf.Resilience{Buckets: 240, Idle: time.Hour, Unbalanced: 400 * time.Millisecond})
		busy.learn(2, 3, 4)
		before = busy.send()
		busy.learn(2, 3, 4, 6)
		busy.balanced(4, func() { after = busy.send() })
		after = busy.send()
		busy.stayed("member 6 joined, and all talked", before, after, joined)
		busy.shares(after, 2, 3, 4, 6)
	})
}
