package kernel

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// BenchmarkFilter is a hypervisor of 1,000 guests with two sources each: the
// filter made at once, all of it read after somebody changed the ruleset, read
// when nobody did, and one guest changed.
func BenchmarkFilter(b *testing.B) {
	testenv.RequireRoot(b)
	const taps = 1000
	k := newTarget(b, Options{})
	host := vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 90, NoDevice: true}}, Interconnects: []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10")}}
	for i := range taps {
		host.Taps = append(host.Taps, vrf.Tap{
			Name: fmt.Sprintf("tap%d", i), VRF: "public", MAC: [6]byte{2, 0, 0, 0, byte(i >> 8), byte(i)},
			Gateways: []netip.Addr{netip.MustParseAddr("169.254.0.1")},
			Sources: []netip.Prefix{
				netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(113 + i>>8), byte(i)}), 32),
				netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 6: byte(i >> 8), 7: byte(i)}), 64),
			},
		})
	}
	apply := func(links ...string) {
		_, err := k.Apply(b.Context(), host, vrf.Options{Sweep: true, Links: links})
		must(b, err)
	}
	read := func() {
		_, err := k.Read(b.Context(), host)
		must(b, err)
	}
	b.Run("make", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			run(b, "ip", "netns", "exec", k.ns, "nft", "flush", "ruleset")
			b.StartTimer()
			apply()
		}
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			k.filter.generation = 0
			read()
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			read()
		}
	})
	b.Run("one-guest", func(b *testing.B) {
		all := host.Taps[7].Sources
		for b.Loop() {
			host.Taps[7].Sources = all[:1]
			apply("tap7")
			host.Taps[7].Sources = all
			apply("tap7")
		}
	})
}
