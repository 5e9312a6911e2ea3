package projector

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hostroute/hostroute/events"
	"pgregory.net/rapid"
)

// TestDesirerIsDesired follows a history with one Desirer for each hypervisor, now
// and then not after each event, with guests that come early and States that know less.
func TestDesirerIsDesired(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		made := map[string]*Desirer{}
		for _, hv := range worldHVs {
			made[hv] = NewDesirer(hv)
		}
		for _, p := range drawHistory(t) {
			if rapid.IntRange(0, 9).Draw(t, "forget") == 0 {
				s.Forget("hr.vm." + pick(t, "lost", worldVMs))
			}
			s.Fold(p.Record)
			if rapid.IntRange(0, 3).Draw(t, "skip") == 0 {
				continue
			}
			early := map[string]bool{}
			for _, vm := range worldVMs {
				early[vm] = rapid.Bool().Draw(t, "early")
			}
			arrived := func(vm string) bool { return early[vm] }
			for _, hv := range worldHVs {
				agree(t, hv, made[hv].Desired(s.Clone(), arrived), DesiredWith(s, hv, arrived))
			}
		}
	})
}

// TestDesirerOfContestedThings has guests share taps and prefixes, as the log of one
// hypervisor's feed may look while others' moves aren't heard of yet.
func TestDesirerOfContestedThings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, d := New(), NewDesirer("hv1")
		s.Put("hr.hv.hv1", &Hypervisor{Name: "hv1", stamp: stamp{seq: 1}})
		s.Put("hr.net.web", &Network{NetworkDefined: *network("web"), stamp: stamp{seq: 2}})
		last := Host{}
		for seq := uint64(3); seq < 40; seq++ {
			before := fmt.Sprintf("%+v", last)
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				vm := fmt.Sprint("vm", rapid.IntRange(1, 6).Draw(t, "vm"))
				s.write(guestPrefix+vm, drawGuest(t, vm, seq))
			}
			host := d.Desired(s, nil)
			agree(t, "hv1", host, Desired(s, "hv1"))
			if got := fmt.Sprintf("%+v", last); got != before {
				t.Fatalf("what was returned was written:\n%s\n%s", before, got)
			}
			last = host
		}
	})
}

// drawGuest draws a register; nil: it is forgotten.
func drawGuest(t *rapid.T, vm string, seq uint64) Register {
	g := &Guest{VM: vm, Hypervisor: pick(t, "home", worldHVs), Epoch: uint64(rapid.IntRange(1, 9).Draw(t, "epoch")), stamp: stamp{seq: seq}}
	for range rapid.IntRange(1, 2).Draw(t, "interfaces") {
		g.Interfaces = append(g.Interfaces, Interface{VRF: "public", Interface: events.Interface{
			Tap: pick(t, "tap", []string{"tap1", "tap2", "tap3", "tap4"}), MAC: mac(byte(len(vm))), Network: pick(t, "network", []string{"web", "web", "gone"})}})
	}
	for range rapid.IntRange(0, 3).Draw(t, "addresses") {
		g.Addresses = append(g.Addresses, Address{
			Prefix: netip.MustParsePrefix(pick(t, "prefix", []string{"203.0.113.10/32", "203.0.113.11/32", "203.0.113.12/32", "2001:db8:0:1::/64", "2001:db8:0:2::/80"})),
			Role:   events.Role(pick(t, "role", []string{"primary", "secondary", "anycast"})), Interface: rapid.IntRange(0, len(g.Interfaces)-1).Draw(t, "on"),
		})
	}
	place := func() *Place {
		p := &Place{Hypervisor: pick(t, "place", worldHVs)}
		for range g.Interfaces {
			p.Taps = append(p.Taps, pick(t, "its tap", []string{"tap1", "tap2", "tap3", "tap4"}))
		}
		return p
	}
	switch rapid.IntRange(0, 4).Draw(t, "state") {
	case 0:
		g.Next = place()
	case 1:
		g.Previous = place()
	case 2:
		return nil
	}
	return g
}

func agree(t *rapid.T, hv string, got, want Host) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n%s", hv, cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})))
	}
}

// TestOneChangedGuestCostsItself, however many others there are, and also though each
// event renews the hypervisor's register.
func TestOneChangedGuestCostsItself(t *testing.T) {
	cost := func(n int) float64 {
		s, seq := New(), uint64(n)
		s.Put("hr.net.web", &Network{NetworkDefined: *network("web"), stamp: stamp{seq: 1}})
		guest := func(i int, seq uint64) *Guest {
			return &Guest{VM: fmt.Sprintf("vm%05d", i), Hypervisor: "hv1", Epoch: 1, stamp: stamp{seq: seq},
				Interfaces: []Interface{{VRF: "public", Interface: events.Interface{Tap: fmt.Sprintf("tap%05d", i), MAC: mac(7), Network: "web"}}},
				Addresses:  []Address{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 32), Role: events.RolePrimary, Moves: uint32(seq)}}}
		}
		for i := range n {
			g := guest(i, 1)
			s.Put(guestPrefix+g.VM, g)
		}
		d := NewDesirer("hv1")
		d.Desired(s, nil)
		return testing.AllocsPerRun(20, func() {
			seq++
			s.Put("hr.hv.hv1", &Hypervisor{Name: "hv1", stamp: stamp{seq: seq}})
			g := guest(n/2, seq)
			s.Put(guestPrefix+g.VM, g)
			if host := d.Desired(s, nil); len(host.Taps) != n {
				t.Errorf("%d taps of %d", len(host.Taps), n)
			}
		})
	}
	if few, many := cost(10), cost(2000); many > few+8 { // some for maps that grow
		t.Errorf("one guest of 2,000 costs %v allocations, one of 10 %v", many, few)
	}
}
