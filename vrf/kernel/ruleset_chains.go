package kernel

import (
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// Every chain of guests' packets is a list of what may pass and ends with a
// drop. A rule that can't read what it asks for doesn't match, so what can't
// be parsed passes nowhere. Rules that drop before only tell the counters why,
// or stand before a wider one that allows.

const (
	icmpEchoReply    = 0
	icmpEchoRequest  = 8
	parameterProblem = 4
	icmp6EchoRequest = 128
	icmp6EchoReply   = 129
	mldQuery         = 130
	mldReport        = 131
	mldDone          = 132
	routerSolicit    = 133
	routerAdvert     = 134
	neighbourSolicit = 135
	neighbourAdvert  = 136
	redirect6        = 137
	mldReport2       = 143
)

// Offsets of addresses in their headers.
const (
	source4, destination4 = 12, 16
	source6, destination6 = 8, 24
)

var (
	unspecified6  = netip.MustParsePrefix("::/128")
	linkLocal6    = netip.MustParsePrefix("fe80::/64")
	anyLinkLocal6 = netip.MustParsePrefix("fe80::/10")
	multicast6    = netip.MustParsePrefix("ff02::/16")
	allNodes6     = netip.MustParsePrefix("ff02::1/128")
	allRouters6   = netip.MustParsePrefix("ff02::2/128")
	dhcpServers6  = netip.MustParsePrefix("ff02::1:2/128")
	tapGateway6   = netip.MustParsePrefix("fe80::1/128")
	unspecified4  = netip.MustParsePrefix("0.0.0.0/32")
	broadcast4    = netip.MustParsePrefix("255.255.255.255/32")
)

func plain(name string, rules ...ruleExprs) chain { return chain{name: name, hook: -1, rules: rules} }

func guestChain() chain {
	own := func() match {
		return keyed(iifname(), load(expr.PayloadBaseLLHeader, 6, 6, regNext), "macs")
	}
	return plain("guest",
		rule(own(), family(unix.NFPROTO_IPV4), jump("ipv4")),
		rule(own(), family(unix.NFPROTO_IPV6), jump("ipv6")),
		rule(jump("spoofed")),
	)
}

func ipv4Chain() chain {
	source := func() expr.Any { return network(source4, 4) }
	rules := []ruleExprs{
		rule(within(source4, unspecified4), within(destination4, broadcast4), ports(68, 67), jump("limit_dhcp")),
		rule(keyed(iifname(), source(), "gateways4"), jump("spoofed")),
	}
	return plain("ipv4", slices.Concat(rules, own4(source, "ipv4_own"), []ruleExprs{rule(jump("spoofed"))})...)
}

// own4 and own6 go on where an address is one of the guest's sources, after
// other conditions. What an interval can say is asked for last.
func own4(address func() expr.Any, next string) []ruleExprs {
	return []ruleExprs{
		rule(keyed(iifname(), address(), "hosts4"), jump(next)),
		rule(keyed(iifname(), address(), "prefixes4"), jump(next)),
	}
}

func own6(address func() expr.Any, next string, also ...any) []ruleExprs {
	subnet := match{iifname(), into(regNext, address()), first64(regNext), in("subnets6")}
	of := func(m match) ruleExprs { return rule(append(slices.Clone(also), m, jump(next))...) }
	return []ruleExprs{
		of(keyed(iifname(), address(), "hosts6")),
		of(subnet),
		of(keyed(iifname(), address(), "prefixes6")),
	}
}

// refusedTo drops what goes to the interconnects of a family.
func refusedTo(s vrf.FilterStatic, v6 bool, offset uint32) []ruleExprs {
	var rules []ruleExprs
	for _, p := range s.Interconnects {
		if p.Addr().Is6() == v6 {
			rules = append(rules, rule(within(offset, p), jump("refused")))
		}
	}
	return rules
}

// ipv4OwnChain: an IPv4 fragment other than the first begins at least eight
// bytes into the datagram, so it can't change ports or an ICMP type that the
// first one had (RFC 3128 is about the rest of TCP's header, which is not ours).
func ipv4OwnChain(s vrf.FilterStatic) chain {
	return plain("ipv4_own", append(refusedTo(s, false, destination4),
		rule(laterFragment4(), accept()),
		rule(icmp4(5, 5), jump("refused")), // redirect
		rule(icmp4(9, 9), jump("refused")), // router advertisement, RFC 1256
		rule(protocol(unix.IPPROTO_ICMP), has(8), accept()),
		rule(udpPort(0, 67), jump("refused")),
		rule(udpPort(2, 68), jump("refused")),
		rule(ports(68, 67), jump("limit_dhcp")),
		rule(protocol(unix.IPPROTO_UDP), has(8), accept()),
		rule(meta(expr.MetaKeyL4PROTO), differs(unix.IPPROTO_ICMP), differs(unix.IPPROTO_UDP), accept()),
		rule(jump("refused")),
	)...)
}

func ipv6Chain() chain {
	source := func() expr.Any { return network(source6, 16) }
	rules := []ruleExprs{
		rule(within(source6, unspecified6), jump("ipv6_unspecified")),
		rule(within(source6, tapGateway6), jump("spoofed")),
		rule(keyed(iifname(), source(), "gateways6"), jump("spoofed")),
		rule(within(source6, linkLocal6), jump("ipv6_linklocal")),
	}
	return plain("ipv6", slices.Concat(rules, own6(source, "ipv6_own"), []ruleExprs{rule(jump("spoofed"))})...)
}

// ipv6UnspecifiedChain: without an address a guest detects duplicates, asks
// for routers and joins groups (RFC 4862 section 5.4, RFC 3590), no more.
func ipv6UnspecifiedChain() chain {
	to := func() match { return within(destination6, multicast6) }
	return plain("ipv6_unspecified",
		rule(fragmented(), jump("refused")),
		rule(to(), icmp6(neighbourSolicit, neighbourSolicit), jump("limit_nd")),
		rule(to(), icmp6(routerSolicit, routerSolicit), jump("limit_rs")),
		rule(to(), icmp6(mldReport, mldDone), accept()),
		rule(to(), icmp6(mldReport2, mldReport2), accept()),
		rule(jump("spoofed")),
	)
}

// ipv6LinkLocalChain: what comes from a link-local address stays on the link.
func ipv6LinkLocalChain() chain {
	return plain("ipv6_linklocal",
		rule(call("heard")),
		rule(within(destination6, anyLinkLocal6), jump("ipv6_onlink")),
		rule(within(destination6, multicast6), jump("ipv6_onlink")),
		rule(jump("refused")),
	)
}

// heardChain returns if its packet may make the kernel remember a neighbour: by
// asking (RFC 4861 sections 6.2.6 and 7.2.3) or by being answered, which from
// global addresses takes no neighbours but permanent ones. All guests and the
// planes share the kernel's table. A guest's addresses are known for some time,
// and new ones let in at a rate; where too many are known no new one is.
func heardChain() chain {
	source := func() match { return match{iifname(), into(regNext, network(source6, 16))} }
	learn := &expr.Dynset{SrcRegKey: regKey, SetName: "heard", Operation: unix.NFT_DYNSET_OP_ADD, Timeout: sourceMemory}
	return plain("heard",
		rule(source(), in("heard"), back()),
		beyond("source", sourceRate, sourceBurst),
		rule(source(), learn, back()),
		rule(jump("limited")),
	)
}

func ipv6OnLinkChain() chain {
	rules := []ruleExprs{
		rule(fragmented(), jump("ipv6_onlink_fragment")),
		rule(icmp6(routerSolicit, routerSolicit), jump("limit_rs")),
		rule(icmp6(neighbourSolicit, neighbourSolicit), jump("limit_nd")),
		rule(icmp6(mldReport, mldDone), accept()),
		rule(icmp6(mldReport2, mldReport2), accept()),
		rule(icmp6(icmp6EchoRequest, icmp6EchoReply), accept()),
		rule(ports(546, 547), jump("limit_dhcp")),
	}
	return plain("ipv6_onlink", slices.Concat(rules, advertRules(), []ruleExprs{rule(jump("refused"))})...)
}

// advertRules let a guest advertise what is its own: one of its sources, or a
// link-local address that isn't a gateway's. The target is after the header.
func advertRules() []ruleExprs {
	advert := func() match { return icmp6(neighbourAdvert, neighbourAdvert) }
	target := func() expr.Any { return transport(8, 16) }
	return slices.Concat([]ruleExprs{
		rule(advert(), target(), equal(tapGateway6.Addr().AsSlice()...), jump("spoofed")),
		rule(advert(), keyed(iifname(), target(), "gateways6"), jump("spoofed")),
	}, own6(target, "limit_nd", advert()), []ruleExprs{
		rule(advert(), target(), first64(regKey), equal(linkLocal6.Addr().AsSlice()...), jump("limit_nd")),
		rule(advert(), jump("spoofed")),
	})
}

// ipv6OnLinkFragmentChain allows a large ping (RFC 6980 forbids the rest).
func ipv6OnLinkFragmentChain() chain {
	return plain("ipv6_onlink_fragment",
		rule(laterFragment(), protocol(unix.IPPROTO_ICMPV6), accept()),
		rule(icmp6(icmp6EchoRequest, icmp6EchoReply), accept()),
		rule(jump("refused")),
	)
}

func ipv6OwnChain(s vrf.FilterStatic) chain {
	rules := append(refusedTo(s, true, destination6),
		rule(fragmented(), jump("ipv6_fragment")),
		rule(icmp6(routerAdvert, routerAdvert), jump("refused")),
		rule(icmp6(redirect6, redirect6), jump("refused")),
		rule(icmp6(mldQuery, mldQuery), jump("refused")),
		rule(icmp6(routerSolicit, neighbourSolicit), call("heard")), // what is between them never gets here
		rule(icmp6(routerSolicit, routerSolicit), jump("limit_rs")),
		rule(icmp6(neighbourSolicit, neighbourSolicit), jump("limit_nd")),
	)
	rules = append(rules, advertRules()...)
	return plain("ipv6_own", append(rules,
		rule(udpPort(0, 547), jump("refused")),
		rule(udpPort(2, 546), jump("refused")),
		rule(ports(546, 547), jump("limit_dhcp")),
		rule(protocol(unix.IPPROTO_ICMPV6), has(8), accept()),
		rule(protocol(unix.IPPROTO_UDP), has(8), accept()),
		rule(meta(expr.MetaKeyL4PROTO), differs(unix.IPPROTO_ICMPV6), differs(unix.IPPROTO_UDP), accept()),
		rule(jump("refused")),
	)...)
}

// ipv6FragmentChain: a first fragment holds all headers (RFC 7112), none holds
// ND (RFC 6980) or DHCP. Of later ones the kernel knows the protocol, if it
// follows the fragment header; else there is none, and they don't pass.
func ipv6FragmentChain() chain {
	return plain("ipv6_fragment",
		rule(laterFragment(), meta(expr.MetaKeyL4PROTO), accept()),
		rule(icmp6(1, 4), accept()),
		rule(icmp6(icmp6EchoRequest, icmp6EchoReply), accept()),
		rule(udpPort(0, 547), jump("refused")),
		rule(udpPort(2, 546), jump("refused")),
		rule(udpPort(2, 547), jump("refused")),
		rule(protocol(unix.IPPROTO_UDP), has(8), accept()),
		rule(protocol(unix.IPPROTO_TCP), has(20), accept()),
		rule(meta(expr.MetaKeyL4PROTO), differs(unix.IPPROTO_ICMPV6), differs(unix.IPPROTO_UDP), differs(unix.IPPROTO_TCP), has(4), accept()),
		rule(jump("refused")),
	)
}

// localChain is what a guest may say to the hypervisor itself, which it may ping
// and which may ping it, from the gateway's address. The datagram is
// whole here in IPv4; in IPv6 it is not, and what later fragments belong to is
// decided by the first one.
func localChain(name string, who expr.Any, refused string) chain {
	gateway4 := func() match { return keyed(who, network(destination4, 4), "gateways4") }
	gateway6 := func() match { return keyed(who, network(destination6, 16), "gateways6") }
	v4, v6 := family(unix.NFPROTO_IPV4), family(unix.NFPROTO_IPV6)
	echo := icmp6(icmp6EchoRequest, icmp6EchoRequest)
	return plain(name,
		rule(v4, within(destination4, broadcast4), ports(68, 67), accept()),
		rule(v4, gateway4(), ports(68, 67), accept()),
		rule(v4, gateway4(), icmp4(icmpEchoRequest, icmpEchoRequest), accept()),
		rule(v4, gateway4(), icmp4(icmpEchoReply, icmpEchoReply), accept()),
		rule(v6, extension(unix.IPPROTO_ROUTING), jump(refused)),
		rule(v6, fragmented(), laterFragment(), gateway6(), protocol(unix.IPPROTO_ICMPV6), accept()),
		rule(v6, gateway6(), icmp6(icmp6EchoRequest, icmp6EchoReply), accept()),
		rule(v6, fragmented(), jump(refused)),
		rule(v6, icmp6(routerSolicit, routerSolicit), accept()),
		rule(v6, icmp6(neighbourSolicit, neighbourAdvert), accept()),
		rule(v6, icmp6(mldReport, mldDone), accept()),
		rule(v6, icmp6(mldReport2, mldReport2), accept()),
		rule(v6, within(destination6, allNodes6), echo, accept()),
		rule(v6, within(destination6, allRouters6), echo, accept()),
		rule(v6, within(destination6, dhcpServers6), ports(546, 547), accept()),
		rule(v6, gateway6(), ports(546, 547), accept()),
		rule(jump(refused)),
	)
}

// arpGuestChain: Ethernet and IPv4, from the guest's MAC by both headers.
func arpGuestChain() chain {
	return plain("guest",
		rule(network(0, 6), equal(0, 1, 8, 0, 6, 4),
			keyed(iifname(), load(expr.PayloadBaseLLHeader, 6, 6, regNext), "macs"),
			keyed(iifname(), network(8, 6), "macs"), jump("sender")),
		rule(jump("spoofed")),
	)
}

// arpSenderChain: probes (RFC 5227) may ask for any address, so that a guest
// that claims its gateway's learns of the conflict; nobody else's may be
// claimed.
func arpSenderChain() chain {
	sender := func() expr.Any { return network(14, 4) }
	rules := []ruleExprs{
		rule(within(14, unspecified4), network(6, 2), equal(0, 1), jump("limit_arp")),
		rule(keyed(iifname(), sender(), "gateways4"), jump("spoofed")),
	}
	return plain("sender", slices.Concat(rules, own4(sender, "limit_arp"), []ruleExprs{rule(jump("spoofed"))})...)
}
