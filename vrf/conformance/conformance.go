// Package conformance holds the behaviour that package vrf relies on against a
// kernel, the real one and the fake alike. Each test gets a fresh target.
package conformance

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"github.com/hostroute/hostroute/vrf"
)

// Target is a kernel under test and what a test does to it behind our back.
type Target interface {
	Read(context.Context, vrf.Host) (vrf.Actual, error)
	Execute(context.Context, []vrf.Op) error
	vrf.Dataplane

	// AddLink makes a link that is down and has carrier once it is up.
	AddLink(name string)
	DeleteLink(name string)
	SetUp(name string, up bool)
	SetCarrier(name string, on bool)
	// The foreign things carry another protocol, and Foreign lists them. A route
	// takes the place of what is there.
	AddForeignRoute(table uint32, p netip.Prefix, metric uint32)
	DeleteForeignRoute(table uint32, p netip.Prefix, metric uint32)
	// AddFormerBlackhole adds one of ours that an earlier process left.
	AddFormerBlackhole(table uint32, p netip.Prefix)
	AddForeignAddress(link string, p netip.Prefix)
	DeleteNeighbour(link string, a netip.Addr)
	AddForeignNextHop(id uint32, gateway netip.Addr, link string)
	Foreign() []string
	// FlushFilter deletes everybody's filters.
	FlushFilter()
}

// Setup says what the target can do.
type Setup struct {
	New func(*testing.T) Target
	// VRF: it can make VRF devices. Otherwise only their tables are used.
	VRF bool
	// Plain: it has no next-hop objects, or they are switched off.
	Plain bool
	// Shared: it has no resilient groups, or they are switched off.
	Shared bool
	// Floor: tables have a link of this name, which nothing else uses, for the
	// floors of groups, where VRF devices have themselves.
	Floor string
	// Short leaves out what a VRF device makes no difference to, for a machine
	// that is slow, if all runs elsewhere.
	Short bool
}

// Run runs every test.
func Run(t *testing.T, s Setup) {
	hosts := map[string]func(*testing.T, *bench){
		"converges": converges, "bounced tap": bouncedTap, "tap appears": tapAppears,
		"tap vanishes": tapVanishes, "tap released": tapReleased, "no sweep": noSweep,
		"gateway changes": gatewayChanges, "uplink renumbered": uplinkRenumbered,
		"route moves": routeMoves, "foreign survives": foreignSurvives,
		"blackholes": blackholes, "blackholes of a former run": formerBlackholes, "foreign blackholes": foreignBlackholes,
		"filter follows": filterFollows, "filter flushed": filterFlushed, "filter changed meanwhile": filterChangedMeanwhile,
	}
	sharing := map[string]func(*testing.T, *bench){
		"shared": shared, "shared taps fail": sharedTapsFail, "shared gateways": sharedGateways, "shared and foreign": sharedForeign,
	}
	fibs := map[string]func(*testing.T, *bench){
		"apply and withdraw": applyAndWithdraw, "both families by one gateway": bothFamilies,
		"carrier lost": carrierLost, "all carriers lost": allCarriersLost, "plane lost": planeLost,
		"floor damaged": floorDamaged, "floor after a restart": floorAfterRestart,
		"restart": restart, "sweep": sweep, "refused": refused, "route taken": routeTaken, "route taken meanwhile": takenMeanwhile, "verified": verified, "verified in turns": verifiedInTurns,
		"damaged": damaged, "damaged by many": damagedByMany, "damaged after a restart": damagedAfterRestart,
		"foreign next hops": foreignNextHops, "carrier missing at start": carrierMissing,
		"uplink made anew": uplinkMadeAnew,
		"anycast changes":  anycastChanges, "anycast after a restart": anycastRestart,
		"anycast over a lost plane": anycastPlaneLost, "anycast damaged": anycastDamaged,
	}
	if s.Shared {
		hosts = nil // they know nothing of groups
	}
	for name, f := range hosts {
		t.Run(name, func(t *testing.T) { f(t, newBench(t, s)) })
	}
	for name, f := range sharing {
		t.Run(name, func(t *testing.T) { f(t, newSharedBench(t, s)) })
	}
	if s.Short {
		fibs = map[string]func(*testing.T, *bench){
			"apply and withdraw": applyAndWithdraw, "all carriers lost": allCarriersLost, "plane lost": planeLost, "restart": restart,
			"floor damaged": floorDamaged, "floor after a restart": floorAfterRestart,
		}
	}
	for name, f := range fibs {
		t.Run(name, func(t *testing.T) { f(t, newLearnedBench(t, s)) })
	}
	if s.VRF {
		t.Run("rules", func(t *testing.T) { rules(t, newBench(t, s)) })
		t.Run("VRF deleted", func(t *testing.T) { vrfDeleted(t, newLearnedBench(t, s)) })
		t.Run("tap changes VRF", func(t *testing.T) { tapChangesVRF(t, newBench(t, s)) })
	}
}

// bench is a target with a host.
type bench struct {
	Target
	Setup
	host vrf.Host
	fib  *vrf.FIB
}

func newBench(t *testing.T, s Setup) *bench {
	b := &bench{Target: s.New(t), Setup: s}
	for _, name := range []string{"u0", "u1", "w0", "tap1", "tap2"} {
		b.AddLink(name)
	}
	if s.Floor != "" {
		b.AddLink(s.Floor)
		b.SetUp(s.Floor, true)
	}
	b.host = vrf.Host{
		VRFs: []vrf.VRF{{Name: "public", Table: 90, NoDevice: !s.VRF}, {Name: "private", Table: 20, NoDevice: !s.VRF}},
		Uplinks: []vrf.Uplink{
			{Name: "u0", VRF: "public", Plane: "a", Addresses: prefixes("100.64.1.1/24", "fd64:1::1/64")},
			{Name: "u1", VRF: "public", Plane: "b", Addresses: prefixes("100.64.2.1/24", "fd64:2::1/64")},
			{Name: "w0", VRF: "private", Plane: "a", Addresses: prefixes("100.64.3.1/24")},
		},
		Taps: []vrf.Tap{tap1(), tap2()},
	}
	return b
}

func newLearnedBench(t *testing.T, s Setup) *bench {
	b := newBench(t, s)
	b.converge(t, vrf.Options{Sweep: true})
	b.fib = b.newFIB()
	return b
}

func (b *bench) newFIB() *vrf.FIB { return b.newFIBOver(b.Target) }

func (b *bench) newFIBOver(plane vrf.Dataplane) *vrf.FIB {
	f := vrf.NewFIB(plane, b.host.VRFs, b.host.Uplinks)
	if b.Floor != "" {
		f.SetFloor("public", b.Floor)
	}
	return f
}

func tap1() vrf.Tap {
	return vrf.Tap{
		Name: "tap1", VRF: "public", Gateways: addrs("169.254.0.1", "203.0.113.1"),
		MAC: mac(7), Sources: prefixes("203.0.113.7/32", "203.0.113.16/28", "2001:db8:cb00:7100::7/128", "2001:db8:cb00:7110::/60"),
		Routes: []vrf.Route{
			{Prefix: prefix("203.0.113.7/32")}, {Prefix: prefix("2001:db8:cb00:7100::7/128")},
			{Prefix: prefix("203.0.113.16/28"), Via: addr("203.0.113.7")},
			{Prefix: prefix("203.0.113.32/28"), Via: addr("fe80::7")},
			{Prefix: prefix("2001:db8:cb00:7110::/60"), Via: addr("fe80::7")},
		},
		Neighbours: []vrf.Neighbour{
			{Address: addr("203.0.113.7"), MAC: mac(7)}, {Address: addr("2001:db8:cb00:7100::7"), MAC: mac(7)},
			{Address: addr("fe80::7"), MAC: mac(7)},
		},
	}
}

func tap2() vrf.Tap {
	return vrf.Tap{
		Name: "tap2", VRF: "private", Gateways: addrs("169.254.0.1", "2001:db8:1::1"),
		MAC: mac(8), Sources: prefixes("10.0.0.8/32", "2001:db8:1::8/128"),
		Routes:     []vrf.Route{{Prefix: prefix("10.0.0.8/32")}, {Prefix: prefix("2001:db8:1::8/128")}},
		Neighbours: []vrf.Neighbour{{Address: addr("10.0.0.8"), MAC: mac(8)}},
	}
}

func mac(n byte) [6]byte             { return [6]byte{2, 0, 0, 0, 1, n} }
func prefix(s string) netip.Prefix   { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr       { return netip.MustParseAddr(s) }
func addrs(s ...string) []netip.Addr { return mapped(s, netip.MustParseAddr) }
func prefixes(s ...string) []netip.Prefix {
	return mapped(s, netip.MustParsePrefix)
}

func mapped[A, B any](in []A, f func(A) B) []B {
	out := make([]B, 0, len(in))
	for _, x := range in {
		out = append(out, f(x))
	}
	return out
}

func (b *bench) plan(t *testing.T, o vrf.Options) vrf.Result {
	t.Helper()
	actual, err := b.Read(t.Context(), b.host)
	if err != nil {
		t.Fatal(err)
	}
	return vrf.Plan(b.host, actual, o)
}

// converge executes a plan and asks that nothing is left for a second.
func (b *bench) converge(t *testing.T, o vrf.Options) vrf.Result {
	t.Helper()
	r := b.plan(t, o)
	if len(r.Problems) > 0 {
		t.Fatalf("problems: %v", r.Problems)
	}
	if err := b.Execute(t.Context(), r.Ops); err != nil {
		t.Fatalf("executing: %v", err)
	}
	if again := b.plan(t, o); len(again.Ops) > 0 {
		t.Fatalf("after %d operations a second plan has %v", len(r.Ops), again.Ops)
	}
	return r
}

func (b *bench) actual(t *testing.T) vrf.Actual {
	t.Helper()
	a, err := b.Read(t.Context(), b.host)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// guestRoutes lists the routes of taps, by device.
func (b *bench) guestRoutes(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, r := range b.actual(t).Routes {
		if r.Metric == vrf.MetricGuest {
			list = append(list, r.String())
		}
	}
	slices.Sort(list)
	return list
}

func (b *bench) wantRoutes(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := b.guestRoutes(t); !slices.Equal(got, want) {
		t.Fatalf("guests' routes are\n%q, want\n%q", got, want)
	}
}

func tap1Routes() []string {
	return []string{
		"203.0.113.7/32 dev tap1 table 90", "2001:db8:cb00:7100::7/128 dev tap1 table 90",
		"203.0.113.16/28 via 203.0.113.7 dev tap1 table 90", "203.0.113.32/28 via fe80::7 dev tap1 table 90",
		"2001:db8:cb00:7110::/60 via fe80::7 dev tap1 table 90",
	}
}

func tap2Routes() []string {
	return []string{"10.0.0.8/32 dev tap2 table 20", "2001:db8:1::8/128 dev tap2 table 20"}
}

func (b *bench) wantForeign(t *testing.T, want []string) {
	t.Helper()
	if got := b.Foreign(); !slices.Equal(got, want) {
		t.Fatalf("what is somebody else's changed: have\n%q, had\n%q", got, want)
	}
}
