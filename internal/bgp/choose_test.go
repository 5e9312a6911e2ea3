package bgp

import (
	"net/netip"
	"testing"

	"github.com/hostroute/hostroute/vrf"
)

// TestSetsRunOut: the id that means unknown is never a set's.
func TestSetsRunOut(t *testing.T) {
	sets := newHopSets()
	sets.list = make([]hopSet, unknown-1)
	through := func(gateway string) []vrf.NextHop {
		return []vrf.NextHop{{Gateway: netip.MustParseAddr(gateway), Uplink: "up-a"}}
	}
	last := sets.intern(through("192.0.2.1"), 64)
	if last != unknown-1 {
		t.Fatalf("the last set is %d, want %d", last, unknown-1)
	}
	if id := sets.intern(through("192.0.2.2"), 64); id != 0 {
		t.Errorf("one more is %d", id)
	}
	if id := sets.intern(through("192.0.2.1"), 64); id != last {
		t.Errorf("one that is there is %d, want %d", id, last)
	}
	sets.release(last)
	sets.release(last)
	if id := sets.intern(through("192.0.2.2"), 64); id != last {
		t.Errorf("what was let go of is not used again: %d, want %d", id, last)
	}
}
