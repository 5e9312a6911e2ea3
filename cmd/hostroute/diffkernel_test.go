package main

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
)

// TestBlackholesOfWhatMoves lets those in the kernel stand that belong to a
// prefix on its way from here or to here, and no others.
func TestBlackholesOfWhatMoves(t *testing.T) {
	left, came, stranger := netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("2001:db8:1::/64"), netip.MustParsePrefix("203.0.113.9/32")
	host := projector.Host{
		Departures: []projector.Departure{{VM: "a", VRF: "public", Prefix: left, To: "hv2"}},
		Taps:       []vrf.Tap{{Name: "t", VRF: "private", Routes: []vrf.Route{{Prefix: came}}}},
	}
	desired := vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 10}, {Name: "private", Table: 20}}}
	actual := vrf.Actual{Routes: []vrf.InstalledRoute{
		{Table: 10, Prefix: left, Metric: vrf.MetricBlackhole},
		{Table: 10, Prefix: left, Metric: vrf.MetricBlackholeOver},
		{Table: 10, Prefix: stranger, Metric: vrf.MetricBlackholeOver},
		{Table: 20, Prefix: left, Metric: vrf.MetricBlackhole},     // another VRF's
		{Table: 10, Prefix: stranger, Metric: vrf.MetricBlackhole}, // nobody's
		{Table: 20, Prefix: came, Metric: vrf.MetricGuest},
		{Table: 20, Prefix: came, Metric: vrf.MetricBlackhole},
	}}
	want := []vrf.Blackhole{{VRF: "public", Prefix: left}, {VRF: "public", Prefix: left, Over: true}, {VRF: "private", Prefix: came}}
	if diff := cmp.Diff(want, passing(desired, actual, host), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
	if got := passing(desired, vrf.Actual{}, host); len(got) > 0 {
		t.Errorf("wants %v in a kernel without", got)
	}
}
