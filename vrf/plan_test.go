package vrf_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/fake"
)

var errFault = errors.New("injected")

// drawHost draws a host out of few names, so that states overlap.
func drawHost(r *rapid.T) vrf.Host {
	h := vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 90}, {Name: "private", Table: 20}}, TapPatterns: []string{"vnet*"}}
	if rapid.Bool().Draw(r, "pattern") {
		h.TapPatterns = []string{"tap*"}
	}
	name := rapid.SampledFrom([]string{"public", "private"})
	for i, u := range []string{"u0", "u1"} {
		if rapid.Bool().Draw(r, u) {
			h.Uplinks = append(h.Uplinks, vrf.Uplink{
				Name: u, VRF: name.Draw(r, "VRF"),
				Addresses: []netip.Prefix{
					netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(i), byte(rapid.IntRange(1, 3).Draw(r, "address"))}), 24),
					netip.MustParsePrefix(fmt.Sprintf("fd64:%d::1/64", i)),
				},
			})
		}
	}
	for _, name := range []string{"tap0", "tap1", "tap2"} {
		if rapid.Bool().Draw(r, name) {
			h.Taps = append(h.Taps, drawTap(r, name))
		}
	}
	h.Blackholes = drawBlackholes(r)
	return h
}

func drawBlackholes(r *rapid.T) (list []vrf.Blackhole) {
	for _, p := range []string{"203.0.113.7/32", "203.0.113.16/28", "2001:db8::7/128"} {
		if rapid.IntRange(0, 2).Draw(r, "blackhole "+p) == 0 {
			list = append(list, vrf.Blackhole{VRF: rapid.SampledFrom([]string{"public", "private"}).Draw(r, "VRF"),
				Prefix: netip.MustParsePrefix(p), Over: rapid.Bool().Draw(r, "over")})
		}
	}
	return list
}

// drawTap draws a tap whose prefixes others may have as well.
func drawTap(r *rapid.T, name string) vrf.Tap {
	t := vrf.Tap{Name: name, VRF: rapid.SampledFrom([]string{"public", "private"}).Draw(r, "VRF"), MAC: [6]byte{2, 0, 0, 0, 0, byte(rapid.IntRange(0, 2).Draw(r, "guest's MAC"))}}
	if rapid.Bool().Draw(r, "wide source") { // overlaps with others
		t.Sources = append(t.Sources, netip.MustParsePrefix("203.0.113.0/27"))
	}
	for _, g := range []string{"169.254.0.1", "203.0.113.1", "2001:db8::1"} {
		if rapid.Bool().Draw(r, g) {
			t.Gateways = append(t.Gateways, netip.MustParseAddr(g))
		}
	}
	for _, p := range []string{"203.0.113.7/32", "203.0.113.8/32", "203.0.113.16/28", "2001:db8::7/128", "2001:db8:1::/64"} {
		prefix := netip.MustParsePrefix(p)
		if rapid.Bool().Draw(r, p) {
			continue
		}
		t.Sources = append(t.Sources, prefix)
		route := vrf.Route{Prefix: prefix}
		if !prefix.IsSingleIP() {
			route.Via = netip.MustParseAddr("fe80::7")
		}
		t.Routes = append(t.Routes, route)
		t.Neighbours = append(t.Neighbours, vrf.Neighbour{Address: prefix.Addr(), MAC: [6]byte{2, 0, 0, 0, 0, byte(rapid.IntRange(1, 2).Draw(r, "MAC"))}})
	}
	return t
}

// disturb does what others do to a host.
func disturb(r *rapid.T, k *fake.Kernel, exists map[string]bool) {
	names := []string{"u0", "u1", "tap0", "tap1", "tap2"}
	for range rapid.IntRange(0, 4).Draw(r, "disturbances") {
		name := rapid.SampledFrom(names).Draw(r, "link")
		switch rapid.IntRange(0, 6).Draw(r, "disturbance") {
		case 0:
			if exists[name] {
				k.DeleteLink(name)
			} else {
				k.AddLink(name)
			}
			exists[name] = !exists[name]
		case 1:
			if exists[name] {
				k.SetUp(name, false)
			}
		case 2:
			if exists[name] {
				k.SetUp(name, false)
				k.SetUp(name, true)
			}
		case 3:
			if exists["u0"] {
				k.AddForeignAddress("u0", netip.MustParsePrefix("198.51.100.9/24"))
			}
		case 4:
			k.FlushFilter()
		case 5:
			k.DeleteFilterRule()
		case 6:
			if exists[name] {
				k.SetGroup(name, 0)
			}
		}
	}
}

// inGroup tells a tap, or one that was, from other links. Where somebody takes a
// tap out of its group in the moment in which it is released, nothing marks its
// neighbours as ours any more.
func inGroup(a vrf.Actual, link string) bool {
	return slices.ContainsFunc(a.Links, func(l vrf.Link) bool { return l.Name == link && l.Group == vrf.TapGroup })
}

// state is what of ours must depend on the desired host and the existing
// links alone. A tap that was released stays in its group, and down.
func state(t *rapid.T, k *fake.Kernel, h vrf.Host) []string {
	a, err := k.Read(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, r := range a.Routes {
		list = append(list, r.String())
	}
	for _, x := range a.Addresses {
		if x.Protocol == vrf.Protocol {
			list = append(list, fmt.Sprint("address ", x))
		}
	}
	for _, n := range a.Neighbours {
		if wanted(h, n.Link) || inGroup(a, n.Link) {
			list = append(list, fmt.Sprint("neighbour ", n))
		}
	}
	for _, l := range a.Links {
		if wanted(h, l.Name) {
			list = append(list, fmt.Sprint("link ", l.Name, l.Master, l.Group, l.Up))
		}
	}
	for _, r := range a.Rules {
		list = append(list, r.String())
	}
	for _, of := range a.Filter.Elements {
		for _, e := range of {
			list = append(list, "filter "+e.String())
		}
	}
	list = append(list, fmt.Sprint("filter whole: ", a.Filter.Whole))
	slices.Sort(list)
	return list
}

func wanted(h vrf.Host, link string) bool {
	return slices.ContainsFunc(h.Taps, func(t vrf.Tap) bool { return t.Name == link }) ||
		slices.ContainsFunc(h.Uplinks, func(u vrf.Uplink) bool { return u.Name == link })
}

func plan(t *rapid.T, k *fake.Kernel, h vrf.Host) vrf.Result {
	a, err := k.Read(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return vrf.Plan(h, a, vrf.Options{Sweep: true})
}

// TestPlanPathIndependent goes from any state over any other, with links that
// come, go and bounce and operations that fail, and arrives where a new host
// arrives that only ever knew the last state.
func TestPlanPathIndependent(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		k := fake.New()
		exists := map[string]bool{}
		var h vrf.Host
		for range rapid.IntRange(1, 5).Draw(r, "steps") {
			h = drawHost(r)
			if err := h.Validate(); err != nil {
				r.Fatal(err)
			}
			disturb(r, k, exists)
			if rapid.Bool().Draw(r, "failing") {
				k.Fault = func(vrf.Op) error {
					if rapid.IntRange(0, 5).Draw(r, "fault") == 0 {
						return errFault
					}
					return nil
				}
				_ = k.Execute(r.Context(), plan(r, k, h).Ops) // fails or not, the next must mend it
				k.Fault = nil
			}
			if err := k.Execute(r.Context(), plan(r, k, h).Ops); err != nil {
				r.Fatalf("executing: %v", err)
			}
			if again := plan(r, k, h); len(again.Ops) > 0 || len(again.Problems) > 0 {
				r.Fatalf("a second plan has %v, problems %v", again.Ops, again.Problems)
			}
		}
		direct := fake.New()
		for _, name := range []string{"u0", "u1", "tap0", "tap1", "tap2"} {
			if exists[name] {
				direct.AddLink(name)
			}
		}
		if err := direct.Execute(r.Context(), plan(r, direct, h).Ops); err != nil {
			r.Fatal(err)
		}
		if got, want := state(r, k, h), state(r, direct, h); !slices.Equal(got, want) {
			r.Fatalf("arrived at\n%s\na new host arrives at\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestPlanProtects checks the orders that protect somebody.
func TestPlanProtects(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		h := drawHost(r)
		k := fake.New()
		for _, name := range []string{"u0", "u1", "tap0", "tap1", "tap2"} {
			k.AddLink(name)
		}
		strict, group, last, late := map[string]bool{}, map[string]bool{}, map[string]int{}, map[bool]bool{}
		for _, op := range plan(r, k, h).Ops {
			switch o := op.(type) {
			case vrf.SetSysctl:
				strict[o.Link] = strict[o.Link] || o.Name == "ipv4/conf/"+o.Link+"/rp_filter"
			case vrf.SetGroup:
				group[o.Link] = true
			case vrf.AddRule:
				late[o.Rule.IPv6] = late[o.Rule.IPv6] || o.Rule.Priority == 32765
			case vrf.DeleteRule:
				if !late[o.Rule.IPv6] {
					r.Fatalf("%s comes before local addresses have their new rule", o)
				}
			case vrf.AddRoute:
				if o.Route.Unreachable {
					last[o.VRF]++
				}
			case vrf.SetMaster:
				tap := strings.HasPrefix(o.Link, "tap")
				if last[o.Master] != 2 || tap && (!strict[o.Link] || !group[o.Link]) {
					r.Fatalf("%s comes too early", o)
				}
			}
		}
	})
}
