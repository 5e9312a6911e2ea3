package main

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
)

// TestCompareDesired: one byte is a difference, and it is named.
func TestCompareDesired(t *testing.T) {
	host := func(preference uint32, taps ...string) projector.Host {
		h := projector.Host{Announcements: []bgp.Announcement{{VRF: "public", Prefix: netip.MustParsePrefix("203.0.113.7/32"), Preference: preference}}}
		for _, name := range taps {
			h.Taps = append(h.Taps, vrf.Tap{Name: name, VRF: "public", MAC: [6]byte{2}})
		}
		return h
	}
	announced := func(preference string) string {
		return `announcements {"VRF":"public","Prefix":"203.0.113.7/32","Preference":` + preference + `,"Communities":null}`
	}
	tap := func(name string) string {
		return `taps {"Name":"` + name + `","VRF":"public","Gateways":null,"Routes":null,"Neighbours":null,"MAC":[2,0,0,0,0,0],"Sources":null}`
	}
	for name, c := range map[string]struct {
		want, got  projector.Host
		lacks, has []string
	}{
		"the same":            {host(100, "a", "b"), host(100, "a", "b"), []string{}, []string{}},
		"another preference":  {host(100, "a"), host(50, "a"), []string{announced("100")}, []string{announced("50")}},
		"a tap more and less": {host(100, "a", "b"), host(100, "b", "c"), []string{tap("a")}, []string{tap("c")}},
		"no tap at all":       {host(100, "a"), host(100), []string{tap("a")}, []string{}},
		"another order":       {host(100, "a", "b"), host(100, "b", "a"), []string{}, []string{"the same in another order"}},
	} {
		t.Run(name, func(t *testing.T) {
			want, _ := json.Marshal(c.want)
			got, _ := json.Marshal(c.got)
			d, err := compareDesired(want, got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&agentDifference{c.lacks, c.has, len(want)}, d); diff != "" {
				t.Error(diff)
			}
		})
	}
}
