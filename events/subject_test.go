package events

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestSubjects(t *testing.T) {
	for subject, want := range map[string]Subject{
		SubjectVM("web-1"):            {Kind: KindVM, Name: "web-1"},
		SubjectNet("net_1"):           {Kind: KindNet, Name: "net_1"},
		SubjectNetTick:                {Kind: KindNetTick},
		SubjectVRF("public"):          {Kind: KindVRF, Name: "public"},
		SubjectHV("hv1"):              {Kind: KindHV, Name: "hv1"},
		SubjectTick("hv1"):            {Kind: KindTick, Name: "hv1"},
		SubjectFeed("hv1", "web-1"):   {Kind: KindFeed, Name: "hv1", VM: "web-1"},
		"hr.ip.public.203-0-113-7":    {Kind: KindIP, Name: "public", Prefix: netip.MustParsePrefix("203.0.113.7/32")},
		"hr.ip.public.203-0-113-0-28": {Kind: KindIP, Name: "public", Prefix: netip.MustParsePrefix("203.0.113.0/28")},
		"hr.ip.private.20010db8000000000000000000000000-64":        {Kind: KindIP, Name: "private", Prefix: netip.MustParsePrefix("2001:db8::/64")},
		SubjectIP("private", netip.MustParsePrefix("fd00::1/128")): {Kind: KindIP, Name: "private", Prefix: netip.MustParsePrefix("fd00::1/128")},
	} {
		got, err := ParseSubject(subject)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", subject, got, err)
		}
	}
	for _, bad := range []string{"", "hr", "hr.x.y", "x.vm.a", "hr.ip.v", "hr.ip.v.1-2-3", "hr.ip.v.1-2-3-4-", "hr.ip.v.zz", "hr.ip.v.203-0-113-7-32", "hr.feed.a.b.c"} {
		if got, err := ParseSubject(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
}

func TestPrefixTokenRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a netip.Addr
		if rapid.Bool().Draw(t, "v4") {
			a = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "a")))
		} else {
			a = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "a")))
			if a.Is4In6() {
				t.Skip("not a prefix of ours")
			}
		}
		p, _ := a.Prefix(rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
		got, err := parsePrefixToken(prefixToken(p))
		if err != nil || got != p {
			t.Fatalf("%s is written %s and read %s, %v", p, prefixToken(p), got, err)
		}
	})
}
