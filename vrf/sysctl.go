package vrf

import "strconv"

// Sysctl is a desired kernel setting.
type Sysctl struct {
	Name  string // path below /proc/sys/net
	Value string
	Link  string // the link it belongs to, or empty
	// AtLeast: a greater number is as good, since others share the limit.
	AtLeast bool
}

// satisfied tells whether the kernel's value will do.
func (s Sysctl) satisfied(value string) bool {
	if value == s.Value {
		return true
	}
	if !s.AtLeast {
		return false
	}
	have, err := strconv.Atoi(value)
	want, _ := strconv.Atoi(s.Value)
	return err == nil && have >= want
}

// globalSysctls are measured and tested one by one. conf/all/rp_filter must be
// 0: the kernel takes the greater of it and the link's own, so a 2 there turns
// strict taps loose. nexthop_compat_mode 0 makes replacing a next hop
// independent of the number of routes. fib_multipath_hash_policy 1 has ports
// choose the way, too, or all connections of a client would go to one plane, and
// to one of the guests that share an anycast address. A source route would lead a guest's
// packet past the filter to an interconnect. Sockets in a VRF are bound explicitly,
// so none of the default VRF may accept for it.
var globalSysctls = []Sysctl{
	{Name: "ipv4/ip_forward", Value: "1"},
	{Name: "ipv6/conf/all/forwarding", Value: "1"},
	{Name: "ipv4/conf/all/rp_filter", Value: "0"},
	{Name: "ipv4/conf/default/rp_filter", Value: "0"},
	{Name: "ipv4/conf/all/accept_source_route", Value: "0"},
	{Name: "ipv4/conf/all/accept_redirects", Value: "0"},
	{Name: "ipv4/conf/default/accept_redirects", Value: "0"},
	{Name: "ipv4/conf/all/send_redirects", Value: "0"},
	{Name: "ipv4/conf/default/send_redirects", Value: "0"},
	{Name: "ipv6/conf/all/accept_redirects", Value: "0"},
	{Name: "ipv6/conf/default/accept_redirects", Value: "0"},
	{Name: "ipv6/conf/default/accept_ra", Value: "0"},
	{Name: "ipv6/conf/all/keep_addr_on_down", Value: "1"},
	{Name: "ipv4/fib_multipath_hash_policy", Value: "1"},
	{Name: "ipv6/fib_multipath_hash_policy", Value: "1"},
	{Name: "ipv4/fib_multipath_use_neigh", Value: "1"},
	{Name: "ipv4/nexthop_compat_mode", Value: "0"},
	{Name: "ipv4/tcp_l3mdev_accept", Value: "0"},
	{Name: "ipv4/udp_l3mdev_accept", Value: "0"},
	{Name: "ipv4/raw_l3mdev_accept", Value: "0"},
	{Name: "ipv4/neigh/default/gc_thresh3", Value: "65536", AtLeast: true},
	{Name: "ipv4/neigh/default/gc_thresh2", Value: "32768", AtLeast: true},
	{Name: "ipv4/neigh/default/gc_thresh1", Value: "8192", AtLeast: true},
	{Name: "ipv6/neigh/default/gc_thresh3", Value: "65536", AtLeast: true},
	{Name: "ipv6/neigh/default/gc_thresh2", Value: "32768", AtLeast: true},
	{Name: "ipv6/neigh/default/gc_thresh1", Value: "8192", AtLeast: true},
}

// uplinkSysctls: loose reverse path, because the planes' routes differ while
// they converge; no ARP answer for the other plane's address. arp_notify and
// ndisc_notify have the kernel say which MAC address a link has when it comes up or
// gets another: the neighbours of a host that comes back with another one would go
// on sending to the former while they hold that to be reachable. disable_ipv6 is
// what many hosts set by default, and some hypervisors on every tap; the kernel
// then refuses each IPv6 address and route.
func uplinkSysctls(link string) []Sysctl {
	return onLink(link,
		"ipv6/conf/*/disable_ipv6", "0",
		"ipv4/conf/*/rp_filter", "2",
		"ipv4/conf/*/arp_ignore", "1",
		"ipv4/conf/*/arp_announce", "2",
		"ipv4/conf/*/arp_notify", "1",
		"ipv4/conf/*/proxy_arp", "0",
		"ipv4/conf/*/forwarding", "1",
		"ipv4/conf/*/accept_redirects", "0",
		"ipv4/conf/*/send_redirects", "0",
		"ipv4/conf/*/ignore_routes_with_linkdown", "1",
		"ipv6/conf/*/ignore_routes_with_linkdown", "1",
		"ipv6/conf/*/forwarding", "1",
		"ipv6/conf/*/accept_redirects", "0",
		"ipv6/conf/*/accept_ra", "0",
		"ipv6/conf/*/ndisc_notify", "1",
	)
}

// tapSysctls: proxy_delay 0, or every ARP answer waits up to a second;
// addr_gen_mode 1 (none), because the tap's only link-local address is
// fe80::1, and it skips duplicate address detection, or a guest could take it.
func tapSysctls(link string) []Sysctl {
	return onLink(link,
		"ipv6/conf/*/addr_gen_mode", "1",
		"ipv6/conf/*/disable_ipv6", "0",
		"ipv4/conf/*/forwarding", "1",
		"ipv4/conf/*/proxy_arp", "1",
		"ipv4/conf/*/rp_filter", "1",
		"ipv4/conf/*/accept_redirects", "0",
		"ipv4/conf/*/send_redirects", "0",
		"ipv4/neigh/*/proxy_delay", "0",
		"ipv6/neigh/*/proxy_delay", "0",
		"ipv6/conf/*/forwarding", "1",
		"ipv6/conf/*/accept_ra", "0",
		"ipv6/conf/*/accept_redirects", "0",
		"ipv6/conf/*/dad_transmits", "0",
		"ipv6/conf/*/accept_dad", "0",
	)
}

// onLink puts the link's name where the path has a star.
func onLink(link string, pairs ...string) []Sysctl {
	list := make([]Sysctl, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		pattern := pairs[i]
		for j := range len(pattern) {
			if pattern[j] == '*' {
				list = append(list, Sysctl{Name: pattern[:j] + link + pattern[j+1:], Value: pairs[i+1], Link: link})
				break
			}
		}
	}
	return list
}

// Sysctls lists every kernel setting that a host needs, so that the kernel's
// reader knows which ones to read. Links that are absent have none yet.
func Sysctls(h Host) []Sysctl { return append(LinkSysctls(h), globalSysctls...) }

// LinkSysctls lists those of the uplinks and taps alone.
func LinkSysctls(h Host) []Sysctl {
	var list []Sysctl
	for _, u := range h.Uplinks {
		list = append(list, uplinkSysctls(u.Name)...)
	}
	for _, t := range h.Taps {
		list = append(list, tapSysctls(t.Name)...)
	}
	return list
}
