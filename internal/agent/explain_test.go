package agent

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
)

var explainedAt = time.Date(2026, 11, 22, 3, 12, 0, 0, time.UTC)

func address(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixOf(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// explainWorld is hypervisor hv1 with two planes and the guests
//
//	vm1  here, on tap1: primary, secondary, elastic and anycast addresses, a /64 and a block
//	vm2  here, on tap2, which is not on the host
//	vm3  here, on tap3: the same anycast address
//	vm4  on hv2, expected here on tap9
//	vm5  on hv2, was here on tap5
//	vm6  here, on tap1, which vm1 has
func explainWorld(t *testing.T, more ...events.Data) explainFacts {
	t.Helper()
	p := &projection{state: projector.New()}
	iface := func(tap string, n byte, network string) []events.Interface {
		return []events.Interface{{Tap: tap, MAC: events.MAC{Octets: [6]byte{2, 0, 0, 0, 0, n}}, Network: network}}
	}
	assign := func(vm, prefix string, role events.Role) events.Data {
		return &events.IPAssigned{VM: vm, Prefix: events.PrefixFrom(prefixOf(prefix)), Role: role}
	}
	subnet := func(prefix string, allocation int) events.Subnet {
		return events.Subnet{Prefix: events.PrefixFrom(prefixOf(prefix)), Allocation: allocation}
	}
	for _, data := range append([]events.Data{
		&events.HypervisorRegistered{Hypervisor: "hv1"}, &events.HypervisorRegistered{Hypervisor: "hv2"},
		&events.NetworkDefined{Network: "web", VRF: "public", Gateways: []events.Addr{events.AddrFrom(address("203.0.113.1"))}, Subnets: []events.Subnet{
			subnet("203.0.113.0/24", 0), subnet("2001:db8:1::/64", 0), subnet("2001:db8:100::/56", 64), subnet("2001:db8:200::/48", 56)}},
		&events.NetworkDefined{Network: "idle", VRF: "public", Gateways: []events.Addr{events.AddrFrom(address("198.51.100.1"))}, Subnets: []events.Subnet{subnet("198.51.100.0/24", 0)}},
		&events.NetworkDefined{Network: "lan", VRF: "private", Subnets: []events.Subnet{subnet("10.0.0.0/24", 0)}},
		&events.NetworkDefined{Network: "odd", VRF: "other", Subnets: []events.Subnet{subnet("192.0.2.0/24", 0)}},
		&events.VMCreated{VM: "vm1", Hypervisor: "hv1", Interfaces: iface("tap1", 1, "web")},
		&events.VMCreated{VM: "vm2", Hypervisor: "hv1", Interfaces: iface("tap2", 2, "web")},
		&events.VMCreated{VM: "vm3", Hypervisor: "hv1", Interfaces: iface("tap3", 3, "web")},
		&events.VMCreated{VM: "vm4", Hypervisor: "hv2", Interfaces: iface("tap4", 4, "web")},
		&events.VMCreated{VM: "vm5", Hypervisor: "hv1", Interfaces: iface("tap5", 5, "web")},
		&events.VMCreated{VM: "vm6", Hypervisor: "hv1", Interfaces: iface("tap1", 6, "web")},
		&events.VMCreated{VM: "vm7", Hypervisor: "hv1", Interfaces: iface("tap7", 7, "lan")},
		&events.VMCreated{VM: "vm8", Hypervisor: "hv1", Interfaces: iface("tap8", 8, "odd")},
		assign("vm1", "203.0.113.7/32", ""), assign("vm1", "203.0.113.8/32", events.RoleElastic), assign("vm1", "203.0.113.20/32", events.RoleAnycast),
		assign("vm1", "2001:db8:1::7/128", ""), assign("vm1", "2001:db8:100:1::/64", ""), assign("vm1", "2001:db8:200:100::/56", events.RoleRouted),
		assign("vm2", "203.0.113.9/32", ""), assign("vm3", "203.0.113.20/32", events.RoleAnycast),
		assign("vm4", "203.0.113.4/32", ""), assign("vm5", "203.0.113.5/32", ""), assign("vm6", "203.0.113.6/32", ""),
		assign("vm7", "10.0.0.7/32", ""), assign("vm8", "192.0.2.8/32", ""),
		&events.VMMigrationStarted{VM: "vm4", To: "hv1", Taps: []string{"tap9"}}, &events.VMMigrated{VM: "vm5", To: "hv2"},
	}, more...) {
		p.publish(t, data)
	}
	f := explainFacts{
		hypervisor: "hv1", now: explainedAt, state: p.state, host: projector.Desired(p.state, "hv1"), said: true,
		present: map[string]bool{"tap1": true, "tap3": true, "tap5": true, "tap7": true, "tap9": true},
		uplinks: []config.Uplink{
			{Interface: "a0", Plane: "a", VRF: "public", Addresses: []netip.Prefix{prefixOf("100.64.0.11/24"), prefixOf("2001:db8:a::11/64")}},
			{Interface: "b0", Plane: "b", VRF: "public", Addresses: []netip.Prefix{prefixOf("100.64.1.11/24")}},
		},
		interconnects: []netip.Prefix{prefixOf("100.64.0.0/10")},
		configured:    []string{"public", "private"},
		vrfs: []vrfFacts{
			{name: "public", reflectors: []reflectorFacts{{true, true, true}, {true, true, true}}},
			{name: "private"},
		},
	}
	for _, n := range f.host.Announcements {
		if n.Prefix != prefixOf("203.0.113.9/32") { // its tap isn't there
			f.announced = append(f.announced, n)
		}
	}
	return f
}

// path is one learned path that is chosen, to be changed.
func path(plane, hop string, change func(*bgp.Path)) bgp.Path {
	p := bgp.Path{
		Source:  bgp.Source{Peer: "rr-" + plane, Plane: plane, Uplink: plane + "0"},
		NextHop: address(hop), LocalPref: 100, Origin: "IGP", Chosen: true,
	}
	if change != nil {
		change(&p)
	}
	return p
}

// learnt is a learned route whose chosen paths are in the kernel.
func learnt(prefix string, paths ...bgp.Path) bgp.Route {
	r := bgp.Route{Prefix: prefixOf(prefix), Paths: paths}
	for _, p := range paths {
		if p.Chosen {
			r.NextHops = append(r.NextHops, vrf.NextHop{Gateway: p.NextHop, Uplink: p.Uplink})
		}
	}
	return r
}

// worse is a path that isn't chosen.
func worse(plane, hop string, change func(*bgp.Path)) bgp.Path {
	return path(plane, hop, func(p *bgp.Path) { p.Chosen = false; change(p) })
}

type explained struct {
	address string
	change  func(*explainFacts)
	more    []events.Data
	to      DestinationKind // in the VRF public; empty: no answer there
	routed  bool
	want    []string // sentences, in this order
	not     []string // texts that no sentence has
}

func learning(routes ...bgp.Route) func(*explainFacts) {
	return func(f *explainFacts) { f.vrfs[0].learned = routes }
}

func (c explained) check(t *testing.T) {
	f := explainWorld(t, c.more...)
	f.address = address(c.address)
	if c.change != nil {
		c.change(&f)
	}
	e := explain(f)
	var all []string
	for _, d := range e.VRFs {
		all = append(all, d.Sentences...)
		if d.VRF == "public" && d.To != c.to {
			t.Errorf("goes to %q, want %q", d.To, c.to)
		}
	}
	all = append(all, e.Sentences...)
	if e.Routed != c.routed {
		t.Errorf("routed: %v", e.Routed)
	}
	rest := all
	for _, want := range c.want {
		i := 0
		for i < len(rest) && rest[i] != want {
			i++
		}
		if i == len(rest) {
			t.Errorf("there is no sentence, or not in this place:\n  %s\nall:\n  %s", want, strings.Join(all, "\n  "))
			return
		}
		rest = rest[i+1:]
	}
	for _, not := range c.not {
		if strings.Contains(strings.Join(all, "\n"), not) {
			t.Errorf("it says %q:\n  %s", not, strings.Join(all, "\n  "))
		}
	}
	for _, s := range all {
		if !strings.HasSuffix(s, ".") || strings.Contains(s, "%!") || strings.Contains(s, "  ") {
			t.Errorf("no sentence: %q", s)
		}
	}
}

func checkAll(t *testing.T, cases map[string]explained) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, c.check)
	}
}

// TestExplainAnswers asks an agent that has just been made over its handler.
func TestExplainAnswers(t *testing.T) {
	cfg, err := config.Parse(strings.NewReader("hypervisor: hv1\nlog: {embedded: {}}\nvrfs: [{name: public, table: 90}, {name: private, table: 20}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	a.speaker = session.New(sessionConfig(cfg, false), a.fib, slog.New(slog.DiscardHandler))
	ask := func(query string) (int, string) {
		w := httptest.NewRecorder()
		(&socket{log: a.log}).handler(a.explain(nil))(w, httptest.NewRequest("GET", PathExplain+"?"+query, nil))
		return w.Code, w.Body.String()
	}
	code, body := ask("address=203.0.113.7&vrf=private")
	var e Explanation
	if err := json.Unmarshal([]byte(body), &e); err != nil || code != 200 {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	if e.Routed || len(e.VRFs) != 1 || e.VRFs[0].VRF != "private" || e.VRFs[0].To != ToNowhere || len(e.VRFs[0].Sentences) == 0 {
		t.Errorf("explained as %+v", e)
	}
	if _, body = ask("address=::ffff:203.0.113.7"); !strings.Contains(body, `"address":"203.0.113.7"`) || strings.Count(body, `"vrf":`) != 2 {
		t.Errorf("a mapped address in all VRFs: %s", body)
	}
	for query, want := range map[string]string{
		"address=x":                   `address "x": not an IP address; write it like`,
		"address=fe80::1%25tap1":      `address "fe80::1%tap1": an address with a zone`,
		"address=192.0.2.1&vrf=other": `vrf "other": this hypervisor has public, private`,
	} {
		if code, body := ask(query); code != 400 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", query, code, body)
		}
	}
}
