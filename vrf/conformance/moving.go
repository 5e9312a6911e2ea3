package conformance

import (
	"errors"
	"slices"
	"testing"

	"github.com/hostroute/hostroute/vrf"
)

func someBlackholes() []vrf.Blackhole {
	return []vrf.Blackhole{
		{VRF: "public", Prefix: prefix("203.0.113.7/32")}, {VRF: "public", Prefix: prefix("2001:db8:cb00:7100::7/128")},
		{VRF: "public", Prefix: prefix("203.0.113.16/28")}, {VRF: "private", Prefix: prefix("2001:db8:cb00:7110::/60")},
	}
}

// blackholeRoutes lists those that are installed.
func (b *bench) blackholeRoutes(t *testing.T) (list []string) {
	t.Helper()
	for _, r := range b.actual(t).Routes {
		if r.Blackhole {
			list = append(list, r.String())
		}
	}
	slices.Sort(list)
	return list
}

func (b *bench) wantBlackholes(t *testing.T, want ...string) {
	t.Helper()
	if got := b.blackholeRoutes(t); !slices.Equal(got, want) {
		t.Fatalf("blackholes are\n%q, want\n%q", got, want)
	}
}

// blackholes come and go, with guests' routes of the same prefixes and without,
// and none that this process made needs a sweep to go.
func blackholes(t *testing.T, b *bench) {
	b.host.Blackholes = someBlackholes()
	b.host.Blackholes = append(b.host.Blackholes, b.host.Blackholes[0]) // twice makes no difference
	b.converge(t, sweeping())
	all := []string{
		"blackhole 2001:db8:cb00:7100::7/128 table 90", "blackhole 2001:db8:cb00:7110::/60 table 20",
		"blackhole 203.0.113.16/28 table 90", "blackhole 203.0.113.7/32 table 90",
	}
	b.wantBlackholes(t, all...)
	b.wantRoutes(t, append(tap1Routes(), tap2Routes()...)...)
	b.host.Taps = b.host.Taps[1:]
	b.converge(t, sweeping())
	b.wantBlackholes(t, all...)
	for i := range 2 { // those of one address each
		b.host.Blackholes[i].Over = true
	}
	b.host.Blackholes = b.host.Blackholes[:4]
	b.converge(t, vrf.Options{Links: []string{}})
	b.wantBlackholes(t, all[0]+" metric 150", all[1], all[2], all[3]+" metric 150")
	b.host.Blackholes = b.host.Blackholes[2:4]
	b.converge(t, vrf.Options{})
	b.wantBlackholes(t, all[1:3]...)
	b.host.Blackholes = nil
	b.converge(t, vrf.Options{Links: []string{}})
	b.wantBlackholes(t)
}

// formerBlackholes stay until a sweep, since what they are for is not known.
func formerBlackholes(t *testing.T, b *bench) {
	b.AddFormerBlackhole(90, prefix("203.0.113.40/32"))
	b.AddFormerBlackhole(20, prefix("2001:db8::40/128"))
	b.host.Blackholes = []vrf.Blackhole{{VRF: "public", Prefix: prefix("203.0.113.40/32")}}
	b.converge(t, vrf.Options{})
	b.wantBlackholes(t, "blackhole 2001:db8::40/128 table 20", "blackhole 203.0.113.40/32 table 90")
	b.converge(t, sweeping())
	b.wantBlackholes(t, "blackhole 203.0.113.40/32 table 90")
	b.host.Blackholes = nil
	b.converge(t, sweeping())
	b.wantBlackholes(t)
}

// foreignBlackholes: where somebody else's route stands, none is put, and it
// stays where none is wanted any more.
func foreignBlackholes(t *testing.T, b *bench) {
	b.converge(t, sweeping())
	b.host.Blackholes = someBlackholes()
	b.AddForeignRoute(90, prefix("203.0.113.7/32"), vrf.MetricBlackhole)
	b.AddForeignRoute(90, prefix("2001:db8:cb00:7100::7/128"), vrf.MetricBlackhole)
	had := b.Foreign()
	if err := b.Execute(t.Context(), b.plan(t, sweeping()).Ops); !errors.Is(err, vrf.ErrExists) {
		t.Errorf("got %v, want %v", err, vrf.ErrExists)
	}
	b.wantForeign(t, had)
	b.wantBlackholes(t, "blackhole 2001:db8:cb00:7110::/60 table 20", "blackhole 203.0.113.16/28 table 90")
	b.host.Blackholes = nil
	b.converge(t, sweeping())
	b.wantForeign(t, had)
	b.wantBlackholes(t)
}
