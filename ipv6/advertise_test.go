package ipv6

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// netips compares addresses and prefixes by their text.
var netips = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestNewAdvertisement(t *testing.T) {
	const told = 3 * 600 * time.Second
	for name, c := range map[string]struct {
		router Router
		want   Advertisement
	}{
		"nothing": {},
		"all of it": {
			Router{
				Managed: true, Other: true, Preference: PreferenceHigh, Lifetime: 1800 * time.Second, MTU: 1400,
				Prefixes: []OnLink{{Prefix: prefix("2001:db8:1::/64"), OnLink: true, Autonomous: true, Valid: time.Hour, Preferred: time.Minute}},
				Routes:   []netip.Prefix{prefix("2001:db8:2::/48")}, DNS: []netip.Addr{addr("2001:db8::53")}, Search: []string{"example.net"},
			},
			Advertisement{
				Managed: true, Other: true, Preference: PreferenceHigh, Lifetime: 1800 * time.Second, MTU: 1400,
				Prefixes: []OnLink{{Prefix: prefix("2001:db8:1::/64"), OnLink: true, Autonomous: true, Valid: time.Hour, Preferred: time.Minute}},
				Routes:   []Lasting[netip.Prefix]{{prefix("2001:db8:2::/48"), told}},
				DNS:      []Lasting[netip.Addr]{{addr("2001:db8::53"), told}}, Search: []Lasting[string]{{"example.net", told}},
			},
		},
		"lifetimes that no field holds": {
			Router{Lifetime: 1e6 * time.Second, Prefixes: []OnLink{{Prefix: prefix("2001:db8::/64"), Valid: 5e9 * time.Second, Preferred: -1}}},
			Advertisement{Lifetime: 65535 * time.Second, Prefixes: []OnLink{{Prefix: prefix("2001:db8::/64"), Valid: 0xffffffff * time.Second}}},
		},
		"preferred for longer than valid": { // RFC 4861, section 4.6.2
			Router{Prefixes: []OnLink{{Prefix: prefix("2001:db8::5/64"), Valid: time.Minute, Preferred: time.Hour}}},
			Advertisement{Prefixes: []OnLink{{Prefix: prefix("2001:db8::/64"), Valid: time.Minute, Preferred: time.Minute}}},
		},
		"a router for longer than three intervals": {
			Router{Lifetime: 9000 * time.Second, Interval: 4 * time.Second, DNS: []netip.Addr{addr("2001:db8::53")}},
			Advertisement{Lifetime: 9000 * time.Second, DNS: []Lasting[netip.Addr]{{addr("2001:db8::53"), 9000 * time.Second}}},
		},
		"what can't be said": {
			Router{
				Prefixes: []OnLink{{Prefix: prefix("192.0.2.0/24")}}, Routes: []netip.Prefix{prefix("192.0.2.0/24")},
				DNS:    []netip.Addr{addr("192.0.2.53"), addr("::ffff:192.0.2.53"), {}},
				Search: []string{"", ".", "a..b", "with space", "ümlaut.example", strings.Repeat("x", 64), strings.Repeat("a.", 127) + "a", "good.example."},
			},
			Advertisement{Search: []Lasting[string]{{"good.example", told}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, NewAdvertisement(c.router), netips); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDeparted(t *testing.T) {
	onLink := func(p string, l, a bool) Advertisement {
		return Advertisement{Prefixes: []OnLink{{Prefix: prefix(p), OnLink: l, Autonomous: a, Valid: time.Hour, Preferred: time.Hour}}}
	}
	gone := func(p string, l, a bool) Advertisement {
		return Advertisement{Prefixes: []OnLink{{Prefix: prefix(p), OnLink: l, Autonomous: a}}}
	}
	routes := func(lifetime time.Duration, all ...string) (a Advertisement) {
		for _, p := range all {
			a.Routes = append(a.Routes, Lasting[netip.Prefix]{prefix(p), lifetime})
		}
		return a
	}
	for name, c := range map[string]struct{ old, now, want Advertisement }{
		"the same":               {onLink("2001:db8::/64", true, true), onLink("2001:db8::/64", true, true), Advertisement{}},
		"a prefix":               {onLink("2001:db8::/64", true, true), Advertisement{}, gone("2001:db8::/64", true, true)},
		"a prefix of other size": {onLink("2001:db8::/64", true, false), onLink("2001:db8::/63", true, false), gone("2001:db8::/64", true, false)},
		"L of a prefix":          {onLink("2001:db8::/64", true, true), onLink("2001:db8::/64", false, true), gone("2001:db8::/64", true, false)},
		"A of a prefix":          {onLink("2001:db8::/64", true, true), onLink("2001:db8::/64", true, false), gone("2001:db8::/64", false, true)},
		"L for A":                {onLink("2001:db8::/64", true, false), onLink("2001:db8::/64", false, true), gone("2001:db8::/64", true, false)},
		"nothing new":            {onLink("2001:db8::/64", false, true), onLink("2001:db8::/64", true, true), Advertisement{}},
		"no flag that told":      {onLink("2001:db8::/64", false, false), Advertisement{}, Advertisement{}},
		"one route of two":       {routes(time.Hour, "2001:db8:1::/48", "2001:db8:2::/48"), routes(time.Hour, "2001:db8:2::/48"), routes(0, "2001:db8:1::/48")},
		"resolver and domain": {
			Advertisement{DNS: []Lasting[netip.Addr]{{addr("2001:db8::1"), 9}, {addr("2001:db8::2"), 9}}, Search: []Lasting[string]{{"a", 9}}},
			Advertisement{DNS: []Lasting[netip.Addr]{{addr("2001:db8::2"), 7}}},
			Advertisement{DNS: []Lasting[netip.Addr]{{addr("2001:db8::1"), 0}}, Search: []Lasting[string]{{"a", 0}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, departed(c.old, c.now), netips); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheFinalAdvertisementTakesBackAllButWhatIsInUse(t *testing.T) {
	a := NewAdvertisement(Router{
		Managed: true, Preference: PreferenceLow, Lifetime: time.Hour, MTU: 1400,
		Prefixes: []OnLink{{Prefix: prefix("2001:db8::/64"), OnLink: true, Autonomous: true, Valid: time.Hour, Preferred: time.Hour}},
		Routes:   []netip.Prefix{prefix("2001:db8:2::/48")}, DNS: []netip.Addr{addr("2001:db8::53")}, Search: []string{"example.net"},
	})
	before := fmt.Sprint(a)
	want := Advertisement{
		Managed: true, Preference: PreferenceLow, MTU: 1400,
		Prefixes: []OnLink{{Prefix: prefix("2001:db8::/64"), OnLink: true, Autonomous: true, Valid: time.Hour}},
		Routes:   []Lasting[netip.Prefix]{{Value: prefix("2001:db8:2::/48")}}, DNS: []Lasting[netip.Addr]{{Value: addr("2001:db8::53")}},
		Search: []Lasting[string]{{Value: "example.net"}},
	}
	if diff := cmp.Diff(want, a.Final(), netips); diff != "" {
		t.Error(diff)
	}
	if fmt.Sprint(a) != before {
		t.Error("the advertisement itself was changed")
	}
}

// drawRouter draws what a router advertises, from few values, so that changes
// of it often keep something.
func drawRouter(t *rapid.T) Router {
	numbered := func(name string, most int, add func(int)) {
		for i := range most {
			if rapid.Bool().Draw(t, fmt.Sprint(name, i)) {
				add(i)
			}
		}
	}
	r := Router{
		Managed: rapid.Bool().Draw(t, "managed"), Lifetime: time.Duration(rapid.IntRange(0, 9000).Draw(t, "lifetime")) * time.Second,
		Interval: time.Duration(rapid.IntRange(0, 2000).Draw(t, "interval")) * time.Second,
	}
	numbered("prefix", 4, func(i int) {
		r.Prefixes = append(r.Prefixes, OnLink{
			Prefix: prefix(fmt.Sprintf("2001:db8:%d::/64", i)), Valid: time.Hour, Preferred: time.Hour,
			OnLink: rapid.Bool().Draw(t, "on-link"), Autonomous: rapid.Bool().Draw(t, "autonomous"),
		})
	})
	numbered("route", 3, func(i int) { r.Routes = append(r.Routes, prefix(fmt.Sprintf("2001:db8:1%d::/48", i))) })
	numbered("dns", 3, func(i int) { r.DNS = append(r.DNS, addr(fmt.Sprintf("2001:db8::%d", i))) })
	numbered("search", 3, func(i int) { r.Search = append(r.Search, fmt.Sprintf("s%d.example", i)) })
	return r
}

func TestPartsTogetherSayTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := NewAdvertisement(drawRouter(t))
		for i := range rapid.IntRange(0, 100).Draw(t, "more prefixes") {
			a.Prefixes = append(a.Prefixes, OnLink{Prefix: prefix(fmt.Sprintf("2001:db8:f%02x::/64", i))})
		}
		for i := range rapid.IntRange(0, 32).Draw(t, "more names") {
			a.Search = append(a.Search, Lasting[string]{fmt.Sprint(i, ".", strings.Repeat("n", rapid.IntRange(1, 63).Draw(t, "length"))), 9})
		}
		whole := Advertisement{Managed: a.Managed, Other: a.Other, Preference: a.Preference, Lifetime: a.Lifetime, MTU: a.MTU}
		for _, p := range a.Parts() {
			if p.Lifetime != a.Lifetime || p.Managed != a.Managed || p.MTU != a.MTU {
				t.Fatalf("a part says of the router %+v, the whole %+v", p, a)
			}
			whole = p.with(whole)
		}
		if diff := cmp.Diff(a, whole, netips); diff != "" {
			t.Fatal(diff)
		}
	})
}
