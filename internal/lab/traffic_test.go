package lab

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/testenv"
)

func TestOutages(t *testing.T) {
	const packets = 200
	for _, c := range []struct {
		lost   func(n int) bool
		count  int
		outage time.Duration
	}{
		{func(int) bool { return false }, 0, 0},
		{func(n int) bool { return n == 7 }, 1, 10 * time.Millisecond},
		{func(n int) bool { return n >= 10 && n < 30 }, 20, 200 * time.Millisecond},
		// Every second path is gone: one outage.
		{func(n int) bool { return n >= 10 && n < 30 && n%2 == 0 }, 10, 190 * time.Millisecond},
		// Two outages, far apart.
		{func(n int) bool { return n >= 10 && n < 30 || n >= 90 && n < 100 }, 30, 200 * time.Millisecond},
		{func(n int) bool { return n >= packets-5 }, 5, 40 * time.Millisecond}, // nothing tells when it ends
	} {
		var sent []time.Time
		var arrived []bool
		for n := range packets {
			sent = append(sent, time.Unix(0, 0).Add(time.Duration(n)*10*time.Millisecond))
			arrived = append(arrived, !c.lost(n))
		}
		if lost, outage := outages(sent, arrived); lost != c.count || outage != c.outage {
			t.Errorf("%d lost, %v; want %d, %v", lost, outage, c.count, c.outage)
		}
	}
}

// checkTraffic wants traffic to count nothing as lost while nothing happens, and what a dead link loses.
func checkTraffic(t *testing.T, l *Lab) {
	ctx := t.Context()
	var flows []Flow
	uplink := l.Topology.Uplinks(l.Topology.Hypervisors[0])[0]
	edge := l.Topology.Planes[0].Segments[0]
	flows = append(flows,
		Flow{From: "hv1", To: NodeEdge, Source: uplink.V4.Addr(), Target: edge.address4(edgeHost).Addr()}, Flow{From: NodeEdge, To: "hv1", Source: edge.address4(edgeHost).Addr(), Target: uplink.V4.Addr()},
		Flow{From: "hv1", To: NodeEdge, Source: uplink.V6.Addr(), Target: edge.address6(edgeHost).Addr()}, Flow{From: NodeEdge, To: "hv1", Source: edge.address6(edgeHost).Addr(), Target: uplink.V6.Addr()})
	start := func() *Traffic {
		traffic, err := l.StartTraffic(5*time.Millisecond, flows...)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the traffic to flow", 10*time.Second, traffic.Flows)
		return traffic
	}
	for _, loss := range start().Stop(ctx) {
		if loss.Lost != 0 || loss.Sent < 2*flowPorts || loss.Outage != 0 {
			t.Errorf("%s: %s", loss.Flow, loss)
		}
	}
	traffic := start()
	if err := l.SilencePlane(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "losses", 10*time.Second, func() error {
		if traffic.Flows() == nil {
			return fmt.Errorf("none")
		}
		return nil
	})
	if err := l.RestoreSilence(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the traffic to flow again", 10*time.Second, traffic.Flows)
	for _, loss := range traffic.Stop(ctx) {
		if loss.Lost == 0 || loss.Lost >= loss.Sent || loss.Outage <= 0 {
			t.Errorf("%s: %s", loss.Flow, loss)
		}
	}
}

// A receiver that isn't run for a while must miss nothing that arrived.
func TestReceiverThatWaits(t *testing.T) {
	testenv.RequireRoot(t) // for a buffer beyond the limit
	receiver, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	if err := patient(receiver); err != nil {
		t.Fatal(err)
	}
	sender, err := net.DialUDP("udp", nil, receiver.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	const packets = 3000 // half a minute of a flow; the kernel's default holds less than 300
	for range packets {
		if _, err := sender.Write(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
	}
	if err := receiver.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 64)
	for n := range packets {
		if _, err := receiver.Read(buffer); err != nil {
			t.Fatalf("%d of %d arrived: %v", n, packets, err)
		}
	}
}
