package bgp

import (
	"net/netip"
	"testing"
)

func TestWhatIsChangedAloneGoesBeforeATable(t *testing.T) {
	const prefixes = 20_000
	r := NewRIB(Config{Sources: testSources, Seed: [2]uint64{1, 2}})
	d := decoder(false)
	for _, body := range fullTable(IPv4, prefixes, 0, false) {
		u, err := d.Decode(body)
		if err != nil {
			t.Fatal(err)
		}
		r.Update(0, u)
	}
	fresh, moved, gone := netip.MustParsePrefix("203.0.113.1/32"), netip.MustParsePrefix("10.0.0.7/32"), netip.MustParsePrefix("10.0.0.8/32")
	tell(t, r, 0, "100.64.9.1", fresh.String())
	tell(t, r, 0, "100.64.9.2", moved.String())
	m := new(message)
	m.withdrawn = wire(-1, gone.String())
	u, err := decoder(false).Decode(m.bytes())
	if err != nil {
		t.Fatal(err)
	}
	r.Update(0, u)
	changes := r.AppendChanges(nil, 4)
	if len(changes) != 4 || changes[0].Prefix != fresh || changes[1].Prefix != moved || changes[1].NextHops[0].Gateway != netip.MustParseAddr("100.64.9.2") {
		t.Fatalf("got %v, want %v and %v before two of the table", changes, fresh, moved)
	}
	if _, ok := r.Lookup(gone); ok {
		t.Errorf("%v, which was never written, is still there", gone)
	}
	// What finds no place in the lane is not forgotten.
	for i := range 3 * laneLength {
		tell(t, r, 0, "100.64.9.3", netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), 32).String())
	}
	seen := len(changes)
	for changes = r.AppendChanges(nil, 512); len(changes) > 0; changes = r.AppendChanges(nil, 512) {
		seen += len(changes)
	}
	if seen != prefixes || r.Pending() != 0 {
		t.Errorf("%d changes and %d pending, want %d and none", seen, r.Pending(), prefixes)
	}
}
