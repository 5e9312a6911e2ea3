package projector

import (
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/ipv6"
)

var yes, no = true, false

func TestIPv6OfEveryStyle(t *testing.T) {
	const single, whole, blocks = "2001:db8:1::/64", "2001:db8:100::/56", "2001:db8:200::/48"
	usual := func(change func(*ipv6.Service)) ipv6.Service {
		s := ipv6.Service{
			Tap: "tap1", VM: "web_1", MAC: mac(7).Octets,
			Router: ipv6.Router{Other: true, Lifetime: 30 * time.Minute, Interval: 10 * time.Minute},
			Lease:  ipv6.Lease{Valid: 2 * time.Hour, Preferred: time.Hour},
		}
		change(&s)
		return s
	}
	style := func(style events.IPv6Style, six events.IPv6, gateways ...string) *events.NetworkDefined {
		return defined(func(n *events.NetworkDefined) { n.IPv6, n.Gateways = six, hosts(gateways...); n.IPv6.Style = style },
			subnet(single, 0), subnet(whole, 64), subnet(blocks, 56))
	}
	all := append(primary("2001:db8:1::7", "2001:db8:100:2::/64", "2001:db8:100:1::/64", "2001:db8:200:100::/56"),
		held{"2001:db8:1::2", events.RoleSecondary}, held{"2001:db8:1::3", events.RoleElastic}, held{"2001:db8:1::4", events.RoleAnycast},
		held{"2001:db8:100:3::/64", events.RoleRouted}, held{"2001:db8:200:200::/56", events.RoleRouted}, held{"2001:db8:200:300::/56", events.RoleElastic})
	own := prefixes("2001:db8:1::2/128", "2001:db8:1::3/128", "2001:db8:1::4/128", "2001:db8:1::7/128", "2001:db8:100:1::/64", "2001:db8:100:2::/64", "2001:db8:100:3::/64",
		"2001:db8:200:100::/56", "2001:db8:200:200::/56", "2001:db8:200:300::/56")
	leased := addresses("2001:db8:1::7", "2001:db8:1::2")
	delegated := prefixes("2001:db8:100:3::/64", "2001:db8:200:100::/56", "2001:db8:200:200::/56")
	all64 := prefixes("2001:db8:100:1::/64", "2001:db8:100:2::/64", "2001:db8:100:3::/64", "2001:db8:200:100::/56", "2001:db8:200:200::/56")
	for name, c := range map[string]struct {
		network *events.NetworkDefined
		hold    []held
		want    ipv6.Service
	}{
		"nothing held": {style("", events.IPv6{}), nil, usual(func(*ipv6.Service) {})},
		"slaac": {style(events.IPv6SLAAC, events.IPv6{}), primary("2001:db8:100:1::/64"), usual(func(s *ipv6.Service) {
			s.Router.Prefixes = []ipv6.OnLink{option("2001:db8:100:1::/64", false, true)}
		})},
		"slaac, default": {style("", events.IPv6{}), all, usual(func(s *ipv6.Service) {
			s.Router.Prefixes = []ipv6.OnLink{option("2001:db8:100:1::/64", false, true), option("2001:db8:100:2::/64", false, true)}
			s.Router.Managed = true // single addresses come by DHCPv6 only
			s.Lease.Addresses, s.Lease.Delegated = leased, delegated
		})},
		"slaac, on-link, unmanaged": {style("", events.IPv6{OnLink: &yes, Managed: &no, Other: &no}), all, usual(func(s *ipv6.Service) {
			s.Router.Other = false
			s.Router.Prefixes = []ipv6.OnLink{option("2001:db8:100:1::/64", true, true), option("2001:db8:100:2::/64", true, true), option(single, true, false)}
			s.Lease.Addresses, s.Lease.Delegated = leased, delegated
			s.Proxy = &ipv6.Proxy{Prefixes: prefixes(single), Own: own}
		})},
		"slaac, not autonomous": {style("", events.IPv6{Autonomous: &no}), primary("2001:db8:100:1::/64"), usual(func(s *ipv6.Service) {
			s.Lease.Delegated = prefixes("2001:db8:100:1::/64")
		})},
		"slaac, managed": {style("", events.IPv6{Managed: &yes}), nil, usual(func(s *ipv6.Service) { s.Router.Managed = true })},
		"shared": {style(events.IPv6Shared, events.IPv6{}, "fe80::1", "2001:db8:1::1", "203.0.113.1"), all, usual(func(s *ipv6.Service) {
			s.Router.Managed, s.Router.Prefixes = true, []ipv6.OnLink{option(single, true, false)}
			s.Lease.Addresses, s.Lease.Delegated = leased, all64
			s.Proxy = &ipv6.Proxy{Prefixes: prefixes(single), Own: own, Gateways: addresses("2001:db8:1::1")}
		})},
		"shared by several subnets": {defined(func(n *events.NetworkDefined) { n.IPv6.Style = events.IPv6Shared }, subnet("2001:db8:2::/112", 0), subnet(single, 0)), primary("2001:db8:2::7"),
			usual(func(s *ipv6.Service) {
				s.Router.Managed, s.Router.Prefixes = true, []ipv6.OnLink{option(single, true, false), option("2001:db8:2::/112", true, false)}
				s.Lease.Addresses = addresses("2001:db8:2::7")
				s.Proxy = &ipv6.Proxy{Prefixes: prefixes(single, "2001:db8:2::/112"), Own: prefixes("2001:db8:2::7/128")}
			})},
		"shared, off-link": {style(events.IPv6Shared, events.IPv6{OnLink: &no}), primary("2001:db8:1::7"), usual(func(s *ipv6.Service) {
			s.Router.Managed, s.Lease.Addresses = true, addresses("2001:db8:1::7")
		})},
		"shared, autonomous too": {style(events.IPv6Shared, events.IPv6{Autonomous: &yes, OnLink: &no}), primary("2001:db8:100:1::/64"), usual(func(s *ipv6.Service) {
			s.Router.Managed, s.Router.Prefixes = true, []ipv6.OnLink{option("2001:db8:100:1::/64", false, true)}
		})},
		"dhcp": {style(events.IPv6DHCP, events.IPv6{}), all, usual(func(s *ipv6.Service) {
			s.Router.Managed = true
			s.Lease.Addresses, s.Lease.Delegated = leased, all64
		})},
		"dhcp, unmanaged": {style(events.IPv6DHCP, events.IPv6{Managed: &no}), primary("2001:db8:1::7"), usual(func(s *ipv6.Service) {
			s.Lease.Addresses = addresses("2001:db8:1::7")
		})},
		"dhcp, on-link": {style(events.IPv6DHCP, events.IPv6{OnLink: &yes}), primary("2001:db8:1::7"), usual(func(s *ipv6.Service) {
			s.Router.Managed, s.Router.Prefixes = true, []ipv6.OnLink{option(single, true, false)}
			s.Lease.Addresses = addresses("2001:db8:1::7")
			s.Proxy = &ipv6.Proxy{Prefixes: prefixes(single), Own: prefixes("2001:db8:1::7/128")}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			h := one(t, c.network, c.hold...)
			if diff := differ([]ipv6.Service{c.want}, h.IPv6); diff != "" {
				t.Error(diff)
			}
			wantProblem(t, h, "")
		})
	}
}

func TestRouterAdvertisement(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*events.NetworkDefined)
		want   ipv6.Router
	}{
		"default": {func(*events.NetworkDefined) {}, ipv6.Router{Lifetime: 30 * time.Minute, Interval: 10 * time.Minute}},
		"long interval": {func(n *events.NetworkDefined) { n.IPv6.Interval = 1800 },
			ipv6.Router{Lifetime: 90 * time.Minute, Interval: 30 * time.Minute}},
		"short interval": {func(n *events.NetworkDefined) { n.IPv6.Interval = 4 },
			ipv6.Router{Lifetime: 30 * time.Minute, Interval: 4 * time.Second}},
		"lifetime and preference": {func(n *events.NetworkDefined) { n.IPv6 = events.IPv6{Lifetime: 9000, Preference: events.RAHigh} },
			ipv6.Router{Lifetime: 150 * time.Minute, Interval: 10 * time.Minute, Preference: ipv6.PreferenceHigh}},
		"medium": {func(n *events.NetworkDefined) { n.IPv6.Preference = events.RAMedium }, ipv6.Router{Lifetime: 30 * time.Minute, Interval: 10 * time.Minute}},
		"no default router": {func(n *events.NetworkDefined) {
			n.IPv6.Lifetime, n.Routes = 9000, []events.Prefix{prefix("2001:db8:9::/48"), prefix("10.0.0.0/8"), prefix("2001:db8:8::/48")}
		}, ipv6.Router{Interval: 10 * time.Minute, Routes: prefixes("2001:db8:9::/48", "2001:db8:8::/48")}},
		"IPv4 routes only": {func(n *events.NetworkDefined) { n.Routes = []events.Prefix{prefix("10.0.0.0/8")} }, ipv6.Router{Interval: 10 * time.Minute}},
		"default and more": {func(n *events.NetworkDefined) {
			n.Routes = []events.Prefix{events.PrefixFrom(everything6), prefix("2001:db8:9::/48")}
		}, ipv6.Router{Lifetime: 30 * time.Minute, Interval: 10 * time.Minute, Routes: prefixes("2001:db8:9::/48")}},
		"least MTU":        {func(n *events.NetworkDefined) { n.MTU = 1280 }, ipv6.Router{Lifetime: 30 * time.Minute, Interval: 10 * time.Minute, MTU: 1280}},
		"MTU of IPv4 only": {func(n *events.NetworkDefined) { n.MTU = 1279 }, ipv6.Router{Lifetime: 30 * time.Minute, Interval: 10 * time.Minute}},
		"DNS": {func(n *events.NetworkDefined) {
			n.DNS, n.Domain, n.Search = hosts("192.0.2.53", "2001:db8::53"), "example.net", []string{"example.org"}
		}, ipv6.Router{Lifetime: 30 * time.Minute, Interval: 10 * time.Minute, DNS: addresses("2001:db8::53"), Search: []string{"example.org"}}},
		"domain only": {func(n *events.NetworkDefined) { n.Domain = "example.net" },
			ipv6.Router{Lifetime: 30 * time.Minute, Interval: 10 * time.Minute, Search: []string{"example.net"}}},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.Other = true
			h := one(t, defined(c.change, subnet("2001:db8:100::/56", 64)))
			if diff := differ(c.want, h.IPv6[0].Router); diff != "" {
				t.Error(diff)
			}
			if diff := differ(c.want.Search, h.IPv6[0].Lease.Search); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLeaseOfIPv6(t *testing.T) {
	h := one(t, defined(func(n *events.NetworkDefined) {
		n.DHCP.Lease, n.DNS, n.NTP = 600, hosts("2001:db8::53"), hosts("192.0.2.123", "2001:db8::123")
	}, subnet("2001:db8:100::/56", 64)))
	want := ipv6.Lease{Valid: 20 * time.Minute, Preferred: 10 * time.Minute, DNS: addresses("2001:db8::53"), NTP: addresses("2001:db8::123")}
	if diff := differ(want, h.IPv6[0].Lease); diff != "" {
		t.Error(diff)
	}
}

// TestPrefixThatNobodyConfigures delegates what is neither an address nor a
// /64, and says that few guests will take it.
func TestPrefixThatNobodyConfigures(t *testing.T) {
	n := defined(nil, subnet("2001:db8:1::/64", 80))
	h := one(t, n, primary("2001:db8:1:0:1::/80")...)
	wantProblem(t, h, "2001:db8:1:0:1::/80 is neither one address nor a /64")
	if diff := differ(prefixes("2001:db8:1:0:1::/80"), h.IPv6[0].Lease.Delegated); diff != "" {
		t.Error(diff)
	}
	wantProblem(t, one(t, n, held{"2001:db8:1:0:1::/80", events.RoleRouted}), "")
}
