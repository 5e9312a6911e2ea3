package session

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/internal/bgp"
)

// listener is what a peer knows, by what it is sent.
type listener struct {
	t     *rapid.T
	style style
	knows map[netip.Prefix]outgoing
}

// hear reads UPDATEs with GoBGP's codec.
func (l *listener) hear(stream []byte) {
	for len(stream) > 0 {
		n := int(binary.BigEndian.Uint16(stream[16:]))
		if n > maxMessage {
			l.t.Fatalf("a message of %d bytes", n)
		}
		m, err := packet.ParseBGPMessage(stream[:n])
		if err != nil {
			l.t.Fatalf("message % x: %v", stream[:n], err)
		}
		l.update(m.Body.(*packet.BGPUpdate))
		stream = stream[n:]
	}
}

func (l *listener) update(u *packet.BGPUpdate) {
	var o outgoing
	o.preference = bgp.PreferenceNormal // eBGP does not carry it
	announced := append([]*packet.IPAddrPrefix(nil), u.NLRI...)
	list := make([]packet.AddrPrefixInterface, 0, len(announced))
	for _, p := range announced {
		list = append(list, p)
	}
	for _, p := range u.WithdrawnRoutes {
		delete(l.knows, netip.MustParsePrefix(p.String()))
	}
	for _, a := range u.PathAttributes {
		switch v := a.(type) {
		case *packet.PathAttributeLocalPref:
			o.preference = v.Value
		case *packet.PathAttributeCommunities:
			o.communities = encodeCommunities(v.Value)
		case *packet.PathAttributeNextHop:
			o.nextHop = netip.MustParseAddr(v.Value.String())
		case *packet.PathAttributeAsPath:
			if want := map[bool]string{true: fmt.Sprint(l.style.as)}[l.style.ebgp]; packet.AsPathString(v) != want {
				l.t.Fatalf("AS_PATH %q, want %q", packet.AsPathString(v), want)
			}
		case *packet.PathAttributeMpReachNLRI:
			o.nextHop = netip.MustParseAddr(v.Nexthop.String())
			list = append(list, v.Value...)
		case *packet.PathAttributeMpUnreachNLRI:
			for _, p := range v.Value {
				delete(l.knows, netip.MustParsePrefix(p.String()))
			}
		}
	}
	for _, p := range list {
		l.knows[netip.MustParsePrefix(p.String())] = o
	}
}

func drawWant(t *rapid.T, s style, f bgp.Family) adjOut {
	hops := []string{"100.64.1.1", "2001:db8::1"}
	if f == bgp.IPv6 {
		hops = hops[1:]
	}
	size, count := rapid.IntRange(0, 300).Draw(t, "communities"), rapid.SampledFrom([]int{0, 1, 5, 2000}).Draw(t, "prefixes")
	seed, step := rapid.IntRange(0, 3).Draw(t, "seed"), rapid.IntRange(1, 3).Draw(t, "step")
	want := adjOut{nextHop: netip.MustParseAddr(hops[seed%len(hops)]), unsound: !s.ebgp && rapid.Bool().Draw(t, "unsound")}
	for i := 0; i < count*step; i += step {
		a := bgp.Announcement{Preference: bgp.PreferenceNormal}
		if !s.ebgp && i%3 == 0 {
			a.Preference = bgp.PreferenceDrained
		}
		for c := range size * (i % 2) {
			a.Communities = append(a.Communities, uint32(c*seed))
		}
		if rapid.IntRange(0, 99).Draw(t, "mixed") == 0 {
			slices.Reverse(a.Communities)
		}
		a.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(seed % 2), byte(i >> 8), byte(i)}), 32)
		if f == bgp.IPv6 {
			a.Prefix = netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x:%x::/64", seed%2, i))
		}
		want.list = append(want.list, a)
	}
	return want
}

// TestAPeerKnowsWhatItIsToKnow goes from any set of announcements to any other.
func TestAPeerKnowsWhatItIsToKnow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := style{as: rapid.SampledFrom([]uint32{65000, 4200000000}).Draw(t, "as"), ebgp: rapid.Bool().Draw(t, "ebgp"), as4: true}
		f := rapid.SampledFrom(bgp.Families[:]).Draw(t, "family")
		peer := &listener{t: t, style: s, knows: map[netip.Prefix]outgoing{}}
		var told adjOut
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			want := drawWant(t, s, f)
			stream, err := s.difference(f, told, want, rapid.Bool().Draw(t, "all"))
			if err != nil {
				t.Fatal(err)
			}
			peer.hear(stream)
			knows := map[netip.Prefix]outgoing{}
			for _, a := range want.list {
				knows[a.Prefix] = want.of(a)
			}
			if !maps.Equal(peer.knows, knows) {
				t.Fatalf("the peer knows %v, want %v", peer.knows, knows)
			}
			if again, _ := s.difference(f, want, want, false); len(again) > 0 {
				t.Fatalf("%d bytes to say nothing new", len(again))
			}
			told = want
		}
	})
}

// TestWhatIsTheSameCostsNothing: a peer that knows thousands is told of one at the cost
// of that one.
func TestWhatIsTheSameCostsNothing(t *testing.T) {
	set := func(n int) (list []bgp.Announcement) {
		for i := range n {
			list = append(list, bgp.Announcement{VRF: "public", Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32), Preference: bgp.PreferenceNormal})
		}
		return list
	}
	cost := func(n int) float64 {
		told, want := adjOut{list: set(n)}, adjOut{list: set(n + 1)}
		told.nextHop = netip.MustParseAddr("100.64.1.1")
		want.nextHop = told.nextHop
		return testing.AllocsPerRun(10, func() {
			if b, err := (style{as: 65000}).difference(bgp.IPv4, told, want, false); err != nil || len(b) == 0 {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
	if few, many := cost(10), cost(10_000); many > few {
		t.Errorf("one announcement beside 10,000 others costs %v allocations, beside 10 others %v", many, few)
	}
}

// TestAnnouncementsInDisorder are said as those in order are.
func TestAnnouncementsInDisorder(t *testing.T) {
	s := New(Config{}, nil, slog.New(slog.DiscardHandler))
	a := func(vrf, prefix string, preference uint32) bgp.Announcement {
		return bgp.Announcement{VRF: vrf, Prefix: netip.MustParsePrefix(prefix), Preference: preference}
	}
	s.Announce([]bgp.Announcement{a("two", "10.0.0.2/32", 1), a("one", "2001:db8::1/128", 2), a("one", "10.0.0.9/24", 3), {VRF: "one"}, a("one", "10.0.0.0/24", 4), a("one", "10.0.0.1/32", 5)})
	one, _ := s.announced("one")
	two, said := s.announced("two")
	want := []bgp.Announcement{a("one", "10.0.0.0/24", 4), a("one", "10.0.0.1/32", 5), a("one", "2001:db8::1/128", 2)}
	slices.SortFunc(want, compareAnnouncements)
	if !said || !reflect.DeepEqual(one, want) || !reflect.DeepEqual(two, []bgp.Announcement{a("two", "10.0.0.2/32", 1)}) {
		t.Errorf("announced are %v and %v", one, two)
	}
}
