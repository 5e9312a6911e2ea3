package kernel

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// TestDamagedNextHops: what somebody does to a member, a group or all next hops is
// told, and a repair brings them back with the routes that went with them.
func TestDamagedNextHops(t *testing.T) {
	testenv.RequireRoot(t)
	k := newWatchedTarget(t)
	fib := NewFIB(Options{NetNS: k.Kernel.ns}, k.host.VRFs, k.host.Uplinks)
	defer fib.Close()
	must(t, fib.Apply(t.Context(), "public", learnedOn(0)))
	k.ip("link", "set", "lo", "up")
	k.ip("nexthop", "add", "id", "2010077777", "blackhole", "proto", "99")
	state, err := k.State(t.Context(), nil)
	must(t, err)
	find := func(resilient bool) vrf.NextHopObject {
		return state.NextHops[slices.IndexFunc(state.NextHops, func(o vrf.NextHopObject) bool {
			return len(o.Group) > 0 && o.Resilience.Buckets > 0 == resilient
		})]
	}
	group, own := find(false), find(true)
	other := own.Group[slices.IndexFunc(own.Group, func(id uint32) bool { return id != group.Group[0] })]
	member := state.NextHops[slices.IndexFunc(state.NextHops, func(o vrf.NextHopObject) bool { return o.ID == group.Group[0] })]
	dev := k.ip("nexthop", "get", "id", fmt.Sprint(member.ID))
	_, dev, _ = strings.Cut(dev, " dev ")
	dev, _, _ = strings.Cut(dev, " ")
	show := func() string {
		return k.ip("nexthop", "show") + k.ip("-4", "route", "show", "table", "90") + k.ip("-6", "route", "show", "table", "90")
	}
	before := show()
	for _, c := range []struct{ what, command string }{
		{"a changed member", fmt.Sprintf("nexthop replace id %d via %s dev %s proto 201", member.ID, member.Hop.Gateway.Next(), dev)},
		{"a changed group", fmt.Sprintf("nexthop replace id %d group %d proto 201", group.ID, other)},
		{"a changed group of a prefix's own", fmt.Sprintf("nexthop replace id %d group %d type resilient buckets 240 idle_timer 3 proto 201", own.ID, own.Group[0])},
		{"a deleted group of a prefix's own", fmt.Sprintf("nexthop del id %d", own.ID)},
		{"a deleted member", fmt.Sprintf("nexthop del id %d", member.ID)},
		{"a deleted group", fmt.Sprintf("nexthop del id %d", group.ID)},
		{"all of ours flushed", "nexthop flush proto 201"},
	} {
		k.log.clear()
		k.ip(strings.Fields(c.command)...)
		if show() == before {
			t.Fatalf("%s isn't seen", c.what)
		}
		k.log.wait(t, c.what, func(n Notice) bool { return n.NextHops })
		must(t, fib.Repair(t.Context()))
		if after := show(); after != before {
			t.Errorf("%s: the kernel has\n%s\nand had\n%s", c.what, after, before)
		}
	}
}
