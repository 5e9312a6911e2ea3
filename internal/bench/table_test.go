package bench

import (
	"net/netip"
	"testing"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

func tables() []Table {
	return []Table{
		{Family: 4, Routes: 4321}, {Family: 4, Routes: 4321, Sequential: true}, {Family: 4, Routes: 2_000_000},
		{Family: 6, Routes: 4321}, {Family: 6, Routes: 4321, Sequential: true, Moved: true}, {Family: 6, Routes: 200_000},
	}
}

func TestNoTwoRoutesAreEqual(t *testing.T) {
	for _, table := range tables() {
		seen := make(map[netip.Prefix]bool, table.Routes)
		for i := range table.Routes {
			p := table.Prefix(i)
			if seen[p] {
				t.Fatalf("%+v has %v twice", table, p)
			}
			seen[p] = true
			if at, ok := table.Index(p.Addr()); !ok || at != i {
				t.Fatalf("%+v: %v is number %d, %v; want %d", table, p, at, ok, i)
			}
		}
	}
}

func TestATenthMoves(t *testing.T) {
	before := Table{Family: 4, Routes: 10_000}
	after := before
	after.Moved = true
	moved := 0
	for i := range before.Routes {
		if before.Home(i) != after.Home(i) {
			moved++
		}
	}
	if moved != 1000 {
		t.Errorf("%d of 10000 moved", moved)
	}
}

func TestHypervisorsAreFoundByTheirAddresses(t *testing.T) {
	for plane := range 2 {
		for _, f := range []Family{4, 6} {
			for _, n := range []int{0, 1, 255, 9999, mostHypervisors} {
				if p, h, ok := HypervisorOf(NextHop(plane, n, f)); !ok || p != plane || h != n {
					t.Errorf("plane %d, hypervisor %d, IPv%d: got %d, %d, %v", plane, n, f, p, h, ok)
				}
			}
			if _, _, ok := HypervisorOf(ReflectorAddress(plane, f)); ok {
				t.Error("the reflector is taken for a hypervisor")
			}
		}
	}
}

// told reads a stream with a codec that we didn't write.
func told(t *testing.T, stream []byte, most int) map[netip.Prefix]netip.Addr {
	t.Helper()
	all := map[netip.Prefix]netip.Addr{}
	for len(stream) > 0 {
		length := int(stream[16])<<8 | int(stream[17])
		if length > longestMessage {
			t.Fatalf("a message of %d bytes", length)
		}
		m, err := packet.ParseBGPMessage(stream[:length])
		if err != nil {
			t.Fatal(err)
		}
		stream = stream[length:]
		update := m.Body.(*packet.BGPUpdate)
		list, hop := update.NLRI, netip.Addr{}
		var prefixes []string
		for _, n := range list {
			prefixes = append(prefixes, n.String())
		}
		for _, a := range update.PathAttributes {
			switch a := a.(type) {
			case *packet.PathAttributeNextHop:
				hop = netip.MustParseAddr(a.Value.String())
			case *packet.PathAttributeMpReachNLRI:
				hop = netip.MustParseAddr(a.Nexthop.String())
				for _, n := range a.Value {
					prefixes = append(prefixes, n.String())
				}
			}
		}
		if len(prefixes) > most {
			t.Fatalf("%d routes in a message", len(prefixes))
		}
		for _, p := range prefixes {
			all[netip.MustParsePrefix(p)] = hop
		}
	}
	return all
}

func TestAStreamTellsTheTable(t *testing.T) {
	for _, table := range []Table{{Family: 4, Routes: 1234}, {Family: 6, Routes: 1234}, {Family: 4, Routes: 1234, Moved: true}} {
		for plane := range 2 {
			whole, singles := told(t, table.Updates(plane, nil), PerHypervisor), told(t, table.Singles(plane), 1)
			for i := range table.Routes {
				want := NextHop(plane, table.Home(i), table.Family)
				if got := whole[table.Prefix(i)]; got != want {
					t.Fatalf("%+v: %v via %v, want %v", table, table.Prefix(i), got, want)
				}
				if got := singles[table.Prefix(i)]; got != want {
					t.Fatalf("%+v alone: %v via %v, want %v", table, table.Prefix(i), got, want)
				}
			}
			if len(whole) != table.Routes || len(singles) != table.Routes {
				t.Errorf("%d and %d routes, want %d", len(whole), len(singles), table.Routes)
			}
		}
	}
}

func TestEndOfRIB(t *testing.T) {
	for f, want := range map[Family]packet.RouteFamily{4: packet.RF_IPv4_UC, 6: packet.RF_IPv6_UC} {
		m, err := packet.ParseBGPMessage(EndOfRIB(f))
		if err != nil {
			t.Fatal(err)
		}
		if end, family := m.Body.(*packet.BGPUpdate).IsEndOfRib(); !end || family != want {
			t.Errorf("got %v, %v", end, family)
		}
	}
}
