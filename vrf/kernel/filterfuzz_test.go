package kernel

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// FuzzFilterElement: no element that somebody puts into our sets makes us
// panic, and what was read as ours is written as it was read.
func FuzzFilterElement(f *testing.F) {
	var n nft
	n.socket = &socket{}
	for _, e := range []vrf.FilterElement{
		{Set: vrf.SetTaps, Link: "tap0"}, {Set: vrf.SetMACs, Link: "tap0", MAC: [6]byte{2, 5: 1}},
		{Set: vrf.SetSources, Link: "tap0", Prefix: netip.MustParsePrefix("203.0.113.16/28")},
		{Set: vrf.SetSources, Link: "tap0", Prefix: netip.MustParsePrefix("203.0.113.7/32")},
		{Set: vrf.SetSources, Link: "tap0", Prefix: netip.MustParsePrefix("2001:db8::/64")},
		{Set: vrf.SetSources, Link: "tap0", Prefix: netip.MustParsePrefix("2001:db8::/60")},
		{Set: vrf.SetSources, Link: "tap0", Prefix: netip.MustParsePrefix("2001:db8::7/128")},
		{Set: vrf.SetGateways, Link: "tap0", Prefix: netip.MustParsePrefix("fe80::1/128")},
	} {
		n.reset()
		n.putKey(e)
		f.Add(n.out, places(e)[0].set)
		f.Add(n.out, subnets6) // somebody else's set of that name
	}
	f.Fuzz(func(t *testing.T, b []byte, set string) {
		var e element
		e.parse(b)
		got, ok := e.decode(set)
		if !ok || got.Link == "" {
			return
		}
		for _, p := range elementSets {
			if p.set != set || p.family != unix.NFPROTO_INET {
				continue
			}
			first, last := key(got)
			again := element{key: first, end: last}
			if back, ok := again.decode(set); !ok || back != got {
				t.Errorf("%v is read back as %v", got, back)
			}
		}
	})
}
