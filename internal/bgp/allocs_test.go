package bgp

import (
	"testing"

	"github.com/hostroute/hostroute/vrf"
)

// TestTheWayOfARouteAllocatesNothing guards what is done for each of millions of
// routes: decoding, applying, and deciding, once tables have their size.
func TestTheWayOfARouteAllocatesNothing(t *testing.T) {
	const prefixes = 20_000
	for _, f := range Families {
		tables := [2][][]byte{fullTable(f, prefixes, 0, false), fullTable(f, prefixes, 1, false)}
		moved := [2][][]byte{fullTable(f, prefixes, 2, false), fullTable(f, prefixes, 3, false)}
		r := NewRIB(Config{Sources: []Source{{Uplink: "up-a"}, {Uplink: "up-b"}}, Seed: [2]uint64{1, 2}})
		d := decoder(false)
		changes := make([]vrf.Change, 0, 512)
		pass := func(bodies [2][][]byte) {
			for source := range bodies {
				for _, b := range bodies[source] {
					u, err := d.Decode(b)
					if err != nil {
						t.Fatal(err)
					}
					r.Update(source, u)
				}
			}
			for changes = r.AppendChanges(changes[:0], 512); len(changes) > 0; {
				changes = r.AppendChanges(changes[:0], 512)
			}
		}
		pass(tables)
		same := testing.AllocsPerRun(3, func() { pass(tables) })
		if same > 0 {
			t.Errorf("%v: telling %d routes again allocates %v times", f, prefixes, same)
		}
		flip := false
		other := testing.AllocsPerRun(4, func() {
			if flip = !flip; flip {
				pass(moved)
			} else {
				pass(tables)
			}
		})
		// What is allocated is for attributes and sets that are new, of which there are
		// some for each hypervisor, and nothing for each route.
		if most := float64(prefixes / 10); other > most {
			t.Errorf("%v: %d routes with other attributes allocate %v times, want at most %v", f, prefixes, other, most)
		}
	}
}
