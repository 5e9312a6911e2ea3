package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Damages to every kind of object of ours, deleted and changed where it can be. hv1
// serves vm1 and vm2, and has learned vm3 and vm4.
var (
	ruleDamages = []damage{
		{"the IPv4 rule of local addresses, deleted", "ip rule del pref 32765", "ip rule show"},
		{"the IPv6 rule of local addresses, deleted", "ip -6 rule del pref 32765", "ip -6 rule show"},
		{"the kernel's IPv4 rule, put back before ours", "ip rule add pref 0 lookup local", "ip rule show"},
		{"the kernel's IPv6 rule, put back before ours", "ip -6 rule add pref 0 lookup local", "ip -6 rule show"},
		{"the IPv4 rule of VRFs, deleted", "ip rule del pref 1000", "ip rule show"},
		{"the IPv6 rule of VRFs, deleted", "ip -6 rule del pref 1000", "ip -6 rule show"},
		{"a VRF device, taken down", "ip link set public down", "ip -brief link show dev public"},
	}
	addressDamages = []damage{
		{"an uplink's IPv4 address, deleted", "ip address del 100.64.0.11/24 dev a-public", "ip -4 -o address show dev a-public"},
		{"an uplink's IPv6 address, deleted", "ip address del 2001:db8:a::11/64 dev a-public", "ip -6 -brief address show dev a-public"},
		{"an uplink's IPv4 address, given an end", "ip address change 100.64.0.11/24 dev a-public valid_lft 600 preferred_lft 600", lifetimes("a-public")},
		{"an uplink's IPv6 address, given an end", "ip address change 2001:db8:a::11/64 dev a-public valid_lft 600 preferred_lft 600", lifetimes("a-public")},
		{"a gateway's address on a tap, deleted", "ip address del 203.0.113.1/32 dev tap1", "ip -4 -o address show dev tap1"},
		{"the link-local gateway on a tap, deleted", "ip address del fe80::1/64 dev tap1", "ip -6 -brief address show dev tap1"},
		{"a gateway's address on a tap, given an end", "ip address change 203.0.113.1/32 dev tap1 scope link valid_lft 600 preferred_lft 600", lifetimes("tap1")},
		{"the link-local gateway on a tap, given an end", "ip address change fe80::1/64 dev tap1 valid_lft 600 preferred_lft 600", lifetimes("tap1")},
	}
	tapDamages = []damage{
		{"a tap's VRF, left", "ip link set tap1 nomaster", "ip -brief link show master public"},
		{"a tap's VRF, another", "ip link set tap1 master private", "ip -brief link show master public"},
		{"a tap, taken down", "ip link set tap1 down", "ip -brief link show dev tap1"},
		{"a tap's MAC, changed", "ip link set tap1 address 02:00:00:00:99:01", "ip -brief link show dev tap1"},
		{"a tap's group, changed", "ip link set tap1 group default", "ip -o link show dev tap1"},
	}
	filterDamages = []damage{
		{"the inet filter, deleted", "nft delete table inet hostroute", "nft -s -t list table inet hostroute"},
		{"the ARP filter, deleted", "nft delete table arp hostroute", "nft -s -t list table arp hostroute"},
		{"a chain of the filter, emptied", "nft flush chain inet hostroute ipv4", "nft -s -t list table inet hostroute"},
		{"a chain of the filter, given a rule", "nft insert rule inet hostroute ipv4 accept", "nft -s -t list table inet hostroute"},
		{"a guest's address in the filter, deleted", `nft delete element inet hostroute hosts4 { "tap1" . 203.0.113.11 }`, "nft -s list set inet hostroute hosts4"},
		{"an address in the filter that is no guest's, added", `nft add element inet hostroute hosts4 { "tap1" . 203.0.113.99 }`, "nft -s list set inet hostroute hosts4"},
		{"a set of the filter, emptied", "nft flush set arp hostroute macs", "nft -s list set arp hostroute macs"},
	}
	routeDamages = []damage{
		{"a guest's IPv4 route, deleted", "ip route del 203.0.113.11/32 table 90", ourRoutes},
		{"a guest's IPv4 route, changed", "ip route replace 203.0.113.11/32 dev tap2 table 90 proto 201 metric 100", ourRoutes},
		{"a guest's IPv6 route, deleted", "ip -6 route del 2001:db8:cb00:7101::/64 table 90", ourRoutes6},
		{"a guest's IPv6 route, changed", "ip -6 route replace 2001:db8:cb00:7101::/64 dev tap2 table 90 proto 201 metric 100", ourRoutes6},
		{"the IPv4 last resort, deleted", "ip route del unreachable default table 90 metric 4278198272", ourRoutes},
		{"the IPv4 last resort, changed", "ip route replace blackhole default table 90 proto 201 metric 4278198272", ourRoutes},
		{"the IPv6 last resort, deleted", "ip -6 route del unreachable default table 90 metric 4278198272", ourRoutes6},
		{"the IPv6 last resort, changed", "ip -6 route replace blackhole default table 90 proto 201 metric 4278198272", ourRoutes6},
		{"a learned IPv4 route, deleted", "ip route del 203.0.113.13/32 table 90", ourRoutes},
		{"a learned IPv4 route, changed", "ip route replace 203.0.113.13/32 dev tap2 table 90 proto 201 metric 200", ourRoutes},
		{"a learned IPv6 route, deleted", "ip -6 route del 2001:db8:cb00:7103::/64 table 90", ourRoutes6},
		{"a learned IPv6 route, changed", "ip -6 route replace 2001:db8:cb00:7103::/64 dev tap2 table 90 proto 201 metric 200", ourRoutes6},
	}
	uplinkDamages = []damage{
		{"an uplink's VRF, left", "ip link set b-public nomaster", "ip -brief link show master public"},
		{"an uplink's VRF, another", "ip link set b-public master private", "ip -brief link show master public"},
		{"an uplink, taken down", "ip link set b-public down", "ip -brief link show dev b-public"},
	}
	settingDamages = []damage{ // of which the kernel tells
		setting("ipv4.conf.tap1.proxy_arp", 0), setting("ipv4.conf.tap1.rp_filter", 0), setting("ipv4.conf.a-public.rp_filter", 1),
		setting("ipv4.conf.a-public.proxy_arp", 1), setting("ipv4.conf.all.rp_filter", 2), setting("ipv6.conf.tap1.forwarding", 0),
		setting("ipv4.ip_forward", 0),
	}
	silentDamages = []damage{
		setting("ipv6.conf.tap1.accept_ra", 2), setting("ipv6.conf.a-public.accept_ra", 1), setting("ipv4.conf.a-public.arp_ignore", 0),
		setting("ipv4.conf.a-public.arp_announce", 0), setting("ipv4.fib_multipath_hash_policy", 0), setting("ipv4.neigh.tap1.proxy_delay", 80),
	}
)

const (
	ourRoutes  = "ip route show table 90 proto 201"
	ourRoutes6 = "ip -6 route show table 90 proto 201"
	nextHops   = "ip nexthop show proto 201"
)

func lifetimes(link string) string { return "ip address show dev " + link }

// setting is a sysctl, set to something else.
func setting(name string, value int) damage {
	name = "net." + name
	return damage{fmt.Sprintf("%s, set to %d", name, value), fmt.Sprintf("sysctl -qw %s=%d", name, value), "sysctl " + name}
}

// foundDamages are those to what has no name that is known before.
func (w *world) foundDamages(ctx context.Context) ([]damage, error) {
	hops, err := w.nextHopDamages(ctx)
	if err != nil {
		return nil, err
	}
	neighbours, err := w.neighbourDamages(ctx)
	return slices.Concat(neighbours, hops), err
}

// neighbourDamages delete and change the neighbours of a tap, one a family.
func (w *world) neighbourDamages(ctx context.Context) ([]damage, error) {
	out, err := w.Exec(ctx, drifting, "ip", "-j", "neighbour", "show", "dev", "tap1", "nud", "permanent")
	if err != nil {
		return nil, err
	}
	var list []struct {
		Dst netip.Addr `json:"dst"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("reading the neighbours of tap1: %w", err)
	}
	var damages []damage
	for _, family := range families {
		i := slices.IndexFunc(list, func(n struct {
			Dst netip.Addr `json:"dst"`
		}) bool {
			return n.Dst.Is4() == (family == 4)
		})
		if i < 0 {
			return nil, fmt.Errorf("tap1 has no neighbour of IPv%d:\n%s", family, out)
		}
		show := fmt.Sprintf("ip -%d neighbour show dev tap1 nud permanent", family)
		what := fmt.Sprintf("a guest's IPv%d neighbour", family)
		damages = append(damages,
			damage{what + ", deleted", fmt.Sprintf("ip neighbour del %s dev tap1", list[i].Dst), show},
			damage{what + ", with another MAC", fmt.Sprintf("ip neighbour replace %s lladdr 02:00:00:00:99:02 dev tap1 nud permanent", list[i].Dst), show})
	}
	return damages, nil
}

// nextHopDamages delete and change a member and a group, with the routes that refer to
// them, and delete all.
func (w *world) nextHopDamages(ctx context.Context) ([]damage, error) {
	hops, err := w.nextHops(ctx, drifting)
	if err != nil {
		return nil, err
	}
	var member, group, floor *kernelNextHop
	for _, id := range slices.Sorted(maps.Keys(hops)) {
		h := hops[id]
		switch {
		case len(h.Group) > 1 && group == nil:
			group = &h
		case h.Gateway == floors[0] && h.Dev == "public":
			floor = &h
		case h.Dev == "a-public" && strings.Contains(h.Gateway, ".") && member == nil:
			member = &h
		}
	}
	if member == nil || group == nil || floor == nil {
		return nil, errors.New("hv1 has no group of next hops with two members, no IPv4 member on a-public, or no floor")
	}
	return []damage{
		{"a member of groups of next hops, deleted", fmt.Sprintf("ip nexthop del id %d", member.ID), nextHops + ";" + ourRoutes},
		{"a member of groups of next hops, changed", fmt.Sprintf("ip nexthop replace id %d via 100.64.0.99 dev a-public proto 201", member.ID), nextHops},
		{"a group of next hops, changed", fmt.Sprintf("ip nexthop replace id %d group %d proto 201", group.ID, group.Group[0].ID), nextHops + ";" + ourRoutes},
		{"a group of next hops, deleted with its routes", fmt.Sprintf("ip nexthop del id %d", group.ID), nextHops + ";" + ourRoutes + ";" + ourRoutes6},
		{"the floor of groups, deleted", fmt.Sprintf("ip nexthop del id %d", floor.ID), nextHops},
		{"the floor's neighbour, deleted", "ip neighbour del 192.0.0.8 dev public", "ip neighbour show dev public"},
		{"the floor's neighbour, said to answer", "ip neighbour replace 192.0.0.8 lladdr 02:00:00:00:99:03 dev public nud permanent", "ip neighbour show dev public"},
		{"all next hops of ours, flushed with their routes", "ip nexthop flush proto 201", nextHops + ";" + ourRoutes + ";" + ourRoutes6},
	}, nil
}
