package vrf

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// TestShadow holds the table against a map. The prefixes are few and near each
// other, so that probes collide and deletes close holes.
func TestShadow(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var s shadow
		model := map[netip.Prefix]uint32{}
		for range rapid.IntRange(1, 2000).Draw(r, "steps") {
			p := drawPrefix(r)
			if rapid.IntRange(0, 2).Draw(r, "delete") == 0 {
				s.delete(p)
				delete(model, p)
			} else {
				v := rapid.Uint32Max(valueMask).Draw(r, "value")
				s.set(p, v)
				model[p] = v
			}
		}
		n := 0
		s.all(func(p netip.Prefix, v *uint32) bool {
			if want, ok := model[p]; !ok || want != *v&valueMask {
				r.Fatalf("%s has %d, want %d, %v", p, *v&valueMask, want, ok)
			}
			n++
			return true
		})
		if n != len(model) || s.n4+s.n6 != n {
			r.Fatalf("%d entries, counted %d, want %d", n, s.n4+s.n6, len(model))
		}
		for p, want := range model {
			if got, ok := s.get(p); !ok || got != want {
				r.Fatalf("%s has %d, %v, want %d", p, got, ok, want)
			}
		}
	})
}

func drawPrefix(r *rapid.T) netip.Prefix {
	n := rapid.IntRange(0, 400).Draw(r, "n")
	if rapid.Bool().Draw(r, "IPv6") {
		a := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(n >> 8), 15: byte(n)})
		return netip.PrefixFrom(a, rapid.IntRange(0, 128).Draw(r, "bits")).Masked()
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), rapid.IntRange(0, 32).Draw(r, "bits")).Masked()
}

func TestNextHopIDs(t *testing.T) {
	for _, slot := range []int{0, 20, 99} {
		for _, i := range []uint32{1, 77, maxMembers} {
			for _, group := range []bool{false, true} {
				id := memberID(slot, i)
				if group {
					id = groupID(slot, i)
				}
				gotSlot, gotGroup, got := splitID(id)
				if gotSlot != slot || gotGroup != group || got != i || !OwnNextHop(id) {
					t.Errorf("id %d of slot %d, group %v, index %d comes back as %d, %v, %d", id, slot, group, i, gotSlot, gotGroup, got)
				}
			}
		}
	}
	for _, id := range []uint32{1, idBase - 1, idEnd} {
		if OwnNextHop(id) {
			t.Errorf("id %d counts as ours", id)
		}
	}
}

func TestSlots(t *testing.T) {
	got := assignSlots([]VRF{{Name: "a", Table: 90}, {Name: "b", Table: 190}, {Name: "c", Table: 20}})
	if got["a"] != 90 || got["b"] != 91 || got["c"] != 20 {
		t.Errorf("slots are %v", got)
	}
}

// TestIDsRunOut: the last id is used, and the error says what ran out.
func TestIDsRunOut(t *testing.T) {
	list := make([]int, maxMembers)
	var free []uint32
	if i, err := take(&free, &list); err != nil || i != maxMembers {
		t.Fatalf("the last index is %d, %v", i, err)
	}
	if _, err := take(&free, &list); err == nil {
		t.Error("there is one more")
	}
	free = append(free, 5)
	if i, err := take(&free, &list); err != nil || i != 5 {
		t.Errorf("the freed index is not used: %d, %v", i, err)
	}
}
