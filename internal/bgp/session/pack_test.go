package session

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
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

func drawWant(t *rapid.T, s style, f bgp.Family) map[netip.Prefix]outgoing {
	want := map[netip.Prefix]outgoing{}
	hops := []string{"100.64.1.1", "2001:db8::1"}
	if f == bgp.IPv6 {
		hops = hops[1:]
	}
	size, count := rapid.IntRange(0, 300).Draw(t, "communities"), rapid.SampledFrom([]int{1, 5, 2000}).Draw(t, "prefixes")
	seed := rapid.IntRange(0, 3).Draw(t, "seed")
	for i := range count {
		o := outgoing{preference: bgp.PreferenceNormal, nextHop: netip.MustParseAddr(hops[seed%len(hops)])}
		if !s.ebgp && i%3 == 0 {
			o.preference = bgp.PreferenceDrained
		}
		var communities []uint32
		for c := range size * (i % 2) {
			communities = append(communities, uint32(c*seed))
		}
		o.communities = encodeCommunities(communities)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(seed), byte(i >> 8), byte(i)}), 32)
		if f == bgp.IPv6 {
			p = netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x:%x::/64", seed, i))
		}
		want[p] = o
	}
	return want
}

// TestAPeerKnowsWhatItIsToKnow goes from any set of announcements to any other.
func TestAPeerKnowsWhatItIsToKnow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := style{as: rapid.SampledFrom([]uint32{65000, 4200000000}).Draw(t, "as"), ebgp: rapid.Bool().Draw(t, "ebgp"), as4: true}
		f := rapid.SampledFrom(bgp.Families[:]).Draw(t, "family")
		peer := &listener{t: t, style: s, knows: map[netip.Prefix]outgoing{}}
		told := map[netip.Prefix]outgoing{}
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			want := drawWant(t, s, f)
			stream, err := s.difference(f, told, want, rapid.Bool().Draw(t, "all"))
			if err != nil {
				t.Fatal(err)
			}
			peer.hear(stream)
			if !maps.Equal(peer.knows, want) {
				t.Fatalf("the peer knows %v, want %v", peer.knows, want)
			}
			if again, _ := s.difference(f, want, want, false); len(again) > 0 {
				t.Fatalf("%d bytes to say nothing new", len(again))
			}
			told = want
		}
	})
}
