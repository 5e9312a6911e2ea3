package vrf_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/fake"
)

// own tells whether a guest may send from an address, by the host alone.
func own(h vrf.Host, tap string, mac [6]byte, a netip.Addr) bool {
	return slices.ContainsFunc(h.Taps, func(t vrf.Tap) bool {
		return t.Name == tap && t.MAC == mac && mac != [6]byte{} && slices.ContainsFunc(t.Sources, func(p netip.Prefix) bool { return p.Contains(a) })
	})
}

// TestNothingSpoofedAtAnyMoment goes from any state to any other, with
// operations that fail, and looks after every single one: what neither the old
// nor the new state allows never passes on an interface in the group of the
// taps or in a VRF.
func TestNothingSpoofedAtAnyMoment(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		k := fake.New()
		for _, name := range []string{"u0", "u1", "tap0", "tap1", "tap2"} {
			k.AddLink(name)
			k.SetUp(name, true)
		}
		var before vrf.Host
		for range 3 {
			after := drawHost(r)
			look := func() {
				actual, err := k.Read(r.Context(), after)
				if err != nil {
					r.Fatal(err)
				}
				for _, tap := range actual.Links {
					if tap.Group != vrf.TapGroup && (tap.Master == "" || !strings.HasPrefix(tap.Name, "tap")) {
						continue // nobody has made it a guest's yet
					}
					for _, mac := range [][6]byte{{}, {2}, {2, 5: 1}, {2, 5: 2}} {
						for _, a := range []string{"203.0.113.7", "203.0.113.8", "203.0.113.17", "198.51.100.1", "2001:db8::7", "2001:db8:1::1"} {
							source := netip.MustParseAddr(a)
							if k.Passes(tap.Name, mac, source) && !own(before, tap.Name, mac, source) && !own(after, tap.Name, mac, source) {
								r.Fatalf("%s passes on %s with MAC %x", source, tap.Name, mac)
							}
						}
					}
				}
			}
			// The fault stands between two operations, and may be one itself.
			k.Fault = func(vrf.Op) error {
				look()
				if rapid.IntRange(0, 7).Draw(r, "fault") == 0 {
					return errFault
				}
				return nil
			}
			_ = k.Execute(r.Context(), plan(r, k, after).Ops)
			look()
			k.Fault = nil
			if err := k.Execute(r.Context(), plan(r, k, after).Ops); err != nil {
				r.Fatal(err)
			}
			before = after
		}
	})
}

// TestFilterFails: without a filter no tap is enslaved, brought up or put on
// the way, and the host isn't made a router. What needs no guest goes on.
func TestFilterFails(t *testing.T) {
	k := fake.New()
	k.NoFilter = true
	for _, name := range []string{"tap0", "u0"} {
		k.AddLink(name)
	}
	h := oneTap()
	h.Uplinks = []vrf.Uplink{{Name: "u0", VRF: "public", Addresses: []netip.Prefix{netip.MustParsePrefix("100.64.0.1/24")}}}
	actual, err := k.Read(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	err = k.Execute(t.Context(), vrf.Plan(h, actual, vrf.Options{Sweep: true}).Ops)
	if err == nil || !strings.Contains(err.Error(), "building the filter of guests") || !strings.Contains(err.Error(), "no nf_tables") {
		t.Errorf("the error is %v", err)
	}
	actual, err = k.Read(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range actual.Links {
		switch {
		case l.Name == "tap0" && (l.Master != "" || l.Up):
			t.Errorf("the tap is %+v", l)
		case l.Name == "u0" && (l.Master != "public" || !l.Up):
			t.Errorf("the uplink is %+v", l)
		}
	}
	if actual.Sysctls["ipv4/ip_forward"] == "1" {
		t.Error("the host forwards")
	}
}

// TestFilterOf: the host's own ports are never taken for guests', and sources
// within others are left out.
func TestFilterOf(t *testing.T) {
	address := func(link, p string) vrf.Address { return vrf.Address{Link: link, Prefix: netip.MustParsePrefix(p)} }
	h := vrf.Host{
		VRFs: []vrf.VRF{{Name: "public", Table: 90}}, TapPatterns: []string{"vnet*", "one"},
		Uplinks: []vrf.Uplink{{Name: "vnet0", VRF: "public", Addresses: []netip.Prefix{netip.MustParsePrefix("100.64.1.1/24")}}},
		Taps: []vrf.Tap{
			{Name: "eth0", VRF: "public"}, {Name: "vnet0", VRF: "public"}, {Name: "lo", VRF: "public"},
			{Name: "vnet3", VRF: "public", MAC: [6]byte{2}, Sources: []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("203.0.113.0/28"), {}}},
		},
		Interconnects: []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10")},
	}
	f := vrf.FilterOf(h, vrf.Actual{
		Links:     []vrf.Link{{Name: "eth0"}, {Name: "vnet1"}, {Name: "vnet2"}, {Name: "other"}, {Name: "one"}},
		Addresses: []vrf.Address{address("eth0", "198.51.100.1/24"), address("vnet1", "198.51.100.2/24"), address("other", "198.51.100.3/24"), address("vnet2", "169.254.0.1/32")},
	})
	var got []string
	for _, of := range f.Elements {
		for _, e := range of {
			got = append(got, e.String())
		}
	}
	slices.Sort(got)
	want := []string{
		"exempt: lo", "exempt: public", "exempt: vnet0", "exempt: vnet1", "gateways: vnet3 . fe80::1/128", "macs: vnet3 . 02:00:00:00:00:00",
		"sources: vnet3 . 203.0.113.0/28", "taps: vnet3", "vrftaps: vnet3",
	}
	if !slices.Equal(got, want) {
		t.Errorf("elements are\n%q, want\n%q", got, want)
	}
	if s := f.Static; !slices.Equal(s.Interconnects, h.Interconnects) || !slices.Equal(s.Patterns, []string{"one", "vnet*"}) {
		t.Errorf("the rules depend on %v", s)
	}
}
