package projector

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/ipv6"
	"github.com/hostroute/hostroute/vrf"
)

// held is a prefix with the role in which a guest is given it.
type held struct {
	prefix string
	role   events.Role
}

func primary(prefixes ...string) (list []held) {
	for _, p := range prefixes {
		list = append(list, held{p, events.RolePrimary})
	}
	return list
}

// one projects a hypervisor with one guest in a network.
func one(t *testing.T, n *events.NetworkDefined, hold ...held) Host {
	t.Helper()
	s := New()
	publish(t, s, 1, &events.HypervisorRegistered{Hypervisor: "hv1"})
	publish(t, s, 2, n)
	publish(t, s, 3, &events.VMCreated{VM: "web_1", Hypervisor: "hv1", Interfaces: []events.Interface{{Tap: "tap1", MAC: mac(7), Network: n.Network}}})
	for i, h := range hold {
		publish(t, s, uint64(4+i), &events.IPAssigned{Prefix: prefix(h.prefix), VM: "web_1", Role: h.role})
	}
	return Desired(s, "hv1")
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func addresses(texts ...string) (list []netip.Addr) {
	for _, s := range texts {
		list = append(list, addr(s))
	}
	return list
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, s := range texts {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

func hosts(texts ...string) (list []events.Addr) {
	for _, a := range addresses(texts...) {
		list = append(list, events.AddrFrom(a))
	}
	return list
}

func subnet(p string, allocation int) events.Subnet {
	return events.Subnet{Prefix: prefix(p), Allocation: allocation}
}

// defined is a network with an IPv4 subnet and these further ones.
func defined(change func(*events.NetworkDefined), subnets ...events.Subnet) *events.NetworkDefined {
	n := &events.NetworkDefined{Network: "net", VRF: "public", Subnets: append([]events.Subnet{subnet("203.0.113.0/24", 0)}, subnets...), Gateways: hosts("203.0.113.1")}
	if change != nil {
		change(n)
	}
	return n
}

func differ(a, b any) string {
	return cmp.Diff(a, b, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.EquateEmpty())
}

func TestDHCPOfEveryStyle(t *testing.T) {
	usual := func(change func(*dhcp.Service)) dhcp.Service {
		s := dhcp.Service{
			Tap: "tap1", VM: "web_1", MAC: mac(7).Octets, Address: addr("203.0.113.7"), Subnet: netip.MustParsePrefix("203.0.113.0/24"),
			Gateway: addr("203.0.113.1"), Routes: prefixes("0.0.0.0/0"), Hostname: "web-1", Lease: time.Hour,
		}
		if change != nil {
			change(&s)
		}
		return s
	}
	for name, c := range map[string]struct {
		network *events.NetworkDefined
		hold    []held
		want    dhcp.Service
		problem string
	}{
		"classic": {defined(nil), primary("203.0.113.7"), usual(nil), ""},
		"first of several": {defined(nil), append(primary("203.0.113.9", "203.0.113.7"), held{"203.0.113.2", events.RoleSecondary}, held{"203.0.113.3", events.RoleElastic}),
			usual(nil), ""},
		"host": {defined(func(n *events.NetworkDefined) { n.DHCP.Style = events.DHCPHost }), primary("203.0.113.7"),
			usual(func(s *dhcp.Service) { s.Subnet = netip.MustParsePrefix("203.0.113.7/32") }), ""},
		"host with a link-local gateway": {defined(func(n *events.NetworkDefined) {
			n.DHCP.Style, n.Gateways = events.DHCPHost, hosts("fe80::2", "203.0.113.1", "169.254.7.7")
		}), primary("203.0.113.7"),
			usual(func(s *dhcp.Service) {
				s.Subnet, s.Gateway = netip.MustParsePrefix("203.0.113.7/32"), addr("169.254.7.7")
			}), ""},
		"host without gateway": {defined(func(n *events.NetworkDefined) { n.DHCP.Style, n.Gateways = events.DHCPHost, nil }), primary("203.0.113.7"),
			usual(func(s *dhcp.Service) {
				s.Subnet, s.Gateway = netip.MustParsePrefix("203.0.113.7/32"), addr("169.254.0.1")
			}), ""},
		"classic without gateway": {defined(func(n *events.NetworkDefined) { n.Gateways = hosts("fe80::1") }), primary("203.0.113.7"),
			usual(func(s *dhcp.Service) { s.Gateway = addr("169.254.0.1") }),
			`DHCP tells the guest that it is in 203.0.113.0/24 and that its gateway is 169.254.0.1, which Windows and others don't take: give network "net" a gateway in 203.0.113.0/24, or the DHCP style host`},
		"classic, gateway of another subnet": {defined(nil, subnet("198.51.100.0/24", 0)), primary("198.51.100.7"),
			usual(func(s *dhcp.Service) {
				s.Address, s.Subnet = addr("198.51.100.7"), netip.MustParsePrefix("198.51.100.0/24")
			}),
			`its gateway is 203.0.113.1, which Windows`},
		"classic, gateway of its own subnet": {defined(func(n *events.NetworkDefined) { n.Gateways = hosts("203.0.113.1", "198.51.100.1") }, subnet("198.51.100.0/24", 0)), primary("198.51.100.7"),
			usual(func(s *dhcp.Service) {
				s.Address, s.Subnet, s.Gateway = addr("198.51.100.7"), netip.MustParsePrefix("198.51.100.0/24"), addr("198.51.100.1")
			}), ""},
		"nothing beyond, no gateway": {defined(func(n *events.NetworkDefined) {
			n.Gateways, n.Routes = nil, []events.Prefix{prefix("2001:db8::/32")}
		}), primary("203.0.113.7"),
			usual(func(s *dhcp.Service) { s.Gateway, s.Routes = addr("169.254.0.1"), nil }), ""},
		"everything told": {defined(func(n *events.NetworkDefined) {
			n.DNS, n.NTP = hosts("192.0.2.53", "2001:db8::53"), hosts("2001:db8::123", "192.0.2.123")
			n.Domain, n.Search, n.MTU = "example.net", []string{"example.org"}, 1400
			n.DHCP = events.DHCP{Lease: 600, Options: []events.DHCPOption{{Code: 252, Hex: "c0ffee"}, {Code: 66, Hex: "41"}}}
			n.Routes = []events.Prefix{prefix("10.0.0.0/8"), prefix("2001:db8::/32"), prefix("192.0.2.0/24")}
		}), primary("203.0.113.7"),
			usual(func(s *dhcp.Service) {
				s.DNS, s.NTP, s.Domain, s.Search, s.MTU = addresses("192.0.2.53"), addresses("192.0.2.123"), "example.net", []string{"example.org"}, 1400
				s.Lease, s.Options = 10*time.Minute, []dhcp.Option{{Code: 252, Value: []byte{0xc0, 0xff, 0xee}}, {Code: 66, Value: []byte("A")}}
				s.Routes = prefixes("10.0.0.0/8", "192.0.2.0/24")
			}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := one(t, c.network, c.hold...)
			if diff := differ([]dhcp.Service{c.want}, h.DHCP); diff != "" {
				t.Error(diff)
			}
			if len(h.DHCP) == 1 && !strings.Contains(fmt.Sprint(h.Taps[0].Gateways), h.DHCP[0].Gateway.String()) {
				t.Errorf("%s isn't on the tap: %v", h.DHCP[0].Gateway, h.Taps[0].Gateways)
			}
			wantProblem(t, h, c.problem)
			if len(h.IPv6) > 0 {
				t.Errorf("IPv6 without a subnet: %+v", h.IPv6)
			}
		})
	}
}

func wantProblem(t *testing.T, h Host, text string) {
	t.Helper()
	switch {
	case text == "" && len(h.Problems) > 0:
		t.Errorf("problems: %+v", h.Problems)
	case text != "" && (len(h.Problems) != 1 || !strings.Contains(h.Problems[0].Reason, text) || h.Problems[0].Tap != "tap1"):
		t.Errorf("problems: %+v\nwant: %s", h.Problems, text)
	}
}

// TestNoDHCPWithoutPrimaryAddress leaves what a guest configures itself to it.
func TestNoDHCPWithoutPrimaryAddress(t *testing.T) {
	block := defined(nil, subnet("198.51.100.0/24", 28))
	for _, hold := range [][]held{nil, {{"203.0.113.7", events.RoleElastic}}, {{"203.0.113.7", events.RoleAnycast}}, {{"203.0.113.7", events.RoleSecondary}}, primary("198.51.100.16/28")} {
		if h := one(t, block, hold...); len(h.DHCP) != 0 || len(h.Taps) != 1 {
			t.Errorf("with %v: %+v", hold, h)
		}
	}
}

func TestHostnames(t *testing.T) {
	for vm, want := range map[string]string{"web-1": "web-1", "a_b": "a-b", "_x-": "x", "--": "", "0": "0"} {
		if got := (&Guest{VM: vm}).hostname(); got != want {
			t.Errorf("%s is called %q, want %q", vm, got, want)
		}
	}
	s := New()
	publish(t, s, 1, &events.HypervisorRegistered{Hypervisor: "hv1"})
	publish(t, s, 2, &events.HypervisorRegistered{Hypervisor: "hv2"})
	publish(t, s, 3, defined(nil))
	publish(t, s, 4, &events.VMCreated{VM: "a", Hypervisor: "hv1", Hostname: "www.example.net", Interfaces: []events.Interface{{Tap: "t", MAC: mac(1), Network: "net"}}})
	publish(t, s, 5, &events.IPAssigned{Prefix: prefix("203.0.113.7"), VM: "a"})
	publish(t, s, 6, &events.VMMigrationStarted{VM: "a", To: "hv2"})
	for _, step := range []string{"prepared", "moved"} {
		if h := Desired(s, "hv2"); len(h.DHCP) != 1 || h.DHCP[0].Hostname != "www.example.net" {
			t.Errorf("%s: %+v", step, h.DHCP)
		}
		if step == "prepared" {
			publish(t, s, 7, &events.VMMigrated{VM: "a", To: "hv2"})
		}
	}
}

// TestSources lists all that a guest may send from, also what another guest of
// the same hypervisor has too, or what isn't routed here yet.
func TestSources(t *testing.T) {
	s := New()
	publish(t, s, 1, &events.HypervisorRegistered{Hypervisor: "hv1"})
	publish(t, s, 2, &events.HypervisorRegistered{Hypervisor: "hv2"})
	publish(t, s, 3, network("web"))
	for i, vm := range []string{"a", "b"} {
		publish(t, s, uint64(10+i), &events.VMCreated{VM: vm, Hypervisor: "hv1", Interfaces: []events.Interface{{Tap: vm, MAC: mac(byte(i)), Network: "web"}}})
		publish(t, s, uint64(20+i), &events.IPAssigned{Prefix: prefix("203.0.113.20"), VM: vm, Role: events.RoleAnycast})
	}
	publish(t, s, 30, &events.IPAssigned{Prefix: prefix("2001:db8:0:1::/64"), VM: "b", Role: events.RoleRouted})
	publish(t, s, 31, &events.IPAssigned{Prefix: prefix("203.0.113.9"), VM: "b", Role: events.RoleElastic})
	publish(t, s, 32, &events.VMMigrationStarted{VM: "b", To: "hv2"})
	want := func(hv, tap, sources string, routes int) {
		t.Helper()
		for _, got := range Desired(s, hv).Taps {
			if got.Name == tap {
				if fmt.Sprint(got.Sources) != sources || len(got.Routes) != routes {
					t.Errorf("%s on %s: sources %v, want %s; routes %v", tap, hv, got.Sources, sources, got.Routes)
				}
				return
			}
		}
		t.Errorf("%s has no %s", hv, tap)
	}
	want("hv1", "a", "[203.0.113.20/32]", 1)
	want("hv1", "b", "[203.0.113.9/32 203.0.113.20/32 2001:db8:0:1::/64]", 3)
	want("hv2", "b", "[203.0.113.9/32 203.0.113.20/32 2001:db8:0:1::/64]", 0)
}

// TestGuestsAreToldTheirOwnOnly draws histories, and wants every guest to be
// told of what it holds itself, from a gateway that its tap has, once.
func TestGuestsAreToldTheirOwnOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := fold(drawHistory(t))
		homes := map[string]string{} // VRF and address → tap that leases it
		for _, hv := range worldHVs {
			h := Desired(s, hv)
			taps := map[string]vrf.Tap{}
			for _, tap := range h.Taps {
				taps[tap.Name] = tap
			}
			lease := func(tap, vm string, a netip.Addr) {
				if !slices.Contains(taps[tap].Sources, netip.PrefixFrom(a, a.BitLen())) {
					t.Fatalf("%s on %s is given %s and may send from %v", vm, tap, a, taps[tap].Sources)
				}
				if s.Guest(vm).Hypervisor != hv {
					return
				}
				key := taps[tap].VRF + " " + a.String()
				if other, twice := homes[key]; twice {
					t.Fatalf("%s is given on %s and on %s", key, other, tap)
				}
				homes[key] = tap
			}
			for _, d := range h.DHCP {
				lease(d.Tap, d.VM, d.Address)
				if tap := taps[d.Tap]; !slices.Contains(tap.Gateways, d.Gateway) || tap.MAC != d.MAC || !d.Subnet.Contains(d.Address) {
					t.Fatalf("tap %+v, told %+v", tap, d)
				}
			}
			for _, six := range h.IPv6 {
				for _, a := range six.Lease.Addresses {
					lease(six.Tap, six.VM, a)
				}
				checkOwn(t, six, taps[six.Tap].Sources)
			}
		}
	})
}

// checkOwn wants prefixes that guests take for their own to be theirs, and
// those that are on the link for all to have a proxy.
func checkOwn(t *rapid.T, s ipv6.Service, sources []netip.Prefix) {
	own := slices.Clone(s.Lease.Delegated)
	for _, o := range s.Router.Prefixes {
		switch {
		case o.Autonomous:
			own = append(own, o.Prefix)
		case s.Proxy == nil || !slices.Contains(s.Proxy.Prefixes, o.Prefix):
			t.Fatalf("%s is on the link of %s, and nobody answers for the others in it", o.Prefix, s.Tap)
		}
	}
	for i, p := range own {
		if !slices.Contains(sources, p) || slices.Contains(own[:i], p) {
			t.Fatalf("%s is told of %v and holds %v", s.VM, own, sources)
		}
	}
}

func option(p string, onLink, autonomous bool) ipv6.OnLink {
	return ipv6.OnLink{Prefix: netip.MustParsePrefix(p), OnLink: onLink, Autonomous: autonomous, Valid: 24 * time.Hour, Preferred: 4 * time.Hour}
}
