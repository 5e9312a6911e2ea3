package bgp

import (
	"net/netip"
	"slices"
	"testing"
)

func TestWatchedPrefixes(t *testing.T) {
	watched := netip.MustParsePrefix("203.0.113.7/32")
	r := NewRIB(Config{Sources: testSources})
	r.Watch([]netip.Prefix{watched})
	var got []string
	look := func() {
		t.Helper()
		got = nil
		if r.Noticed() {
			got = append(got, "noticed")
		}
		r.AppendChanges(nil, 1<<10)
		for _, p := range r.Handed() {
			got = append(got, "handed "+p.String())
		}
	}
	for _, step := range []struct {
		name string
		do   func()
		want []string
		best Best // the zero one: none
	}{
		{"nothing", func() {}, nil, Best{}},
		{"a path", func() { told(t, r, 0, "100.64.0.2", 100) }, []string{"noticed", "handed 203.0.113.7/32"},
			Best{100, 100, netip.MustParseAddr("100.64.0.2"), true}},
		{"the same", func() { told(t, r, 0, "100.64.0.2", 100) }, nil, Best{100, 100, netip.MustParseAddr("100.64.0.2"), true}},
		{"a newer home with the same next hop", func() { told(t, r, 0, "100.64.0.2", 1100) }, []string{"noticed", "handed 203.0.113.7/32"},
			Best{1100, 1100, netip.MustParseAddr("100.64.0.2"), true}},
		{"an older one beside it, and the newer one is stale for long", func() {
			told(t, r, 1, "100.64.0.3", 100)
			r.MarkLongLived(0, IPv4).Run()
		}, []string{"noticed", "handed 203.0.113.7/32"}, Best{100, 1100, netip.MustParseAddr("100.64.0.2"), true}},
		{"both gone", func() { r.Drop(0).Run(); r.Drop(1).Run() }, []string{"noticed", "handed 203.0.113.7/32"}, Best{}},
		{"not watched any more", func() {
			r.Watch([]netip.Prefix{netip.MustParsePrefix("203.0.113.8/32")})
			told(t, r, 0, "100.64.0.2", 100)
		}, nil, Best{100, 100, netip.MustParseAddr("100.64.0.2"), true}},
		{"nothing is watched", func() { r.Watch(nil); r.Drop(0).Run() }, nil, Best{}},
	} {
		step.do()
		if look(); !slices.Equal(got, step.want) {
			t.Errorf("%s: %q, want %q", step.name, got, step.want)
		}
		if best, _ := r.Best(watched); best != step.best {
			t.Errorf("%s: best %+v, want %+v", step.name, best, step.best)
		}
	}
}

// TestWatchedWhileItWaits: who begins to watch a prefix that is already marked
// as changed hears of it when it is handed out.
func TestWatchedWhileItWaits(t *testing.T) {
	watched := netip.MustParsePrefix("203.0.113.7/32")
	r := NewRIB(Config{Sources: testSources})
	told(t, r, 0, "100.64.0.2", 100)
	r.Watch([]netip.Prefix{watched})
	if best, ok := r.Best(watched); !ok || best.Settled {
		t.Errorf("before the writer has it: %+v", best)
	}
	changes := r.AppendChanges(nil, 1)
	if got := r.Handed(); !slices.Equal(got, []netip.Prefix{watched}) {
		t.Errorf("handed %v", got)
	}
	r.Redo(changes)
	if best, ok := r.Best(watched); !ok || best.Settled {
		t.Errorf("what the writer could not write is settled: %+v", best)
	}
}
