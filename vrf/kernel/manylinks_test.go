package kernel

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// TestManyLinksAreReadAtOnce: for an address or a neighbour of one link the kernel
// may go through those of all, so beyond a few links the number of dumps doesn't
// grow with them, and what is found is the same as one by one.
func TestManyLinksAreReadAtOnce(t *testing.T) {
	testenv.RequireRoot(t)
	k := newTarget(t, Options{})
	host := vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 90, NoDevice: true}}}
	var links []string
	for i := range 4 * manyLinks {
		name := fmt.Sprintf("tap%d", i)
		k.AddLink(name)
		a := netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
		links = append(links, name)
		host.Taps = append(host.Taps, vrf.Tap{
			Name: name, VRF: "public", MAC: [6]byte{2, 5: byte(i)}, Gateways: []netip.Addr{netip.MustParseAddr("169.254.0.1")},
			Sources: []netip.Prefix{netip.PrefixFrom(a, 32)}, Routes: []vrf.Route{{Prefix: netip.PrefixFrom(a, 32)}},
			Neighbours: []vrf.Neighbour{{Address: a, MAC: [6]byte{2, 5: byte(i)}}},
		})
	}
	_, err := k.Apply(t.Context(), host, vrf.Options{Sweep: true})
	must(t, err)
	requests := func(links []string) (n int) {
		before := k.Kernel.socket.seq
		part, actual, err := k.Kernel.readLinks(t.Context(), host, links, nil)
		must(t, err)
		n = int(k.Kernel.socket.seq - before)
		if len(actual.Links) != len(links) || len(actual.Addresses) != 2*len(links) || len(actual.Neighbours) != len(links) {
			t.Errorf("%d links have %d addresses and %d neighbours", len(actual.Links), len(actual.Addresses), len(actual.Neighbours))
		}
		if plan := vrf.Plan(part, actual, vrf.Options{Sweep: true, Links: links}); len(plan.Ops) != len(links) || len(plan.Problems) > 0 {
			t.Errorf("a plan for %d links has %d operations, and should have the routes: %v", len(links), len(plan.Ops), plan.Ops)
		}
		return n
	}
	if one, few := requests(links[:1]), requests(links[:manyLinks]); few != manyLinks*one {
		t.Errorf("%d links take %d requests, one takes %d", manyLinks, few, one)
	}
	if some, all := requests(links[:2*manyLinks]), requests(links); some != all || all > 4 {
		t.Errorf("%d links take %d dumps, %d take %d", 2*manyLinks, some, len(links), all)
	}
}
