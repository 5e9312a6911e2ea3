package kernel

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// TestWatchDoesNotTellOfOwnNeighbours: who writes a neighbour is not to look after the
// tap again because of that. What others do to the same ones is told.
func TestWatchDoesNotTellOfOwnNeighbours(t *testing.T) {
	testenv.RequireRoot(t)
	k := newTarget(t, Options{})
	k.AddLink("tap0")
	k.ip("link", "set", "tap0", "up")
	var log noticeLog
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Watch(ctx, Options{NetNS: k.Kernel.ns, Writer: k.Kernel}, nil, log.add) }()
	log.wait(t, "the first notice", func(n Notice) bool { return n.Resync })
	about := func(n Notice) bool { return slices.Contains(n.Neighbours, "tap0") }
	write := func(ops ...vrf.Op) {
		t.Helper()
		if err := k.Kernel.Execute(ctx, ops); err != nil {
			t.Fatal(err)
		}
	}
	a := netip.MustParseAddr("10.0.0.1")
	set := vrf.SetNeighbour{Neighbour: vrf.InstalledNeighbour{Link: "tap0", Address: a, MAC: [6]byte{2, 0, 0, 0, 0, 1}}}
	log.clear()
	write(set, set)
	k.ip("rule", "add", "pref", "7", "lookup", "77") // told after all of that
	log.wait(t, "a rule", func(n Notice) bool { return n.Rules })
	if log.has(about) {
		t.Error("own neighbours are told of")
	}
	log.clear()
	write(vrf.DeleteNeighbour{Link: "tap0", Address: a}, set, vrf.DeleteNeighbour{Link: "tap0", Address: a})
	k.ip("rule", "add", "pref", "8", "lookup", "77")
	log.wait(t, "another rule", func(n Notice) bool { return n.Rules })
	if log.has(about) {
		t.Error("own deletions of neighbours are told of")
	}
	log.clear()
	write(set)
	k.ip("neigh", "del", "10.0.0.1", "dev", "tap0")
	log.wait(t, "the neighbour that somebody deleted", about)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func (l *noticeLog) has(seen func(Notice) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.list, seen)
}

// TestWatchDoesNotTellOfOwnNextHops: who drops a next hop is not to read them all
// because of that, which a table that is being told would never come to the end of.
func TestWatchDoesNotTellOfOwnNextHops(t *testing.T) {
	testenv.RequireRoot(t)
	k := newTarget(t, Options{})
	port := uplinkFor(t, k)
	var log noticeLog
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Watch(ctx, Options{NetNS: k.Kernel.ns, Writer: k.Kernel}, nil, log.add) }()
	log.wait(t, "the first notice", func(n Notice) bool { return n.Resync })
	log.clear()
	o := vrf.NextHopObject{ID: 2010100001, Protocol: vrf.Protocol, Hop: vrf.Hop{Gateway: netip.MustParseAddr("100.64.1.2"), Port: port}}
	group := vrf.NextHopObject{ID: 2010150001, Protocol: vrf.Protocol, Group: []uint32{o.ID}}
	ops := []vrf.NextHopOp{{Object: o}, {Object: group}, {Object: group, Delete: true}, {Object: o, Delete: true}}
	must(t, k.WriteNextHops(ctx, ops, func(i int, err error) { t.Errorf("%v: %v", ops[i], err) }))
	k.ip("rule", "add", "pref", "7", "lookup", "77") // told after all of that
	log.wait(t, "a rule", func(n Notice) bool { return n.Rules })
	if log.has(func(n Notice) bool { return n.NextHops }) {
		t.Error("own next hops are told of")
	}
	cancel()
	must(t, <-ended)
}
