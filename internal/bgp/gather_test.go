package bgp

import (
	"net/netip"
	"testing"

	"github.com/hostroute/hostroute/vrf"
)

// tell has a session tell prefixes through a gateway.
func tell(t *testing.T, r *RIB, source int, gateway string, prefixes ...string) {
	t.Helper()
	m := new(message).attr(0x40, attrOrigin, 0).attr(0x40, attrASPath).attr(0x40, attrLocalPref, 0, 0, 0, 100).hop(gateway)
	for _, p := range prefixes {
		m.nlri = append(m.nlri, wire(-1, p)...)
	}
	u, err := decoder(false).Decode(m.bytes())
	if err != nil || u.Tolerated != nil {
		t.Fatalf("decoding: %v, %v", err, u)
	}
	r.Update(source, u)
}

func nextHops(changes []vrf.Change) map[netip.Prefix]int {
	n := map[netip.Prefix]int{}
	for _, c := range changes {
		n[c.Prefix] = len(c.NextHops)
	}
	return n
}

func TestNewPrefixesWaitForSessionsThatTellTheirTables(t *testing.T) {
	both, one := netip.MustParsePrefix("203.0.113.1/32"), netip.MustParsePrefix("203.0.113.2/32")
	r := NewRIB(Config{Sources: testSources})
	r.Telling(0, IPv4)
	tell(t, r, 0, "100.64.0.7", "203.0.113.9/32")
	if got := nextHops(r.AppendChanges(nil, 10)); len(got) != 1 {
		t.Fatalf("a session alone: got %v, want one prefix at once", got)
	}
	r.Telling(2, IPv4)
	tell(t, r, 0, "100.64.0.7", both.String(), one.String())
	if got := r.AppendChanges(nil, 10); len(got) != 0 || r.Pending() != 2 {
		t.Fatalf("one of two has told: got %v and %d pending", got, r.Pending())
	}
	if route, _ := r.Lookup(one); !route.Pending {
		t.Error("a prefix that waits isn't said to be pending")
	}
	tell(t, r, 2, "100.65.0.7", both.String())
	if got := nextHops(r.AppendChanges(nil, 10)); len(got) != 1 || got[both] != 2 {
		t.Fatalf("both have told: got %v, want %v with two next hops", got, both)
	}
	tell(t, r, 0, "100.64.0.8", both.String())
	if got := nextHops(r.AppendChanges(nil, 10)); got[both] != 2 {
		t.Fatalf("a prefix that was written changes: got %v, want it at once", got)
	}
	r.Told(2, IPv4).Run()
	if got := nextHops(r.AppendChanges(nil, 10)); len(got) != 1 || got[one] != 1 || r.Pending() != 0 {
		t.Fatalf("the second has told all: got %v and %d pending", got, r.Pending())
	}
	r.Told(0, IPv4).Run()
	if r.Gathering() {
		t.Error("nobody tells any more, and something may still wait")
	}
}
