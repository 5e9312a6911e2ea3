package scenarios

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
)

func TestGaps(t *testing.T) {
	g := newGaps()
	for n := range 5 {
		outage := time.Duration(100+10*n) * time.Millisecond
		g.add("the internet", 4, "to it", lab.FlowLoss{Outage: outage, Lost: 1})
		g.add("a guest on the old host", 4, "to it", lab.FlowLoss{Outage: outage + time.Second, Lost: 2})
	}
	if median, worst := spread(g.all["the internet"]["IPv4 to it"]); median != 120*time.Millisecond || worst != 140*time.Millisecond {
		t.Errorf("median %v, worst %v", median, worst)
	}
	if g.lost != 15 || len(g.column("IPv4 to it")) != 10 || len(g.column("IPv6 to it")) != 0 {
		t.Errorf("%d lost, %d gaps", g.lost, len(g.column("IPv4 to it")))
	}
	if table := g.table(); !strings.Contains(table, "the internet             120 / 140") {
		t.Errorf("the table is\n%s", table)
	}
	worst := func(l []time.Duration) time.Duration { _, w := spread(l); return w }
	if err := g.within(1139*time.Millisecond, worst); err == nil {
		t.Error("1140 ms are within 1139 ms")
	}
	if err := g.within(1140*time.Millisecond, worst); err != nil {
		t.Error(err)
	}
}

func TestFair(t *testing.T) {
	parts := map[string]float64{"a": .5, "b": .5}
	flows := func(a, b, lost int) []string {
		var at []string
		for member, n := range map[string]int{"a": a, "b": b, "": lost} {
			for range n {
				at = append(at, member)
			}
		}
		return at
	}
	for _, c := range []struct {
		a, b, lost int
		fair       bool
	}{{300, 300, 0, true}, {350, 250, 0, true}, {370, 230, 0, false}, {600, 0, 0, false}, {300, 299, 1, false}} {
		if err := fair(flows(c.a, c.b, c.lost), parts); (err == nil) != c.fair {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestStrayed(t *testing.T) {
	own, others, all := strayed([]string{"a", "b", "a", "b"}, []string{"a", "a", "c", "a"}, "b")
	if own != 2 || others != 1 || all != 2 {
		t.Errorf("%d of its own, %d of %d others", own, others, all)
	}
}

func TestGatewaysOf(t *testing.T) {
	h := kernelNextHop{ID: 3}
	h.Group = append(h.Group, kernelMember{1})
	hops := map[uint32]kernelNextHop{1: {ID: 1, Gateway: netip.MustParseAddr("100.64.0.11").String()}, 3: h}
	if via := gatewaysOf(kernelRoute{NextHopID: 3}, hops); len(via) != 1 || via[0] != "100.64.0.11" {
		t.Errorf("by a group: %v", via)
	}
	if via := gatewaysOf(kernelRoute{NextHopID: 1}, hops); len(via) != 1 {
		t.Errorf("by a next hop: %v", via)
	}
	if via := gatewaysOf(kernelRoute{}, hops); len(via) != 0 {
		t.Errorf("by nothing: %v", via)
	}
}
