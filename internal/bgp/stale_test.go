package bgp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
)

// told applies a path for 203.0.113.7/32 from a source.
func told(t *testing.T, r *RIB, source int, hop string, preference uint32, communities ...uint32) {
	t.Helper()
	m := new(message).attr(0x40, attrOrigin, 0).attr(0x40, attrASPath).hop(hop)
	m.attr(0x40, attrLocalPref, binary.BigEndian.AppendUint32(nil, preference)...)
	var list []byte
	for _, c := range communities {
		list = binary.BigEndian.AppendUint32(list, c)
	}
	if len(list) > 0 {
		m.attr(0xc0, attrCommunities, list...)
	}
	m.nlri = wire(-1, "203.0.113.7/32")
	r.Update(source, mustDecode(t, decoder(false), m.bytes()))
}

// hops gives what the route goes through after all changes were taken.
func hops(r *RIB) (list []string) {
	r.AppendChanges(nil, 1<<10)
	route, _ := r.Lookup(netip.MustParsePrefix("203.0.113.7/32"))
	for _, h := range route.NextHops {
		list = append(list, h.Gateway.String())
	}
	return list
}

// TestStalePathsAreTheLastResort walks through what happens to a prefix with a
// path from each of three sessions: 100.64.0.2, .3 and .4.
func TestStalePathsAreTheLastResort(t *testing.T) {
	const a, b, c = "100.64.0.2", "100.64.0.3", "100.64.0.4"
	type step struct {
		name string
		do   func(*RIB)
		want []string
	}
	tell := func(source int, hop string, preference uint32, communities ...uint32) func(*RIB) {
		return func(r *RIB) { told(t, r, source, hop, preference, communities...) }
	}
	for name, steps := range map[string][]step{
		"one reflector after the other falls": {
			{"all tell", func(r *RIB) { tell(0, a, 100)(r); tell(1, b, 100)(r); tell(2, c, 100)(r) }, []string{a, b, c}},
			{"the first may restart", func(r *RIB) { r.MarkStale(0, IPv4).Run() }, []string{b, c}},
			{"the second is gone", func(r *RIB) { r.MarkLongLived(1, IPv4).Run() }, []string{c}},
			{"the third is forgotten", func(r *RIB) { r.Drop(2).Run() }, []string{a}},
			{"the first is gone, too", func(r *RIB) { r.MarkLongLived(0, IPv4).Run() }, []string{a, b}},
			{"marking what is gone as restarting makes it no better", func(r *RIB) { r.MarkStale(0, IPv4).Run() }, []string{a, b}},
			{"the second is back", tell(1, b, 100), []string{b}},
			{"and has told all", func(r *RIB) { r.Sweep(1, IPv4).Run() }, []string{b}},
			{"the first has told all, and nothing of this", func(r *RIB) { r.Sweep(0, IPv4).Run() }, []string{b}},
		},
		"preference counts for more than a peer that may restart, and for less than one that is gone": {
			{"the newer home is told by a peer that restarts", func(r *RIB) {
				tell(0, a, 1100)(r)
				r.MarkStale(0, IPv4).Run()
				tell(1, b, 100)(r)
			}, []string{a}},
			{"the older one is told with as much", tell(1, b, 1100), []string{b}},
			{"the older one is told as before", tell(1, b, 100), []string{a}},
			{"the peer is gone for long", func(r *RIB) { r.MarkLongLived(0, IPv4).Run() }, []string{b}},
			{"both are stale for long", func(r *RIB) { r.MarkLongLived(0, IPv4).Run(); r.MarkLongLived(1, IPv4).Run() }, []string{a}},
		},
		"stale where it comes from": {
			{"told as stale, with the highest preference", func(r *RIB) {
				tell(0, a, 1000, 65000<<16|1, CommunityLongLivedStale)(r)
				tell(1, b, 50)(r)
			}, []string{b}},
			{"less than one of a peer that may restart", func(r *RIB) { r.MarkStale(1, IPv4).Run() }, []string{b}},
			{"like one that is gone", func(r *RIB) { r.MarkLongLived(1, IPv4).Run() }, []string{a}},
			{"told without the mark", tell(0, a, 10), []string{a}},
		},
		"NO_LLGR": {
			{"told", func(r *RIB) { tell(0, a, 100, CommunityNoLongLived)(r) }, []string{a}},
			{"kept over a restart", func(r *RIB) { r.MarkStale(0, IPv4).Run() }, []string{a}},
			{"and not for longer", func(r *RIB) { r.MarkLongLived(0, IPv4).Run() }, nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRIB(Config{Sources: testSources})
			for _, s := range steps {
				s.do(r)
				if got := hops(r); !slices.Equal(got, s.want) {
					t.Fatalf("%s: via %v, want %v", s.name, got, s.want)
				}
			}
		})
	}
}

func TestTheMarkOfStalePathsIsSeen(t *testing.T) {
	r := NewRIB(Config{Sources: testSources})
	told(t, r, 0, "100.64.0.2", 100, 65000<<16|1)
	told(t, r, 1, "100.64.0.3", 100, CommunityLongLivedStale)
	r.MarkLongLived(0, IPv4).Run()
	hops(r)
	route, _ := r.Lookup(netip.MustParsePrefix("203.0.113.7/32"))
	for i, want := range []struct {
		stale       bool
		communities []uint32
	}{{true, []uint32{65000<<16 | 1, CommunityLongLivedStale}}, {false, []uint32{CommunityLongLivedStale}}} {
		p := route.Paths[i]
		if p.Stale != want.stale || !p.LongLived || !p.Chosen || !slices.Equal(p.Communities, want.communities) {
			t.Errorf("path %+v, want stale %v and communities %x", p, want.stale, want.communities)
		}
	}
	if got := r.Stale(0, IPv4) + r.Stale(1, IPv4); got != 1 {
		t.Errorf("%d stale paths", got)
	}
}

// TestWhatAPeerReflectsOutlivesItsForwardingState: only what leads through the
// peer itself is lost with that.
func TestWhatAPeerReflectsOutlivesItsForwardingState(t *testing.T) {
	peer := netip.MustParseAddr("100.64.0.2")
	for _, c := range []struct {
		name, hop string
		reflected bool
		stale     bool
		want      int
	}{
		{"reflected, through another", "100.64.0.3", true, true, 1},
		{"reflected with itself as the next hop", "100.64.0.2", true, true, 0},
		{"its own, through another", "100.64.0.3", false, true, 0},
		{"its own, told again", "100.64.0.2", false, false, 1},
	} {
		r := NewRIB(Config{Sources: testSources})
		m := new(message).base().hop(c.hop)
		if c.reflected {
			m.attr(0x80, attrOriginator, 10, 0, 0, 77)
		}
		m.nlri = wire(-1, "203.0.113.7/32")
		u := mustDecode(t, decoder(false), m.bytes())
		r.Update(0, u)
		if c.stale {
			r.MarkStale(0, IPv4).Run()
		}
		r.SweepThrough(0, IPv4, peer).Run()
		if got := r.Paths(0, IPv4); got != c.want {
			t.Errorf("%s: %d paths, want %d", c.name, got, c.want)
		}
	}
}
