package kernel

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// TestFloor: no flow takes the floor of a group while another member works; where
// none does, guests are told; and what was flushed never was.
func TestFloor(t *testing.T) {
	testenv.RequireRoot(t)
	s := newStage(t, false)
	testenv.Veth(s.hv, "f0", s.edge, "below")
	below := openPort(t, s.edge, "below")
	s.floor("f0", func(f *FIB) {
		// That shows that the rest would find a flow that goes astray.
		s.hv.IP("neigh replace 192.0.0.8 dev f0 lladdr 02:00:00:00:00:01 nud permanent")
		s.flows("astray", func(int) {})
		testenv.Eventually(t, "a flow that takes the floor", func() bool { return below.saw("astray") })
		must(t, f.Repair(t.Context()))
		below.forget()
	})
	if below.saw("flow ") {
		t.Error("a flow took the floor")
	}
}

func TestFloorVRF(t *testing.T) {
	testenv.RequireVRF(t)
	newStage(t, true).floor("", func(*FIB) {})
}

const manyFlows = 2000 // the floor's share is one in 256

// flows sends a packet in each of many flows, with a text that has its number, and
// calls after from time to time, since what listens holds some hundreds of packets.
func (s *stage) flows(text string, after func(sent int)) {
	s.t.Helper()
	for i := range manyFlows {
		s.portA.send(s.v4(ipv4(vmA, internet, unix.IPPROTO_UDP, 0, udp(uint16(1000+i), 2000, fmt.Sprintf("%s %04d.", text, i)))))
		if sent := i + 1; sent%100 == 0 {
			after(sent)
		}
	}
}

// wantFlows wants all to arrive.
func (s *stage) wantFlows(text string) {
	s.t.Helper()
	s.portEdge.forget()
	s.flows(text, func(sent int) {
		testenv.Eventually(s.t, "all of "+text, func() bool { return s.portEdge.count(text+" ") == sent })
	})
}

// count counts UDP packets: what the edge's own stack answers holds their texts, too.
func (p *port) count(text string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.seen {
		if f[23] == unix.IPPROTO_UDP && strings.Contains(f, text) {
			n++
		}
	}
	return n
}

func (s *stage) floor(link string, damage func(*FIB)) {
	t := s.t
	s.apply()
	s.hv.Sysctl("net.ipv4.fib_multipath_hash_policy=1")
	f := NewFIB(Options{NetNS: s.hv.FD()}, s.host.VRFs, s.host.Uplinks)
	t.Cleanup(func() { must(t, f.Close()) })
	if link != "" {
		f.fib.SetFloor("public", link)
	}
	learned := vrf.Change{Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHops: []vrf.NextHop{{Gateway: netip.MustParseAddr("100.64.0.2"), Uplink: "u0"}}}
	must(t, f.Apply(t.Context(), "public", []vrf.Change{learned}))
	s.wantFlows("flow a")
	damage(f)
	s.wantFlows("flow b")

	s.hv.IP("link set u0 down")
	testenv.Eventually(t, "the loss of the next hop", func() bool { return s.hv.Run("ip", "nexthop", "show", "dev", "u0") == "" })
	s.portA.send(s.v4(ipv4(vmA, internet, unix.IPPROTO_UDP, 0, udp(1000, 2000, "nobody there"))))
	testenv.Eventually(t, "ICMP's host unreachable", func() bool { return s.portA.saw("nobody there") })
	must(t, f.Repair(t.Context()))
	if !strings.Contains(s.hv.Run("ip", "route", "show", "table", "90", "proto", "201"), "192.0.2.0/24") {
		t.Error("the route went with the link")
	}
	s.hv.IP("link set u0 up")
	s.apply()
	must(t, f.Repair(t.Context()))
	s.wantFlows("flow c")
}

// TestWatchFloor: who takes the floor's neighbour entry away, or says that somebody
// answers there, is noticed; what we write ourselves is not.
func TestWatchFloor(t *testing.T) {
	testenv.RequireRoot(t)
	s := newStage(t, false)
	testenv.Veth(s.hv, "f0", s.edge, "below")
	var log noticeLog
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Watch(ctx, Options{NetNS: s.hv.FD()}, []uint32{90}, log.add) }()
	t.Cleanup(func() { cancel(); must(t, <-ended) })
	log.wait(t, "the first notice", func(n Notice) bool { return n.Resync })
	log.clear()
	socket, err := dial(s.hv.FD())
	must(t, err)
	defer socket.close()
	var link *net.Interface
	must(t, s.hv.Do(func() (err error) { link, err = net.InterfaceByName("f0"); return err }))
	hop := vrf.Hop{Gateway: netip.MustParseAddr("192.0.0.8"), Port: link.Index}
	is := func(want bool) {
		t.Helper()
		if got, err := socket.dead(context.Background(), hop); err != nil || got != want {
			t.Fatalf("known not to answer: %v %v, want %v", got, err, want)
		}
	}
	is(false)
	must(t, socket.bury(hop))
	is(true)
	s.hv.IP("neigh replace 192.0.0.8 dev f0 lladdr 02:00:00:00:00:01 nud reachable")
	log.wait(t, "somebody who answers", func(n Notice) bool { return n.NextHops })
	is(false)
	must(t, socket.bury(hop))
	is(true)
	log.clear()
	s.hv.IP("neigh del 192.0.0.8 dev f0")
	log.wait(t, "the entry's end", func(n Notice) bool { return n.NextHops })
	is(false)
}
