package lab

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMobileGuest moves a guest between two hypervisors that Linux alone makes routers, and wants its connection to live.
func TestMobileGuest(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	l := testLabOf(t, Reference().WithMobile("vm1"))
	for _, h := range l.Topology.Hypervisors[:2] {
		uplink := l.Topology.Uplinks(h)[0]
		var b batch
		b.add("addr add %s dev %s", uplink.V4, uplink.Interface)
		b.add("link set %s up", uplink.Interface)
		if err := errors.Join(b.run(ctx, l.Topology.Namespace(h.Name)), sysctl(l.Topology.Namespace(h.Name), "net.ipv4.ip_forward=1")); err != nil {
			t.Fatal(err)
		}
	}
	serve := func(hv string) {
		t.Helper()
		h, err := l.Topology.Hypervisor(hv)
		if err != nil {
			t.Fatal(err)
		}
		var tap, edge batch
		tap.add("link set tap1 address ee:ee:ee:ee:ee:01 up")
		tap.add("addr add 203.0.113.1/24 dev tap1")
		edge.add("route replace 203.0.113.11 via %s", l.Topology.Uplinks(h)[0].V4.Addr())
		if err := errors.Join(tap.run(ctx, l.Topology.Namespace(hv)), edge.run(ctx, l.Topology.Namespace(NodeEdge))); err != nil {
			t.Fatal(err)
		}
	}
	serve("hv1")
	if err := l.Configure(ctx, "vm1"); err != nil {
		t.Fatal(err)
	}
	talk := Flow{From: "vm1", To: NodeEdge, Source: l.Topology.Guests[0].Interfaces[0].V4, Target: l.Topology.Planes[0].Segments[0].address4(edgeHost).Addr()}
	c, err := l.StartConversation(ctx, talk)
	if err != nil {
		t.Fatal(err)
	}
	back := Flow{From: talk.To, To: talk.From, Source: talk.Target, Target: talk.Source}
	traffic, err := l.StartTraffic(2*time.Millisecond, talk, back)
	if err != nil {
		t.Fatal(err)
	}
	carriers := carrierChanges(t, l)
	to := "hv2"
	for range 4 {
		checkMobile(t, l, traffic, c, to, serve)
		to = map[string]string{"hv1": "hv2", "hv2": "hv1"}[to]
	}
	if now := carrierChanges(t, l); now != carriers {
		t.Errorf("the guest saw its carrier change: %s → %s times", carriers, now)
	}
	traffic.Stop(ctx)
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
}

func carrierChanges(t *testing.T, l *Lab) string {
	t.Helper()
	out, err := l.Exec(t.Context(), "vm1", "cat", "/sys/class/net/eth0/carrier_changes")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// checkMobile wants packets to be lost while the guest is paused and none otherwise, and its announcement to be seen.
func checkMobile(t *testing.T, l *Lab, traffic *Traffic, c *Conversation, to string, serve func(string)) {
	t.Helper()
	ctx := t.Context()
	from, err := l.HomeOf(ctx, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the traffic to flow", 10*time.Second, traffic.Flows)
	first := traffic.Sent()
	if err := errors.Join(l.AddTaps(ctx, "vm1", to), l.Pause("vm1"), l.Pause("vm1")); err != nil { // twice is once
		t.Fatal(err)
	}
	serve(to)
	eventually(t, "losses while it is paused", 10*time.Second, func() error {
		for _, loss := range traffic.Since(first) {
			if loss.Lost == 0 {
				return errors.New("there are none")
			}
		}
		return nil
	})
	seen := map[Announcement]*Watch{}
	for kind, protocol := range map[Announcement]int{RARP: unix.ETH_P_RARP, GARP: unix.ETH_P_ARP} {
		if seen[kind], err = l.Watch(to, "tap1", func(f []byte) bool {
			return int(f[12])<<8|int(f[13]) == protocol && f[0] == 0xff && f[6] == 2 && f[10] == 1
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Resume("vm1", to), l.Announce("vm1", to, RARP), l.Announce("vm1", to, GARP)); err != nil {
		t.Fatal(err)
	}
	for kind, w := range seen {
		eventually(t, "the "+string(kind), 10*time.Second, func() error {
			if n, _ := w.Seen(); n == 0 {
				return ErrNoAnswer
			}
			return nil
		})
		if _, _, err := w.Stop(); err != nil {
			t.Error(err)
		}
	}
	if err := l.RemoveTaps(ctx, "vm1", from); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the traffic to flow again", 10*time.Second, traffic.Flows)
	if err := c.Alive(ctx); err != nil {
		t.Fatal(err)
	}
	for _, loss := range traffic.Since(first) {
		if loss.Lost == 0 || loss.Lost == loss.Sent || loss.Outage == 0 {
			t.Errorf("%s: %s", loss.Flow, loss)
		}
	}
}

// TestICMPErrors has a node be told that a port is unreachable.
func TestICMPErrors(t *testing.T) {
	counts := map[string]int{}
	readSNMP("Ip: Forwarding DefaultTTL\nIp: 1 64\nIcmp: InMsgs InDestUnreachs OutTimeExcds\nIcmp: 7 3 2\n", counts)
	readSNMP6("Ip6InReceives 5\nIcmp6InDestUnreachs             4\n", counts)
	for name, want := range map[string]int{"IpForwarding": 1, "IcmpInMsgs": 7, "IcmpInDestUnreachs": 3, "IcmpOutTimeExcds": 2, "Icmp6InDestUnreachs": 4} {
		if counts[name] != want {
			t.Errorf("%s is %d, want %d", name, counts[name], want)
		}
	}
}
