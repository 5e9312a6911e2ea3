package kernel

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// TestAgainstIP lets ip(8) say what the messages made of routes and next hops.
func TestAgainstIP(t *testing.T) {
	testenv.RequireRoot(t)
	k := newTarget(t, Options{})
	port := uplinkFor(t, k)
	ops := []vrf.NextHopOp{
		{Object: vrf.NextHopObject{ID: 2019000001, Hop: vrf.Hop{Gateway: netip.MustParseAddr("100.64.1.2"), Port: port}}},
		{Object: vrf.NextHopObject{ID: 2019000002, Hop: vrf.Hop{Gateway: netip.MustParseAddr("fe80::2"), Port: port}}},
		{Object: vrf.NextHopObject{ID: 2019050001, Group: []uint32{2019000001, 2019000002}}},
		{Object: vrf.NextHopObject{ID: 2019050002, Group: []uint32{2019000002}}},
	}
	must(t, k.WriteNextHops(t.Context(), ops, func(i int, err error) { t.Errorf("%v: %v", ops[i], err) }))
	hop := func(s string) vrf.Hop { return vrf.Hop{Gateway: netip.MustParseAddr(s), Port: port} }
	writes := []vrf.RouteWrite{
		{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Table: 1000, NextHopID: 2019050001},
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Table: 1000, Hops: []vrf.Hop{hop("100.64.1.2")}},
		{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Table: 1000, Hops: []vrf.Hop{hop("fe80::2")}},
		{Prefix: netip.MustParsePrefix("192.0.2.2/32"), Table: 1000, Hops: []vrf.Hop{hop("fe80::2"), hop("100.64.1.3")}},
		{Prefix: netip.MustParsePrefix("2001:db8::/32"), Table: 1000, NextHopID: 2019050002},
		{Prefix: netip.MustParsePrefix("::/0"), Table: 1000, Hops: []vrf.Hop{hop("fd64:1::2"), hop("fd64:1::3")}},
	}
	must(t, k.WriteRoutes(t.Context(), writes, func(i int, err error) { t.Errorf("%v: %v", writes[i], err) }))
	wantJSON(t, k.ip("-j", "nexthop"), `[
		{"id":2019000001,"gateway":"100.64.1.2","dev":"u0","protocol":"201"},
		{"id":2019000002,"gateway":"fe80::2","dev":"u0","protocol":"201"},
		{"id":2019050001,"group":[{"id":2019000001},{"id":2019000002}],"protocol":"201"},
		{"id":2019050002,"group":[{"id":2019000002}],"protocol":"201"}]`)
	wantJSON(t, k.ip("-j", "-4", "route", "show", "table", "1000"), `[
		{"dst":"default","gateway":"100.64.1.2","dev":"u0","protocol":"201","metric":200},
		{"dst":"192.0.2.0/24","nhid":2019050001,"protocol":"201","metric":200},
		{"dst":"192.0.2.1","via":{"family":"inet6","host":"fe80::2"},"dev":"u0","protocol":"201","metric":200},
		{"dst":"192.0.2.2","protocol":"201","metric":200,"nexthops":[
			{"via":{"family":"inet6","host":"fe80::2"},"dev":"u0","weight":1},{"gateway":"100.64.1.3","dev":"u0","weight":1}]}]`)
	wantJSON(t, k.ip("-j", "-6", "route", "show", "table", "1000"), `[
		{"dst":"2001:db8::/32","nhid":2019050002,"protocol":"201","metric":200},
		{"dst":"default","protocol":"201","metric":200,"nexthops":[
			{"gateway":"fd64:1::2","dev":"u0","weight":1},{"gateway":"fd64:1::3","dev":"u0","weight":1}]}]`)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// uplinkFor makes an uplink u0 with addresses and gives its index.
func uplinkFor(t testing.TB, k *target) int {
	t.Helper()
	k.AddLink("u0")
	host := vrf.Host{
		VRFs: []vrf.VRF{{Name: "public", Table: 1000, NoDevice: true}},
		Uplinks: []vrf.Uplink{{Name: "u0", VRF: "public", Addresses: []netip.Prefix{
			netip.MustParsePrefix("100.64.1.1/16"), netip.MustParsePrefix("fd64:1::1/64"),
		}}},
	}
	if _, err := k.Apply(t.Context(), host, vrf.Options{}); err != nil {
		t.Fatal(err)
	}
	run(t, "ip", "-n", k.ns, "route", "flush", "table", "1000")
	run(t, "ip", "-n", k.ns, "-6", "route", "flush", "table", "1000")
	state, err := k.State(t.Context(), []string{"u0"})
	must(t, err)
	return state.Ports["u0"].Index
}

// wantJSON compares what matters: flags, scopes and preferences of ip's output
// are the kernel's own, and next hops that a route shows beside its nhid come
// from a compatibility mode.
func wantJSON(t *testing.T, got, want string) {
	t.Helper()
	parse := func(s string) []map[string]any {
		var list []map[string]any
		must(t, json.Unmarshal([]byte(s), &list))
		for _, m := range list {
			strip(m)
			if m["nhid"] != nil {
				delete(m, "nexthops")
				delete(m, "gateway")
				delete(m, "dev")
			}
		}
		return list
	}
	if g, w := parse(got), parse(want); !reflect.DeepEqual(g, w) {
		t.Errorf("ip says\n%v, want\n%v", g, w)
	}
}

func strip(m map[string]any) {
	for _, key := range []string{"flags", "scope", "pref"} {
		delete(m, key)
	}
	if hops, ok := m["nexthops"].([]any); ok {
		for _, h := range hops {
			strip(h.(map[string]any))
		}
	}
}

// TestErrorsOfABatch: each error finds its route, and the others are done.
func TestErrorsOfABatch(t *testing.T) {
	testenv.RequireRoot(t)
	k := newTarget(t, Options{})
	port := uplinkFor(t, k)
	var writes []vrf.RouteWrite
	for i := range 300 {
		w := vrf.RouteWrite{
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32), Table: 1000,
			Hops: []vrf.Hop{{Gateway: netip.MustParseAddr("100.64.1.2"), Port: port}},
		}
		if i%3 == 2 {
			w.Hops = nil
			w.NextHopID = 2019050077 // there is none
		}
		writes = append(writes, w)
	}
	failed := map[int]bool{}
	must(t, k.WriteRoutes(t.Context(), writes, func(i int, err error) {
		failed[i] = true
		if i%3 != 2 {
			t.Errorf("route %d: %v", i, err)
		}
	}))
	if len(failed) != 100 {
		t.Errorf("%d routes failed, want 100", len(failed))
	}
	n := 0
	must(t, k.LearnedRoutes(t.Context(), 1000, func(vrf.LearnedRoute) { n++ }))
	if n != 200 {
		t.Errorf("%d routes are there, want 200", n)
	}
}
