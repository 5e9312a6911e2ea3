package vrf_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/fake"
)

func oneTap() vrf.Host {
	return vrf.Host{
		VRFs: []vrf.VRF{{Name: "public", Table: 90}},
		Taps: []vrf.Tap{{
			Name: "tap0", VRF: "public", Gateways: []netip.Addr{netip.MustParseAddr("169.254.0.1")},
			Routes: []vrf.Route{{Prefix: netip.MustParsePrefix("203.0.113.7/32")}},
		}},
	}
}

func TestPlanProblems(t *testing.T) {
	twoTaps := oneTap()
	twoTaps.Taps = append(twoTaps.Taps, twoTaps.Taps[0])
	twoTaps.Taps[1].Name = "tap1"
	twoTaps.Taps[1].MAC = [6]byte{2, 5: 1}
	for i := range twoTaps.Taps {
		twoTaps.Taps[i].Routes = []vrf.Route{{Prefix: netip.MustParsePrefix("2001:db8::7/128")}}
	}
	twice := oneTap()
	twice.Taps[0].Routes = append(twice.Taps[0].Routes, twice.Taps[0].Routes[0])
	nowhere := oneTap()
	nowhere.Blackholes = []vrf.Blackhole{{VRF: "nowhere", Prefix: netip.MustParsePrefix("203.0.113.9/32")}}
	unknown := oneTap()
	unknown.Taps[0].VRF = "nowhere"
	itself, loopback := oneTap(), oneTap()
	itself.Taps[0].Name, loopback.Taps[0].Name = "public", "lo"
	table := vrf.Link{Name: "public", Index: 9, Table: 91, Up: true}
	tests := map[string]struct {
		host   vrf.Host
		actual []vrf.Link
		want   string
	}{
		"VRF with another table": {oneTap(), []vrf.Link{table}, "VRF public: the device has table 91, the configuration says 90"},
		"name taken":             {oneTap(), []vrf.Link{{Name: "public"}}, "is no VRF"},
		"shared without a MAC":   {twoTaps, []vrf.Link{{Name: "tap0"}, {Name: "tap1"}}, "2001:db8::7/128: other taps have it as well, and tap0 has no MAC"},
		"one prefix twice":       {twice, []vrf.Link{{Name: "tap0"}}, "203.0.113.7/32: it is on tap0 already"},
		"blackhole in no VRF":    {nowhere, []vrf.Link{{Name: "tap0"}}, `blackhole 203.0.113.9/32: VRF "nowhere" is not defined`},
		"a VRF device as a tap":  {itself, []vrf.Link{{Name: "public", Table: 90, Up: true}}, "interface public: it is a VRF device"},
		"the loopback as a tap":  {loopback, []vrf.Link{{Name: "lo", Up: true}}, `interface "lo": the kernel uses that name`},
		"unknown VRF":            {unknown, nil, `interface tap0: VRF "nowhere" is not defined`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := vrf.Plan(test.host, vrf.Actual{Links: test.actual}, vrf.Options{Sweep: true})
			if len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Error(), test.want) {
				t.Errorf("problems are %v, want %q", r.Problems, test.want)
			}
			for _, op := range r.Ops {
				if s := op.String(); strings.Contains(s, " lo") || strings.Contains(s, "group") && strings.Contains(s, "public") {
					t.Errorf("the plan has %s", op)
				}
			}
		})
	}
}

// TestPlanContradictionTouchesNothing: a VRF that contradicts the kernel must
// not lead to its guests being swept away.
func TestPlanContradictionTouchesNothing(t *testing.T) {
	k := fake.New()
	k.AddLink("tap0")
	h := oneTap()
	execute(t, k, h)
	h.VRFs[0].Table = 91
	actual, _ := k.Read(t.Context(), oneTap())
	for _, op := range vrf.Plan(h, actual, vrf.Options{Sweep: true}).Ops {
		t.Errorf("the plan has %s", op)
	}
}

// TestPlanKeepsTheHostsOwnPorts: a log that names the management port as a
// guest's tap must not cut the host off.
func TestPlanKeepsTheHostsOwnPorts(t *testing.T) {
	k := fake.New()
	k.AddLink("tap0")
	k.AddForeignAddress("tap0", netip.MustParsePrefix("198.51.100.11/24"))
	r := execute(t, k, oneTap())
	if len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Error(), "interface tap0: it has 198.51.100.11/24, which makes it a port of this host") {
		t.Errorf("problems are %v", r.Problems)
	}
	if !slices.Equal(r.LeftOut, []string{"tap0"}) {
		t.Errorf("left out: %v", r.LeftOut)
	}
	a, err := k.Read(t.Context(), oneTap())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range a.Links {
		if l.Name == "tap0" && (l.Master != "" || l.MAC == vrf.TapMAC || l.Group != 0) {
			t.Errorf("it was changed: %+v", l)
		}
	}
}

func execute(t *testing.T, k *fake.Kernel, h vrf.Host) vrf.Result {
	t.Helper()
	a, err := k.Read(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	r := vrf.Plan(h, a, vrf.Options{Sweep: true})
	if err := k.Execute(t.Context(), r.Ops); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRunSkipsDependents: without its last resort, no tap joins a VRF; the
// other VRF is not concerned.
func TestRunSkipsDependents(t *testing.T) {
	k := fake.New()
	h := oneTap()
	h.VRFs = append(h.VRFs, vrf.VRF{Name: "private", Table: 20})
	h.Taps = append(h.Taps, vrf.Tap{Name: "tap1", VRF: "private"})
	k.AddLink("tap0")
	k.AddLink("tap1")
	k.Fault = func(op vrf.Op) error {
		if r, ok := op.(vrf.AddRoute); ok && r.Route.Unreachable && r.VRF == "public" {
			return errFault
		}
		return nil
	}
	a, _ := k.Read(t.Context(), h)
	err := k.Execute(t.Context(), vrf.Plan(h, a, vrf.Options{}).Ops)
	failed := new(vrf.OpError)
	if !errors.As(err, &failed) || !errors.Is(err, errFault) || !strings.Contains(err.Error(), "operations wait for these") {
		t.Fatalf("the error is %v", err)
	}
	a, _ = k.Read(t.Context(), h)
	for _, l := range a.Links {
		if l.Name == "tap0" && l.Master != "" || l.Name == "tap1" && l.Master != "private" {
			t.Errorf("%s has master %q", l.Name, l.Master)
		}
	}
}

// TestPlanWithoutAddressProtocols: before Linux 5.18 our addresses are known
// by their shape, on our taps alone.
func TestPlanWithoutAddressProtocols(t *testing.T) {
	k := fake.New()
	k.NoAddressProtocols = true
	k.AddLink("tap0")
	k.AddLink("other")
	h := oneTap()
	execute(t, k, h)
	foreign := netip.MustParsePrefix("198.51.100.9/24")
	k.AddForeignAddress("tap0", foreign)
	k.AddForeignAddress("other", netip.MustParsePrefix("169.254.0.1/32"))
	h.Taps[0].Gateways = []netip.Addr{netip.MustParseAddr("203.0.113.1")}
	execute(t, k, h)
	if r := execute(t, k, h); len(r.Ops) > 0 {
		t.Errorf("a second plan has %v", r.Ops)
	}
	a, _ := k.Read(t.Context(), h)
	var got []string
	for _, x := range a.Addresses {
		got = append(got, x.Link+" "+x.Prefix.String())
	}
	slices.Sort(got)
	want := []string{"other 169.254.0.1/32", "tap0 198.51.100.9/24", "tap0 203.0.113.1/32", "tap0 fe80::1/64"}
	if !slices.Equal(got, want) {
		t.Errorf("addresses are %q, want %q", got, want)
	}
}

func TestValidate(t *testing.T) {
	tests := map[string]struct {
		change func(*vrf.Host)
		want   string
	}{
		"good":           {func(*vrf.Host) {}, ""},
		"tap named all":  {func(h *vrf.Host) { h.Taps[0].Name = "all" }, `tap "all"`},
		"tap with slash": {func(h *vrf.Host) { h.Taps[0].Name = "../x" }, "not an interface name"},
		"long name":      {func(h *vrf.Host) { h.Taps[0].Name = "abcdefghijklmnop" }, "1-15 characters"},
		"main table":     {func(h *vrf.Host) { h.VRFs[0].Table = 254 }, "table 254 is the kernel's"},
		"table twice":    {func(h *vrf.Host) { h.VRFs = append(h.VRFs, vrf.VRF{Name: "b", Table: 90}) }, "table 90 is that of VRF public"},
		"unknown VRF":    {func(h *vrf.Host) { h.Taps[0].VRF = "x" }, `VRF "x" is not defined`},
		"host bits":      {func(h *vrf.Host) { h.Taps[0].Routes[0].Prefix = netip.MustParsePrefix("10.0.0.1/24") }, "host bits"},
		"IPv6 over IPv4": {func(h *vrf.Host) {
			h.Taps[0].Routes[0] = vrf.Route{Prefix: netip.MustParsePrefix("2001:db8::/64"), Via: netip.MustParseAddr("10.0.0.1")}
		}, "IPv4 gateway"},
		"mapped gateway": {func(h *vrf.Host) { h.Taps[0].Gateways[0] = netip.MustParseAddr("::ffff:1.2.3.4") }, "gateway ::ffff:1.2.3.4"},
		"blackhole's VRF": {func(h *vrf.Host) {
			h.Blackholes = []vrf.Blackhole{{VRF: "x", Prefix: netip.MustParsePrefix("10.0.0.1/32")}}
		}, `blackhole 10.0.0.1/32: VRF "x" is not defined`},
		"blackhole's host bits": {func(h *vrf.Host) {
			h.Blackholes = []vrf.Blackhole{{VRF: "public", Prefix: netip.MustParsePrefix("10.0.0.1/24")}}
		}, "host bits"},
		"empty neighbour": {func(h *vrf.Host) { h.Taps[0].Neighbours = []vrf.Neighbour{{}} }, "needs an address and a MAC"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := oneTap()
			test.change(&h)
			err := h.Validate()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
