package ipv6

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Few values, so that what a client sends often is what it has, or has not.
func drawAddr(t *rapid.T) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 15: rapid.ByteMax(6).Draw(t, "addr")})
}

func drawPrefix(t *rapid.T) netip.Prefix {
	p, _ := netip.AddrFrom16([16]byte{0: 0x20, 7: rapid.ByteMax(6).Draw(t, "prefix")}).Prefix(rapid.SampledFrom([]int{56, 64}).Draw(t, "bits"))
	return p
}

func drawLeased(t *rapid.T) Leased {
	p := rapid.SampledFrom([]netip.Prefix{{}, netip.MustParsePrefix("::/0"), netip.MustParsePrefix("::/56"), drawPrefix(t), netip.PrefixFrom(drawAddr(t), 128)}).Draw(t, "listed")
	return Leased{Prefix: p, Preferred: time.Duration(rapid.Uint32().Draw(t, "preferred")), Valid: time.Duration(rapid.Uint32().Draw(t, "valid"))}
}

func drawIA(t *rapid.T) IA {
	return IA{Kind: rapid.SampledFrom([]IAKind{IANA, IATA, IAPD}).Draw(t, "ia"), ID: [4]byte{rapid.Byte().Draw(t, "iaid")},
		Leased: rapid.SliceOfN(rapid.Custom(drawLeased), 0, 4).Draw(t, "listed")}
}

func drawMessage(t *rapid.T) DHCPMessage {
	duid := rapid.SampledFrom([][]byte{nil, {1, 2, 3, 4}, ServerDUID()})
	return DHCPMessage{
		Kind: DHCPKind(rapid.ByteMax(14).Draw(t, "kind")), Transaction: [3]byte{rapid.Byte().Draw(t, "xid")},
		Client: duid.Draw(t, "client"), Server: duid.Draw(t, "server"),
		IAs:    rapid.SliceOfN(rapid.Custom(drawIA), 0, 4).Draw(t, "ias"),
		Wanted: rapid.SliceOf(rapid.Map(rapid.Uint16Max(90), func(o uint16) DHCPOption { return DHCPOption(o) })).Draw(t, "wanted"),
		Rapid:  rapid.Bool().Draw(t, "rapid"), Unicast: rapid.Bool().Draw(t, "unicast"),
	}
}

func drawLease(t *rapid.T) Lease {
	return Lease{
		Addresses: rapid.SliceOfNDistinct(rapid.Custom(drawAddr), 0, 3, rapid.ID).Draw(t, "addresses"),
		Delegated: rapid.SliceOfNDistinct(rapid.Custom(drawPrefix), 0, 3, rapid.ID).Draw(t, "delegated"),
		Valid:     time.Duration(rapid.Int64Range(1, 1<<33).Draw(t, "valid")) * time.Second,
		Preferred: time.Duration(rapid.Int64Range(1, 1<<33).Draw(t, "preferred")) * time.Second,
	}
}

// TestNobodyIsAnythingButItself is what no message may ever bring about.
func TestNobodyIsAnythingButItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, m := drawLease(t), drawMessage(t)
		a, why := l.Answer(m)
		if (why == "") != (a.Kind == DHCPReply || a.Kind == DHCPAdvertise && m.Kind == DHCPSolicit) {
			t.Fatalf("ignored for %q with the answer %+v", why, a)
		}
		if why != "" {
			return
		}
		if a.Transaction != m.Transaction || !bytes.Equal(a.Client, m.Client) || !bytes.Equal(a.Server, ServerDUID()) {
			t.Fatalf("the answer isn't that of the message: %+v", a)
		}
		if len(m.Client) == 0 && m.Kind != DHCPInformationRequest {
			t.Fatal("a client without a name was answered")
		}
		given := map[IAKind]int{}
		for _, ia := range a.IAs {
			if checkIA(t, l, m, ia) {
				given[ia.Kind]++
			}
		}
		if given[IANA] > 1 || given[IAPD] > 1 || given[IATA] > 0 {
			t.Fatalf("the same was given to several associations: %+v", a.IAs)
		}
	})
}

// checkIA tells whether something is given in an association.
func checkIA(t *rapid.T, l Lease, m DHCPMessage, ia IA) (given bool) {
	if !slices.ContainsFunc(m.IAs, func(x IA) bool { return x.Kind == ia.Kind && x.ID == ia.ID }) {
		t.Fatalf("an association that wasn't asked for: %+v", ia)
	}
	for _, x := range ia.Leased {
		own := ia.Kind == IAPD && slices.Contains(l.Delegated, x.Prefix) ||
			ia.Kind == IANA && x.Prefix.IsSingleIP() && slices.Contains(l.Addresses, x.Prefix.Addr())
		switch {
		case own != (x.Valid > 0):
			t.Fatalf("of its own: %v, but the lifetime is %v: %+v", own, x.Valid, ia)
		case x.Preferred > x.Valid || ia.T1 > ia.T2 || own && ia.T2 > x.Preferred:
			t.Fatalf("times that contradict each other: %+v", ia)
		}
		given = given || own
	}
	if given && ia.Status != StatusNone {
		t.Fatalf("given and refused: %+v", ia)
	}
	return given
}
