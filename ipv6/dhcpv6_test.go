package ipv6

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// guest has two addresses and a prefix.
func guest() Lease {
	return Lease{
		Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("2001:db8::8")},
		Delegated: []netip.Prefix{netip.MustParsePrefix("2001:db8:7::/64")},
		Valid:     20 * time.Hour, Preferred: 10 * time.Hour,
		DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")}, Search: []string{"example.com.", "bad..example"},
		NTP: []netip.Addr{netip.MustParseAddr("2001:db8::123")},
	}
}

const (
	own      = "2001:db8::7/128"
	second   = "2001:db8::8/128"
	ownPD    = "2001:db8:7::/64"
	others   = "2001:db8::9/128"
	othersPD = "2001:db8:9::/64"
)

func leased(lifetime time.Duration, prefixes ...string) (out []Leased) {
	for _, p := range prefixes {
		out = append(out, Leased{Prefix: netip.MustParsePrefix(p), Preferred: lifetime / 2, Valid: lifetime})
	}
	return out
}

// asks is an association as a client sends it.
func asks(kind IAKind, id byte, prefixes ...string) IA {
	return IA{Kind: kind, ID: [4]byte{id}, Leased: leased(time.Minute, prefixes...)}
}

// gets is one as it comes back with something in it.
func gets(kind IAKind, id byte, prefixes ...string) IA {
	return IA{Kind: kind, ID: [4]byte{id}, T1: 5 * time.Hour, T2: 8 * time.Hour, Leased: leased(20*time.Hour, prefixes...)}
}

func loses(ia IA, prefixes ...string) IA {
	ia.Leased = append(ia.Leased, leased(0, prefixes...)...)
	return ia
}

func refused(kind IAKind, id byte, s DHCPStatus) IA {
	return IA{Kind: kind, ID: [4]byte{id}, Status: s}
}

// TestAssociations is what becomes of associations, by RFC 8415, section 18.3.
// Where a status is wanted it is that of the whole message.
func TestAssociations(t *testing.T) {
	for name, c := range map[string]struct {
		kinds  []DHCPKind
		lease  Lease
		asked  []IA
		want   []IA
		status DHCPStatus
	}{
		"all addresses, the primary first": {kinds: giving(), asked: []IA{asks(IANA, 1)}, want: []IA{gets(IANA, 1, own, second)}},
		"what it has":                      {kinds: giving(), asked: []IA{asks(IANA, 1, own)}, want: []IA{gets(IANA, 1, own, second)}},
		"a prefix":                         {kinds: giving(), asked: []IA{asks(IAPD, 1)}, want: []IA{gets(IAPD, 1, ownPD)}},
		"wishes count for nothing": {kinds: giving(), asked: []IA{asks(IAPD, 1, "::/48"), asks(IANA, 2, "::/128")},
			want: []IA{gets(IAPD, 1, ownPD), gets(IANA, 2, own, second)}},
		"the first of several": {kinds: giving(), asked: []IA{asks(IANA, 1), asks(IANA, 2), asks(IAPD, 1), asks(IAPD, 2)},
			want: []IA{gets(IANA, 1, own, second), refused(IANA, 2, StatusNoAddrsAvail), gets(IAPD, 1, ownPD), refused(IAPD, 2, StatusNoPrefixAvail)}},
		"the one of several that has something": {kinds: giving(), asked: []IA{asks(IANA, 1), asks(IANA, 2, second)},
			want: []IA{refused(IANA, 1, StatusNoAddrsAvail), gets(IANA, 2, own, second)}},
		"what two have is withdrawn from none": {kinds: giving(), asked: []IA{asks(IANA, 1, own), asks(IANA, 2, own)},
			want: []IA{gets(IANA, 1, own, second), refused(IANA, 2, StatusNoAddrsAvail)}},
		"temporary addresses": {kinds: giving(), asked: []IA{asks(IATA, 1)}, want: []IA{refused(IATA, 1, StatusNoAddrsAvail)}},
		"a guest with nothing": {kinds: giving(), lease: Lease{Valid: time.Hour, Preferred: time.Hour}, asked: []IA{asks(IANA, 1), asks(IAPD, 2)},
			want: []IA{refused(IANA, 1, StatusNoAddrsAvail), refused(IAPD, 2, StatusNoPrefixAvail)}},
		"no association": {kinds: giving()},

		"wishing for others' addresses": {kinds: []DHCPKind{DHCPSolicit}, asked: []IA{asks(IANA, 1, others), asks(IAPD, 2, othersPD)},
			want: []IA{gets(IANA, 1, own, second), gets(IAPD, 2, ownPD)}},
		"requesting others' addresses": {kinds: []DHCPKind{DHCPRequest}, asked: []IA{asks(IANA, 1, own, others), asks(IATA, 2, others), asks(IAPD, 3, othersPD)},
			want: []IA{refused(IANA, 1, StatusNotOnLink), refused(IATA, 2, StatusNotOnLink), gets(IAPD, 3, ownPD)}},
		"extending others' addresses": {kinds: []DHCPKind{DHCPRenew, DHCPRebind}, asked: []IA{asks(IANA, 1, others, own, others), asks(IATA, 2, others), asks(IAPD, 3, othersPD)},
			want: []IA{loses(gets(IANA, 1, own, second), others), loses(IA{Kind: IATA, ID: [4]byte{2}}, others), loses(gets(IAPD, 3, ownPD), othersPD)}},
		"extending what it has no more": {kinds: []DHCPKind{DHCPRenew, DHCPRebind}, lease: Lease{Valid: time.Hour, Preferred: time.Hour},
			asked: []IA{asks(IANA, 1, own), asks(IAPD, 2, ownPD)}, want: []IA{loses(IA{Kind: IANA, ID: [4]byte{1}}, own), loses(IA{Kind: IAPD, ID: [4]byte{2}}, ownPD)}},

		"confirming its own": {kinds: []DHCPKind{DHCPConfirm}, asked: []IA{asks(IANA, 1, own), asks(IANA, 2, second), asks(IAPD, 3, othersPD)}, status: StatusSuccess},
		"confirming others'": {kinds: []DHCPKind{DHCPConfirm}, asked: []IA{asks(IANA, 1, own), asks(IANA, 2, others)}, status: StatusNotOnLink},

		"giving up its own": {kinds: []DHCPKind{DHCPRelease, DHCPDecline}, asked: []IA{asks(IANA, 1, own, others), asks(IAPD, 2, ownPD)}, status: StatusSuccess},
		"giving up others'": {kinds: []DHCPKind{DHCPRelease, DHCPDecline}, asked: []IA{asks(IANA, 1, others), asks(IATA, 2), asks(IAPD, 3)}, status: StatusSuccess,
			want: []IA{refused(IANA, 1, StatusNoBinding), refused(IATA, 2, StatusNoBinding), refused(IAPD, 3, StatusNoBinding)}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.lease.Valid == 0 {
				c.lease = guest()
			}
			for _, kind := range c.kinds {
				m := message(kind)
				m.IAs = c.asked
				a, why := c.lease.Answer(m)
				if why != "" {
					t.Fatalf("%v is ignored: %s", kind, why)
				}
				if diff := cmp.Diff(c.want, a.IAs, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("%v: -want +got\n%s", kind, diff)
				}
				if a.Status != c.status {
					t.Errorf("%v: status %d, want %d", kind, a.Status, c.status)
				}
			}
		})
	}
}

func giving() []DHCPKind { return []DHCPKind{DHCPSolicit, DHCPRequest, DHCPRenew, DHCPRebind} }

// message is one that nothing is wrong with.
func message(kind DHCPKind) DHCPMessage {
	m := DHCPMessage{Kind: kind, Transaction: [3]byte{1, 2, 3}, Client: []byte{0, 3, 0, 1, 2, 0, 0, 0, 0, 7}}
	switch kind {
	case DHCPRequest, DHCPRenew, DHCPRelease, DHCPDecline:
		m.Server = ServerDUID()
	}
	return m
}

// TestWhoIsAnswered is RFC 8415, section 16.
func TestWhoIsAnswered(t *testing.T) {
	noClient := func(m *DHCPMessage) { m.Client = nil }
	noServer := func(m *DHCPMessage) { m.Server = nil }
	otherServer := func(m *DHCPMessage) { m.Server = []byte{0, 3, 0, 1, 2, 0, 0, 0, 0, 1} }
	thisServer := func(m *DHCPMessage) { m.Server = ServerDUID() }
	unicast := func(m *DHCPMessage) { m.Unicast = true }
	toAny, toOne := []DHCPKind{DHCPSolicit, DHCPConfirm, DHCPRebind}, []DHCPKind{DHCPRequest, DHCPRenew, DHCPRelease, DHCPDecline}
	information := []DHCPKind{DHCPInformationRequest}
	for name, c := range map[string]struct {
		kinds  []DHCPKind
		change func(*DHCPMessage)
		want   DHCPIgnored
	}{
		"as it should be":                   {append(append(information, toAny...), toOne...), func(*DHCPMessage) {}, ""},
		"no client":                         {append(toAny, toOne...), noClient, IgnoredNoClient},
		"no client, and none needed":        {information, noClient, ""},
		"an empty DUID":                     {append(append(information, toAny...), toOne...), func(m *DHCPMessage) { m.Client = []byte{0, 3} }, IgnoredClient},
		"a DUID that is too long":           {append(append(information, toAny...), toOne...), func(m *DHCPMessage) { m.Client = make([]byte, 131) }, IgnoredClient},
		"the longest DUID":                  {append(append(information, toAny...), toOne...), func(m *DHCPMessage) { m.Client = make([]byte, 130) }, ""},
		"no server":                         {toOne, noServer, IgnoredNoServer},
		"another server":                    {append(information, toOne...), otherServer, IgnoredServer},
		"a server where none may be":        {toAny, thisServer, IgnoredAnyServer},
		"a server where it may be":          {information, thisServer, ""},
		"by unicast":                        {append(information, toAny...), unicast, IgnoredUnicast},
		"by unicast, and told so":           {toOne, unicast, ""},
		"an association":                    {information, func(m *DHCPMessage) { m.IAs = []IA{asks(IANA, 1)} }, IgnoredIA},
		"nothing to confirm":                {toAny[1:2], func(m *DHCPMessage) { m.IAs = nil }, IgnoredNothing},
		"a wish to confirm":                 {toAny[1:2], func(m *DHCPMessage) { m.IAs = []IA{asks(IANA, 1, "::/128"), asks(IAPD, 1, ownPD)} }, IgnoredNothing},
		"too many associations":             {append(toAny, toOne...), func(m *DHCPMessage) { m.IAs = make([]IA, mostIAs+1) }, IgnoredExcess},
		"too much in one":                   {append(toAny, toOne...), func(m *DHCPMessage) { m.IAs[0].Leased = make([]Leased, mostLeased+1) }, IgnoredExcess},
		"relays":                            {[]DHCPKind{DHCPRelayForward, DHCPRelayReply}, func(*DHCPMessage) {}, IgnoredRelayed},
		"what servers send, and the unkown": {[]DHCPKind{0, DHCPAdvertise, DHCPReply, 10, 14, 36, 255}, thisServer, IgnoredKind},
	} {
		t.Run(name, func(t *testing.T) {
			for _, kind := range c.kinds {
				m := message(kind)
				if kind != DHCPInformationRequest {
					m.IAs = []IA{asks(IANA, 1, own)}
				}
				c.change(&m)
				a, why := guest().Answer(m)
				if why != c.want {
					t.Errorf("%v: ignored for %q, want %q", kind, why, c.want)
				}
				if told := a.Kind != 0; told != (c.want == "") {
					t.Errorf("%v: the answer is %+v", kind, a)
				}
			}
		})
	}
}

// TestUnicast is RFC 8415, section 18.4: the status and nothing else.
func TestUnicast(t *testing.T) {
	m := message(DHCPRenew)
	m.Unicast, m.IAs, m.Wanted = true, []IA{asks(IANA, 1, own)}, []DHCPOption{DHCPOptionDNS}
	a, _ := guest().Answer(m)
	want := DHCPAnswer{Kind: DHCPReply, Transaction: m.Transaction, Client: m.Client, Server: ServerDUID(), Status: StatusUseMulticast}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestSolicit(t *testing.T) {
	for name, c := range map[string]struct {
		lease Lease
		rapid bool
		want  DHCPAnswer
	}{
		"an advertisement that ends the search": {guest(), false, DHCPAnswer{Kind: DHCPAdvertise, Preference: 255}},
		"rapid commit":                          {guest(), true, DHCPAnswer{Kind: DHCPReply, Rapid: true}},
		"nothing to commit":                     {Lease{}, true, DHCPAnswer{Kind: DHCPAdvertise, Preference: 255}},
	} {
		m := message(DHCPSolicit)
		m.Rapid, m.IAs = c.rapid, []IA{asks(IANA, 1)}
		a, why := c.lease.Answer(m)
		if a.Kind != c.want.Kind || a.Rapid != c.want.Rapid || a.Preference != c.want.Preference {
			t.Errorf("%s: %+v, ignored for %q", name, a, why)
		}
	}
}

// TestOnlyWhatIsAskedFor compares what is told with what was asked for, option
// by option and all together.
func TestOnlyWhatIsAskedFor(t *testing.T) {
	dns, ntp := []netip.Addr{netip.MustParseAddr("2001:db8::53")}, []netip.Addr{netip.MustParseAddr("2001:db8::123")}
	all := []DHCPOption{DHCPOptionDNS, DHCPOptionSearch, DHCPOptionNTP, DHCPOptionSolicitMax, DHCPOptionInformationMax, DHCPOptionRefresh, 17}
	everything := DHCPAnswer{DNS: dns, Search: []string{"example.com"}, NTP: ntp, SolicitMax: 5 * time.Minute, InformationMax: 5 * time.Minute}
	withRefresh := everything
	withRefresh.Refresh = 20 * time.Hour
	for name, c := range map[string]struct {
		kind   DHCPKind
		wanted []DHCPOption
		want   DHCPAnswer
	}{
		"nothing":          {DHCPRequest, nil, DHCPAnswer{}},
		"DNS":              {DHCPRequest, all[:1], DHCPAnswer{DNS: dns}},
		"search":           {DHCPRenew, all[1:2], DHCPAnswer{Search: []string{"example.com"}}},
		"NTP":              {DHCPRebind, all[2:3], DHCPAnswer{NTP: ntp}},
		"all in Advertise": {DHCPSolicit, all, everything},
		"all in Reply":     {DHCPRequest, all, everything},
		"all, no lease":    {DHCPInformationRequest, all, withRefresh},
		"all in Confirm":   {DHCPConfirm, all, DHCPAnswer{}},
		"all in Release":   {DHCPRelease, all, DHCPAnswer{}},
	} {
		m := message(c.kind)
		m.Wanted = c.wanted
		if c.kind != DHCPInformationRequest {
			m.IAs = []IA{asks(IANA, 1, own)}
		}
		a, why := guest().Answer(m)
		got := DHCPAnswer{DNS: a.DNS, Search: a.Search, NTP: a.NTP, SolicitMax: a.SolicitMax, InformationMax: a.InformationMax, Refresh: a.Refresh}
		if diff := cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || why != "" {
			t.Errorf("%s: ignored for %q, -want +got\n%s", name, why, diff)
		}
	}
}

func TestLifetimes(t *testing.T) {
	const forever = 0xffffffff * time.Second
	for _, c := range []struct{ preferred, valid, wantPreferred, wantValid, t1, t2, refresh time.Duration }{
		{time.Hour, 2 * time.Hour, time.Hour, 2 * time.Hour, 30 * time.Minute, 48 * time.Minute, 2 * time.Hour},
		{2 * time.Hour, time.Hour, time.Hour, time.Hour, 30 * time.Minute, 48 * time.Minute, time.Hour},
		{forever, forever, forever, forever, forever, forever, 24 * time.Hour},
		{forever + time.Hour, forever + time.Hour, forever, forever, forever, forever, 24 * time.Hour},
		{10 * time.Second, 20 * time.Second, 10 * time.Second, 20 * time.Second, 5 * time.Second, 8 * time.Second, 10 * time.Minute},
	} {
		l := guest()
		l.Preferred, l.Valid = c.preferred, c.valid
		m := message(DHCPRenew)
		m.IAs = []IA{asks(IANA, 1)}
		a, _ := l.Answer(m)
		ia := a.IAs[0]
		if x := ia.Leased[0]; x.Preferred != c.wantPreferred || x.Valid != c.wantValid || ia.T1 != c.t1 || ia.T2 != c.t2 {
			t.Errorf("preferred %v, valid %v: got %+v", c.preferred, c.valid, ia)
		}
		m = message(DHCPInformationRequest)
		m.Wanted = []DHCPOption{DHCPOptionRefresh}
		if a, _ := l.Answer(m); a.Refresh != c.refresh {
			t.Errorf("valid %v: refresh after %v, want %v", c.valid, a.Refresh, c.refresh)
		}
	}
}
