package handover

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/internal/bgp"
)

// TestRestChangesNothing has one machine look at every prefix in every step, and
// another one only at those that don't rest; and no path matters that isn't watched.
func TestRestChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		thorough, m, watched := New(), New(), map[Key]bool{}
		thorough.thorough = true
		var in Input
		paths, now := map[Key]Path{}, Instant(0)
		version, versioned := uint64(1), rapid.Bool().Draw(t, "versions")
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			if rapid.IntRange(0, 2).Draw(t, "change") > 0 {
				in = drawInput(t, in)
			}
			if rapid.Bool().Draw(t, "paths change") {
				before := paths
				paths = drawPaths(t)
				for key := range watched {
					if paths[key] != before[key] {
						version++
					}
				}
			}
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 500, 2000, 11000, 31000}).Draw(t, "later")) * time.Millisecond)
			list, all := m.Watch(now, in)
			if all {
				clear(watched)
			}
			for _, key := range list {
				watched[key] = true
			}
			if in.Paths = 0; versioned {
				in.Paths = version
			}
			path := func(key Key) (Path, bool) { p, ok := paths[key]; return p, ok }
			in.Path = path
			want := thorough.Step(now, in)
			in.Path = func(key Key) (Path, bool) {
				if !watched[key] {
					t.Fatalf("%v is looked at and not watched", key)
				}
				return path(key)
			}
			if got := m.Step(now, in); !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v\nwant %+v", got, want)
			}
			if got, want := m.Report(), thorough.Report(); !reflect.DeepEqual(got, want) {
				t.Fatalf("got report %+v\nwant %+v", got, want)
			}
			in.Announced = drawAnnounced(t, in, want)
		}
	})
}

func drawKey(t *rapid.T) Key {
	return Key{"public", netip.MustParsePrefix(fmt.Sprintf("203.0.113.%d/32", rapid.IntRange(1, 4).Draw(t, "prefix")))}
}

// drawInput draws what the log may say next: most of it is as before.
func drawInput(t *rapid.T, before Input) Input {
	in := Input{Known: rapid.IntRange(0, 4).Draw(t, "known") > 0, Current: rapid.Bool().Draw(t, "current"), Fenced: rapid.IntRange(0, 9).Draw(t, "fenced") == 0, Announced: before.Announced}
	for _, o := range before.Own {
		if rapid.IntRange(0, 3).Draw(t, "stays") > 0 {
			in.Own = append(in.Own, o)
		}
	}
	rare := func(name string) bool { return rapid.IntRange(0, 4).Draw(t, name) == 0 }
	for range rapid.IntRange(0, 2).Draw(t, "come") {
		in.Own = append(in.Own, Own{Key: drawKey(t), VM: rapid.SampledFrom([]string{"vm1", "vm2"}).Draw(t, "vm"), Epoch: uint64(rapid.IntRange(1, 2).Draw(t, "epoch")),
			Preference: bgp.Preference(uint32(rapid.IntRange(0, 2).Draw(t, "moves")), false), Anycast: rare("anycast"), Came: rare("came"), Leaving: rare("leaving"), Early: rare("early"), Served: !rare("unserved")})
	}
	for range rapid.IntRange(0, 1).Draw(t, "leave") {
		in.Departures = append(in.Departures, Departure{drawKey(t), "vm1", "hv2", uint64(rapid.IntRange(1, 3).Draw(t, "epoch")), bgp.Preference(uint32(rapid.IntRange(1, 3).Draw(t, "moves")), true)})
	}
	return in
}

func drawPaths(t *rapid.T) map[Key]Path {
	paths := map[Key]Path{}
	for range rapid.IntRange(0, 2).Draw(t, "paths") {
		p := bgp.Preference(uint32(rapid.IntRange(0, 3).Draw(t, "moves")), false)
		paths[drawKey(t)] = Path{Preference: p, Highest: p, Originator: netip.MustParseAddr("192.0.2.1"), Written: rapid.Bool().Draw(t, "written")}
	}
	return paths
}

// drawAnnounced is what an agent may have announced after a step, not in order.
func drawAnnounced(t *rapid.T, in Input, out Output) (list []bgp.Announcement) {
	told := map[Key]bool{}
	for _, o := range in.Own {
		if o.Served && !out.Withheld[o.Key] && !told[o.Key] {
			told[o.Key] = true
			list = append(list, bgp.Announcement{VRF: o.VRF, Prefix: o.Prefix, Preference: o.Preference})
		}
	}
	for _, a := range out.Keep {
		if !told[keyOf(a)] {
			list = append(list, a)
		}
	}
	return list
}
