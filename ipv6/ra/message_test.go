package ra

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/ipv6"
)

// FuzzAdvertisement goes from what a service says to packets and back: whatever
// the log says, what can be told is, in packets that need no fragmentation.
func FuzzAdvertisement(f *testing.F) {
	long := strings.Repeat("nnnnnnnnn.", 20)
	var many ipv6.Router
	for i := range 64 {
		many.Prefixes = append(many.Prefixes, ipv6.OnLink{Prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, byte(i)}), 64), Autonomous: true, Valid: time.Hour})
		many.Routes = append(many.Routes, netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb9, byte(i)}), 40+i))
		many.DNS = append(many.DNS, netip.AddrFrom16([16]byte{0x20, 1, 15: byte(i)}))
		many.Search = append(many.Search, long+strings.Repeat("x", i))
	}
	for _, r := range []ipv6.Router{{}, many, {Search: []string{"a.example", "xn--mnchen-3ya.de"}, DNS: []netip.Addr{netip.IPv6LinkLocalAllNodes()}, Lifetime: -5, Interval: 9e17}} {
		raw, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r ipv6.Router
		if json.Unmarshal(raw, &r) != nil {
			return
		}
		a := ipv6.NewAdvertisement(r)
		check(t, a)
		check(t, a.Final())
	})
}

// check reads the packets of an advertisement and compares what they tell.
func check(t *testing.T, a ipv6.Advertisement) {
	packets, err := messages(a)
	if err != nil {
		t.Fatal(err)
	}
	var prefixes, routes int
	var resolvers []netip.Addr
	var names []string
	for _, p := range packets {
		if len(p) > 1280-40 {
			t.Fatalf("a packet of %d bytes", len(p))
		}
		for options := p[16:]; len(options) > 0; {
			n := 8 * int(options[1])
			if n == 0 || n > len(options) {
				t.Fatalf("an option of %d bytes in the %d that are left", n, len(options))
			}
			switch o := options[:n]; o[0] {
			case 3:
				prefixes++
			case 24:
				routes++
			case 25:
				for r := o[8:]; len(r) > 0; r = r[16:] {
					resolvers = append(resolvers, netip.AddrFrom16([16]byte(r)))
				}
			case 31:
				names = append(names, readNames(o[8:])...)
			}
			options = options[n:]
		}
	}
	if prefixes != len(a.Prefixes) || routes != len(a.Routes) || !slices.Equal(resolvers, values(a.DNS)) || !slices.Equal(names, values(a.Search)) {
		t.Fatalf("%+v became %d prefixes, %d routes, %v, %v", a, prefixes, routes, resolvers, names)
	}
}

func values[T comparable](all []ipv6.Lasting[T]) []T {
	var out []T
	for _, l := range all {
		out = append(out, l.Value)
	}
	return out
}

// readNames reads names of labels, and padding.
func readNames(b []byte) (names []string) {
	for len(b) > 0 && b[0] != 0 {
		var labels []string
		for ; b[0] != 0; b = b[1+int(b[0]):] {
			labels = append(labels, string(b[1:1+int(b[0])]))
		}
		names, b = append(names, strings.Join(labels, ".")), b[1:]
	}
	return names
}
