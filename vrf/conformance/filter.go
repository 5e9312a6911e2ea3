package conformance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/hostroute/hostroute/vrf"
)

// wantSources asks that the filter is whole and that these are a tap's sources.
func (b *bench) wantSources(t *testing.T, tap string, want ...string) {
	t.Helper()
	f := b.actual(t).Filter
	if !f.Whole {
		t.Error("the filter is not what is desired")
	}
	var got []string
	for _, e := range f.Elements[tap] {
		if e.Set == vrf.SetSources {
			got = append(got, e.Prefix.String())
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s may send from %q, want %q", tap, got, want)
	}
}

// filterFollows a tap that gets and loses sources, those that overlap too, and
// goes.
func filterFollows(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.wantSources(t, "tap2", "10.0.0.8/32", "2001:db8:1::8/128")
	b.host.Taps[1].Sources = prefixes("10.0.0.0/28", "2001:db8:1::8/128", "10.0.0.8/32")
	b.converge(t, vrf.Options{})
	b.wantSources(t, "tap2", "10.0.0.0/28", "10.0.0.8/32", "2001:db8:1::8/128")
	b.converge(t, sweeping()) // the wider one has it
	b.wantSources(t, "tap2", "10.0.0.0/28", "2001:db8:1::8/128")
	b.host.Taps[1].Sources = prefixes("10.0.0.0/27", "2001:db8:1::/64", "2001:db8:2::/60")
	b.converge(t, vrf.Options{}) // an interval makes room for a wider one
	b.wantSources(t, "tap2", "10.0.0.0/27", "2001:db8:1::/64", "2001:db8:1::8/128", "2001:db8:2::/60")
	b.host.Taps[1].Sources = prefixes("10.0.0.9/32", "10.0.0.0/30", "2001:db8:2::/64", "2001:db8:2::8/127")
	b.converge(t, vrf.Options{}) // but not for one within it
	b.wantSources(t, "tap2", "10.0.0.0/27", "10.0.0.9/32", "2001:db8:1::/64", "2001:db8:1::8/128", "2001:db8:2::/60", "2001:db8:2::/64")
	b.converge(t, sweeping())
	b.wantSources(t, "tap2", "10.0.0.9/32", "10.0.0.0/30", "2001:db8:2::/64")
	b.host.Taps[1].Sources = prefixes("10.0.0.9/32")
	b.converge(t, sweeping())
	b.wantSources(t, "tap2", "10.0.0.9/32")
	b.host.Taps[0].Sources, b.host.Taps[1].Sources = b.host.Taps[1].Sources, b.host.Taps[0].Sources
	b.converge(t, sweeping())
	b.wantSources(t, "tap1", "10.0.0.9/32")
	b.host.Taps = b.host.Taps[1:]
	b.converge(t, sweeping())
	if left := b.actual(t).Filter.Elements["tap1"]; len(left) > 0 {
		t.Errorf("the filter has %v of the released tap", left)
	}
	b.host.TapPatterns = []string{"vnet*"}
	b.host.Interconnects = prefixes("100.64.0.0/10", "100.64.1.0/24")
	b.converge(t, vrf.Options{})
	b.wantSources(t, "tap2", "203.0.113.7/32", "203.0.113.16/28", "2001:db8:cb00:7100::7/128", "2001:db8:cb00:7110::/60")
}

// filterFlushed is made again at once, and before anything else.
func filterFlushed(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	want := fmt.Sprint(b.actual(t).Filter)
	b.FlushFilter()
	r := b.plan(t, vrf.Options{})
	if len(r.Ops) != 1 {
		t.Fatalf("the plan has %v", r.Ops)
	}
	if _, ok := r.Ops[0].(vrf.BuildFilter); !ok {
		t.Fatalf("the plan begins with %s", r.Ops[0])
	}
	b.converge(t, vrf.Options{})
	if got := fmt.Sprint(b.actual(t).Filter); got != want {
		t.Errorf("the filter is %s, was %s", got, want)
	}
}

// filterChangedMeanwhile: a plan that is older than the kernel adds what is
// there and removes what is gone.
func filterChangedMeanwhile(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.host.Taps[1].Sources = prefixes("10.0.0.9/32")
	old := b.plan(t, sweeping())
	for range 2 {
		if err := b.Execute(t.Context(), old.Ops); err != nil {
			t.Fatal(err)
		}
	}
	b.wantSources(t, "tap2", "10.0.0.9/32")
	b.converge(t, sweeping())
}
