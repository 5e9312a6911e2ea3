package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

func jobs(routes int) (list []Job) {
	for _, f := range []Family{4, 6} {
		for _, sequential := range []bool{false, true} {
			list = append(list, Job{Kind: Load, Family: f, Sequential: sequential, Routes: routes, Reflectors: 2})
		}
	}
	return list
}

func each(t *testing.T, routes int, f func(*testing.T, Job)) {
	for _, j := range jobs(routes) {
		t.Run(fmt.Sprintf("IPv%d/sequential=%v", j.Family, j.Sequential), func(t *testing.T) { f(t, j) })
	}
}

func TestAddressesAreDifferentAndFound(t *testing.T) {
	each(t, 100_000, func(t *testing.T, j Job) {
		table, seen := NewTable(j, 7), map[netip.Addr]bool{}
		for i := range table.Len() {
			a := table.Address(i)
			if seen[a] {
				t.Fatalf("%s is there twice", a)
			}
			seen[a] = true
			if back, ok := table.Index(a); !ok || back != i {
				t.Fatalf("%s is number %d; found %d, %v", a, i, back, ok)
			}
			if a.Is4() != (j.Family == 4) || !a.IsGlobalUnicast() {
				t.Fatalf("%s for family %d", a, j.Family)
			}
		}
		for _, foreign := range []string{"10.0.0.1", "255.255.255.255", "2001:db9::1", "::"} {
			if i, ok := table.Index(netip.MustParseAddr(foreign)); ok {
				t.Errorf("%s is number %d", foreign, i)
			}
		}
	})
}

func TestSeeds(t *testing.T) {
	each(t, 1000, func(t *testing.T, j Job) {
		a, again, other := NewTable(j, 1).Updates(0, nil, false), NewTable(j, 1).Updates(0, nil, false), NewTable(j, 2).Updates(0, nil, false)
		if !bytes.Equal(a, again) {
			t.Error("the same seed gives another table")
		}
		if bytes.Equal(a, other) != j.Sequential {
			t.Errorf("another seed gives the same table: %v", !j.Sequential)
		}
	})
}

// TestRandomIsSpread guards against addresses that a trie would find easy.
func TestRandomIsSpread(t *testing.T) {
	table := NewTable(Job{Family: 4, Routes: 20_000}, 3)
	buckets := map[byte]int{}
	neighbours := 0
	for i := range table.Len() {
		a := table.Address(i).As4()
		buckets[a[0]]++
		if i > 0 && table.Address(i-1).Compare(table.Address(i)) < 0 {
			neighbours++
		}
	}
	if len(buckets) != 32 || neighbours < 9000 || neighbours > 11_000 {
		t.Errorf("%d of 32 first octets; %d of 20000 addresses are greater than that before", len(buckets), neighbours)
	}
}

// told decodes a stream of UPDATEs by somebody else's decoder.
func told(t *testing.T, stream []byte) (routes map[netip.Addr]netip.Addr, attributes map[string]int, messages int) {
	t.Helper()
	routes, attributes = map[netip.Addr]netip.Addr{}, map[string]int{}
	for len(stream) > 0 {
		size := binary.BigEndian.Uint16(stream[16:])
		m, err := packet.ParseBGPMessage(stream[:size])
		if err != nil {
			t.Fatal(err)
		}
		u := m.Body.(*packet.BGPUpdate)
		if err := packet.ValidateBGPMessage(m); err != nil {
			t.Fatal(err)
		}
		var next netip.Addr
		var list []packet.AddrPrefixInterface
		var rest string
		for _, p := range u.NLRI {
			list = append(list, p)
		}
		for _, a := range u.PathAttributes {
			switch a := a.(type) {
			case *packet.PathAttributeNextHop:
				next, _ = netip.AddrFromSlice(a.Value.To4())
			case *packet.PathAttributeMpReachNLRI:
				next, _ = netip.AddrFromSlice(a.Nexthop)
				list = a.Value
			default:
				rest += a.String()
			}
		}
		for _, p := range list {
			prefix := netip.MustParsePrefix(p.String())
			if !prefix.IsSingleIP() {
				t.Fatalf("%s is no host route", prefix)
			}
			routes[prefix.Addr()] = next
		}
		attributes[next.String()+rest] += len(list)
		messages++
		stream = stream[size:]
	}
	return routes, attributes, messages
}

func TestUpdatesTellTheTable(t *testing.T) {
	each(t, 2050, func(t *testing.T, j Job) {
		table := NewTable(j, 5)
		for plane := range 2 {
			routes, attributes, messages := told(t, table.Updates(plane, nil, false))
			compare(t, table, plane, routes, j.Routes)
			if len(attributes) != 11 || messages != 11 {
				t.Errorf("%d sets of attributes in %d messages; want 11 of up to %d routes, each in one", len(attributes), messages, PerHypervisor)
			}
		}
	})
}

func compare(t *testing.T, table *Table, plane int, routes map[netip.Addr]netip.Addr, want int) {
	t.Helper()
	if len(routes) != want {
		t.Fatalf("%d routes; want %d", len(routes), want)
	}
	for a, next := range routes {
		i, ok := table.Index(a)
		if !ok || table.NextHop(i, plane) != next {
			t.Fatalf("%s via %s; number %d, %v", a, next, i, ok)
		}
	}
}

func TestAloneHasAttributesOfItsOwn(t *testing.T) {
	each(t, 500, func(t *testing.T, j Job) {
		table := NewTable(j, 5)
		routes, attributes, messages := told(t, table.Updates(1, nil, true))
		compare(t, table, 1, routes, 500)
		if len(attributes) != 500 || messages != 500 {
			t.Errorf("%d sets of attributes in %d messages", len(attributes), messages)
		}
	})
}

func TestChurnMovesATenth(t *testing.T) {
	each(t, 4000, func(t *testing.T, j Job) {
		table, before := NewTable(j, 5), NewTable(j, 5)
		moved := table.Churn()
		differ := 0
		for i := range table.Len() {
			if table.NextHop(i, 0) != before.NextHop(i, 0) {
				differ++
			}
		}
		if differ != 400 || len(moved) != 400 {
			t.Fatalf("%d are elsewhere, %d are listed", differ, len(moved))
		}
		routes, _, _ := told(t, table.Updates(0, moved, false))
		compare(t, table, 0, routes, 400)
	})
}

// TestALargeHypervisorTakesSeveralMessages has more routes on one than a message holds.
func TestALargeHypervisorTakesSeveralMessages(t *testing.T) {
	table := NewTable(Job{Family: 6, Routes: 400}, 5)
	for i := range 200 {
		table.Move(i)
	}
	routes, attributes, messages := told(t, table.Updates(0, nil, false))
	compare(t, table, 0, routes, 400)
	if len(attributes) != 1 || messages != 2 {
		t.Errorf("%d sets of attributes in %d messages", len(attributes), messages)
	}
}

func TestEndOfRIB(t *testing.T) {
	stream := EndOfRIB()
	for _, want := range []packet.RouteFamily{packet.RF_IPv4_UC, packet.RF_IPv6_UC} {
		size := binary.BigEndian.Uint16(stream[16:])
		m, err := packet.ParseBGPMessage(stream[:size])
		if err != nil {
			t.Fatal(err)
		}
		if ended, family := m.Body.(*packet.BGPUpdate).IsEndOfRib(); !ended || family != want {
			t.Errorf("ends %v: %v", family, ended)
		}
		stream = stream[size:]
	}
	if len(stream) != 0 {
		t.Errorf("%d bytes more", len(stream))
	}
}
