package vrf

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
)

// tableOf has members in the order of these gateways, from 1, on uplinks by the
// number before the slash.
func tableOf(t *testing.T, hops ...string) (*hopTable, []uint32) {
	t.Helper()
	table := newHopTable(90)
	var list []NextHop
	for _, h := range hops {
		list = append(list, NextHop{netip.MustParseAddr(h[2:]), "u" + h[:1]})
	}
	members, err := table.intern(list)
	if err != nil {
		t.Fatal(err)
	}
	return table, members
}

func TestOrigins(t *testing.T) {
	for name, c := range map[string]struct {
		hops    []string
		origins []int
		weights []uint8
	}{
		"two planes":           {[]string{"0/100.64.0.2", "0/100.64.0.3", "1/100.64.1.2", "1/100.64.1.3"}, []int{0, 1, 0, 1}, []uint8{30, 30, 30, 30}},
		"one without a plane":  {[]string{"0/100.64.0.2", "0/100.64.0.3", "1/100.64.1.3"}, []int{0, 1, 1}, []uint8{60, 30, 30}},
		"IPv6":                 {[]string{"0/fd64:1::2", "0/fd64:1::3", "1/fd64:2::3"}, []int{0, 1, 1}, []uint8{60, 30, 30}},
		"larger subnets":       {[]string{"0/100.64.1.2", "0/100.64.2.2", "1/100.80.2.2", "1/100.80.1.2"}, []int{0, 1, 1, 0}, []uint8{30, 30, 30, 30}},
		"numbered differently": {[]string{"0/100.64.0.2", "0/100.64.0.3", "1/100.64.1.7", "1/100.64.1.8"}, []int{0, 1, 2, 3}, []uint8{60, 60, 60, 60}},
		"both families":        {[]string{"0/100.64.0.2", "1/fd64::2", "1/100.64.1.2"}, []int{0, 1, 0}, []uint8{30, 60, 30}},
	} {
		table, members := tableOf(t, c.hops...)
		if got := table.origins(members); !reflect.DeepEqual(got, c.origins) {
			t.Errorf("%s: origins %v, want %v", name, got, c.origins)
		}
		if got := table.weigh(members); !reflect.DeepEqual(got, c.weights) {
			t.Errorf("%s: weights %v, want %v", name, got, c.weights)
		}
	}
}

// TestSteps: members 1 to 3 are on one plane, 4 to 6 the same on the other.
func TestSteps(t *testing.T) {
	table, _ := tableOf(t, "0/100.64.0.2", "0/100.64.0.3", "0/100.64.0.4", "1/100.64.1.2", "1/100.64.1.3", "1/100.64.1.4")
	for name, c := range map[string]struct {
		from, to []uint32
		want     string
	}{
		"nothing":                     {[]uint32{1, 4}, []uint32{1, 4}, "[{[1 4] [30 30]}]"},
		"an origin leaves":            {[]uint32{1, 2, 4, 5}, []uint32{1, 4}, "[{[1 4] [30 30]}]"},
		"an origin joins":             {[]uint32{1, 4}, []uint32{1, 2, 4, 5}, "[{[1 2 4 5] [30 30 30 30]}]"},
		"a plane is lost":             {[]uint32{1, 2, 4, 5}, []uint32{4, 5}, "[{[2 4 5] [30 60 30]} {[4 5] [60 60]}]"},
		"a plane is back":             {[]uint32{4, 5}, []uint32{1, 2, 4, 5}, "[{[1 4 5] [30 30 60]} {[1 2 4 5] [30 30 30 30]}]"},
		"a plane and an origin go":    {[]uint32{1, 2, 4, 5}, []uint32{4}, "[{[2 4 5] [30 60 30]} {[4] [60]}]"},
		"one goes, another one comes": {[]uint32{1, 2, 4, 5}, []uint32{3, 4, 5, 6}, "[{[2 4 5] [30 60 30]} {[4 5] [60 60]} {[3 4 5 6] [30 60 60 30]}]"},
	} {
		if got := fmt.Sprint(table.steps(c.from, c.to)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestOwnRunsOut: beyond the limits prefixes share groups, networks first.
func TestOwnRunsOut(t *testing.T) {
	table, members := tableOf(t, "0/100.64.0.2", "0/100.64.0.3")
	v := &fibVRF{hops: table}
	for n, c := range map[int]struct{ host, network bool }{
		0: {true, true}, maxOwnNetwork - 1: {true, true}, maxOwnNetwork: {true, false}, maxOwn - 1: {true, false}, maxOwn: {false, false},
	} {
		for prefix, want := range map[string]bool{"192.0.2.1/32": c.host, "2001:db8::1/128": c.host, "192.0.2.0/24": c.network, "::/0": c.network} {
			table.own = n
			if _, got := v.ownSet(netip.MustParsePrefix(prefix), 0, members); got != want {
				t.Errorf("with %d groups %s gets one: %v", n, prefix, got)
			}
		}
	}
}
