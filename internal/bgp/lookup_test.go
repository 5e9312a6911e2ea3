package bgp

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hostroute/hostroute/vrf"
)

func TestLookupTellsWhatIsChosenAndWhy(t *testing.T) {
	rib := NewRIB(Config{Sources: testSources})
	d := decoder(true)
	plain := new(message).attr(0x40, attrOrigin, 2).attr(0x40, attrASPath, 2, 2, 0, 0, 0xfe, 1, 0, 0, 0xfe, 2, 1, 1, 0, 0, 0, 7)
	plain.attr(0x40, attrLocalPref, 0, 0, 0, 100).attr(0x80, attrMED, 0, 0, 0, 9).attr(0x80, attrOriginator, 10, 0, 0, 9)
	plain.attr(0xc0, attrCommunities, 0xfd, 0xe8, 0, 1).attr(0xc0, attrLarge, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3)
	plain.hop("100.64.0.9").nlri = wire(4, goodPrefix)
	rib.Update(0, mustDecode(t, d, plain.bytes()))
	better := new(message).base().hop("100.64.0.8")
	better.nlri = append(wire(1, goodPrefix), wire(2, "198.51.0.0/16")...)
	rib.Update(2, mustDecode(t, d, better.bytes()))

	hop := []vrf.NextHop{{Gateway: netip.MustParseAddr("100.64.0.8"), Uplink: "up-b"}}
	want := Route{
		Prefix: netip.MustParsePrefix(goodPrefix), NextHops: hop,
		Paths: []Path{{
			Source: testSources[0], ID: 4, NextHop: netip.MustParseAddr("100.64.0.9"), LocalPref: 100, MED: 9,
			Origin: "incomplete", ASPath: "65025 65026 {7}", Originator: netip.MustParseAddr("10.0.0.9"),
			Communities: []uint32{65000<<16 | 1}, LargeCommunities: [][3]uint32{{1, 2, 3}},
		}, {
			Source: testSources[2], ID: 1, NextHop: netip.MustParseAddr("100.64.0.8"), LocalPref: 100, Origin: "IGP", Chosen: true,
		}},
	}
	if got, _ := rib.Lookup(want.Prefix); !got.Pending || got.NextHops != nil {
		t.Errorf("before it was written: %+v", got)
	}
	changes := rib.AppendChanges(nil, 10)
	got, _ := rib.Lookup(want.Prefix)
	if diff := cmp.Diff(want, got, comparePlain); diff != "" {
		t.Error(diff)
	}
	rib.Redo(changes)
	if got, _ := rib.Lookup(want.Prefix); !got.Failed || got.NextHops != nil {
		t.Errorf("after it could not be written: %+v", got)
	}

	for address, want := range map[string]string{
		"198.51.100.7": goodPrefix, "198.51.7.7": "198.51.0.0/16", "192.0.2.1": "", "2001:db8::1": "",
	} {
		route, ok := rib.Match(netip.MustParseAddr(address))
		if ok != (want != "") || ok && route.Prefix.String() != want {
			t.Errorf("%s takes %v, want %q", address, route.Prefix, want)
		}
	}
	var all []Route
	for part := range Parts {
		all = rib.Routes(all, IPv4, part)
	}
	if len(all) != 2 {
		t.Errorf("all routes: %v", all)
	}
}

func TestNextHopsAreBounded(t *testing.T) {
	rib := NewRIB(Config{Sources: testSources, MaxNextHops: 3})
	d := decoder(true)
	for i := range 9 {
		m := new(message).base().attr(0x40, attrNextHop, 100, 64, 0, byte(9-i))
		m.nlri = wire(int64(i+1), goodPrefix)
		rib.Update(0, mustDecode(t, d, m.bytes()))
	}
	changes := rib.AppendChanges(nil, 10)
	if len(changes) != 1 || len(changes[0].NextHops) != 3 || changes[0].NextHops[0].Gateway != netip.MustParseAddr("100.64.0.1") {
		t.Errorf("changes %v", changes)
	}
}

func TestAnAddressThatBecomesOursIsNoNextHop(t *testing.T) {
	rib := NewRIB(Config{Sources: testSources})
	rib.AddLocal(netip.MustParseAddr("100.64.0.2"))
	rib.Update(0, mustDecode(t, decoder(false), good().bytes()))
	if changes := rib.AppendChanges(nil, 10); len(changes) > 0 {
		t.Errorf("changes %v", changes)
	}
	if route, ok := rib.Lookup(netip.MustParsePrefix(goodPrefix)); !ok || !route.Paths[0].Unusable || route.Paths[0].Chosen {
		t.Errorf("route %+v", route)
	}
}
