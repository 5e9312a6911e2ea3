package vrf

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// TestInstalledRoutesStayInStep: after whatever was put and deleted, they are what they would
// be if made anew of the routes that are left.
func TestInstalledRoutesStayInStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, model := NewInstalledRoutes(), map[RouteKey]InstalledRoute{}
		for range rapid.IntRange(1, 40).Draw(t, "operations") {
			r := InstalledRoute{
				Table:  90,
				Prefix: netip.MustParsePrefix(fmt.Sprintf("203.0.113.%d/32", rapid.IntRange(1, 3).Draw(t, "prefix"))),
				Metric: rapid.SampledFrom([]uint32{MetricGuest, MetricBlackhole}).Draw(t, "metric"),
			}
			switch rapid.IntRange(0, 3).Draw(t, "operation") {
			case 0:
				s.Delete(r.Key())
				delete(model, r.Key())
				continue
			case 1:
				r.SetHops([]RouteHop{{Link: "tap0"}, {Link: "tap1"}})
			case 2:
				r.Link = rapid.SampledFrom([]string{"tap0", "tap1"}).Draw(t, "link")
			case 3:
				r.Blackhole = true
			}
			s.Put(r)
			model[r.Key()] = r
		}
		anew := NewInstalledRoutes()
		for key, r := range model {
			anew.Put(r)
			if have, ok := s.Get(key); !ok || !have.Equal(r) {
				t.Fatalf("%v is %v, %v", r, have, ok)
			}
		}
		if !reflect.DeepEqual(s, anew) {
			t.Fatalf("got %v, made anew %v", s, anew)
		}
	})
}
