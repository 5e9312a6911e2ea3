package agent

import (
	"testing"

	"github.com/hostroute/hostroute/internal/bgp"
)

func TestExplainLearned(t *testing.T) {
	const all = "0.0.0.0/0"
	checkAll(t, map[string]explained{
		"two planes": {address: "203.0.113.30", to: ToLearned, routed: true,
			change: learning(learnt("203.0.113.30/32", path("a", "100.64.0.12", nil), path("b", "100.64.1.12", nil)), learnt(all, path("a", "100.64.0.1", nil))),
			want: []string{
				"203.0.113.30 in VRF public goes by the learned route 203.0.113.30/32 to 100.64.0.12 by uplink a0 (plane a) and 100.64.1.12 by uplink b0 (plane b).",
				"These are equally good, and flows are spread over them.",
				"Chosen with preference 100; told by reflectors rr-a, rr-b.",
				"It is in 203.0.113.0/24 of network web, and no guest of this hypervisor holds it.",
			}, not: []string{"Not used", "(the default"}},
		"default": {address: "192.0.2.1", to: ToLearned, routed: true,
			change: learning(learnt(all, path("a", "100.64.0.1", func(p *bgp.Path) { p.ASPath = "65001 65002" }))),
			want: []string{
				"192.0.2.1 in VRF public goes by the learned route 0.0.0.0/0 (the default: nothing longer is known) to 100.64.0.1 by uplink a0 (plane a).",
				"Chosen with preference 100, AS path 65001 65002; told by reflector rr-a.",
			}, not: []string{"equally good", "network"}},
		"nobody's, by the default": {address: "203.0.113.99", to: ToLearned, routed: true, change: learning(learnt(all, path("a", "100.64.0.1", nil))),
			want: []string{"It is in 203.0.113.0/24 of network web; no guest of this hypervisor holds it and nobody announces it, so as far as is known here no guest has it."}},
		"worse paths": {address: "192.0.2.1", to: ToLearned, routed: true,
			change: learning(learnt(all, path("a", "100.64.0.1", func(p *bgp.Path) { p.ASPath = "65001" }),
				worse("b", "100.64.1.1", func(p *bgp.Path) { p.LocalPref = 50 }),
				worse("b", "100.64.1.2", func(p *bgp.Path) { p.LocalPref = 90 }),
				worse("b", "100.64.1.3", func(p *bgp.Path) { p.Stale = true }),
				worse("b", "100.64.1.4", func(p *bgp.Path) { p.Unusable = true }),
				worse("b", "100.64.1.5", func(p *bgp.Path) { p.ASPath = "65001 65002" }),
				worse("b", "100.64.1.6", func(p *bgp.Path) { p.ASPath, p.Origin = "65001", "incomplete" }),
				worse("b", "100.64.1.7", func(p *bgp.Path) { p.ASPath, p.MED = "65001", 7 }),
				worse("b", "100.64.1.8", func(p *bgp.Path) { p.ASPath, p.MED = "65001 65002", 7 }))),
			want: []string{
				"Not used: 100.64.1.1 by uplink b0 (plane b) from reflector rr-b, because its preference is 50, as of a drained hypervisor, and the best has 100.",
				"Not used: 100.64.1.2 by uplink b0 (plane b) from reflector rr-b, because its preference is 90, and the best has 100.",
				"Not used: 100.64.1.3 by uplink b0 (plane b) from reflector rr-b, because it is kept from a session that fell.",
				"Not used: 100.64.1.4 by uplink b0 (plane b) from reflector rr-b, because its next hop can't be used.",
				"Not used: 100.64.1.5 by uplink b0 (plane b) from reflector rr-b, because its AS path (65001 65002) is longer than the best (65001).",
				"Not used: 100.64.1.6 by uplink b0 (plane b) from reflector rr-b, because its origin is incomplete, and the best has IGP.",
				"Not used: 100.64.1.7 by uplink b0 (plane b) from reflector rr-b, because its MED is 7, and the best has 0.",
				"Not used: 100.64.1.8 by uplink b0 (plane b) from reflector rr-b, because its AS path, origin or MED is worse.",
			}},
		"stale": {address: "192.0.2.1", to: ToLearned, routed: true, change: learning(learnt(all, path("a", "100.64.0.1", func(p *bgp.Path) { p.Stale = true }))),
			want: []string{"It is kept from a session that fell, since nothing better is known."}},
		"pending": {address: "192.0.2.1", to: ToLearned, routed: true,
			change: func(f *explainFacts) {
				r := learnt(all, path("a", "100.64.0.1", nil))
				r.Pending = true
				learning(r)(f)
			},
			want: []string{"A change of this route waits to be written into the kernel."}},
		"unusable longer one": {address: "203.0.113.30", to: ToLearned, routed: true,
			change: learning(learnt("203.0.113.30/32", worse("a", "100.64.0.12", func(p *bgp.Path) { p.Unusable = true })), learnt(all, path("a", "100.64.0.1", nil))),
			want: []string{
				"203.0.113.30 in VRF public goes by the learned route 0.0.0.0/0 (the default: nothing longer is known) to 100.64.0.1 by uplink a0 (plane a).",
				"It is in 203.0.113.0/24 of network web, and no guest of this hypervisor holds it.",
				"203.0.113.30/32 is known by BGP too, and none of its next hops can be used, so it isn't in the kernel.",
			}},
		"uplink gone": {address: "192.0.2.1", to: ToLearned, routed: true,
			change: func(f *explainFacts) {
				f.absentUplinks = []string{"a0"}
				learning(learnt(all, path("a", "100.64.0.1", nil)))(f)
			},
			want: []string{"Uplink a0 is not on this host."}},
		"several VRFs": {address: "10.0.0.7", to: ToLearned, routed: true, change: learning(learnt(all, path("a", "100.64.0.1", nil))), want: []string{
			"10.0.0.7 in VRF private goes to guest vm7 on this hypervisor, by tap tap7.",
			"Several VRFs lead somewhere: public, private. Which one a packet takes is decided by the tap or uplink by which it comes in.",
		}},
	})
}

func TestExplainNobody(t *testing.T) {
	const nothing = "Nothing in VRF public leads to 198.51.100.99: its table ends in an unreachable default, so the sender is told that the destination is unreachable."
	checkAll(t, map[string]explained{
		"of a network": {address: "198.51.100.99", to: ToNowhere, want: []string{nothing,
			"It is in 198.51.100.0/24 of network idle; no guest of this hypervisor holds it and nobody announces it, so as far as is known here no guest has it.",
		}, not: []string{"reflector of VRF public", "the kernel still"}},
		"of no network": {address: "8.8.8.8", to: ToNowhere, not: []string{"network"}},
		"no session": {address: "198.51.100.99", to: ToNowhere, change: func(f *explainFacts) { f.vrfs[0].reflectors = make([]reflectorFacts, 2) }, want: []string{nothing,
			"None of the 2 reflectors of VRF public is connected, so nothing new is learned: see `hostroute peers`.",
		}},
		"not told all": {address: "198.51.100.99", to: ToNowhere, change: func(f *explainFacts) {
			f.vrfs[0].reflectors, f.vrfs[0].leftover = []reflectorFacts{{established: true}}, 3
		}, want: []string{nothing,
			"No reflector of VRF public has told all it knows yet.",
			"The kernel still has 3 routes in VRF public that a former run learned and nobody has confirmed; one of them may lead there.",
		}},
		"only unusable": {address: "198.51.100.99", to: ToNowhere,
			change: learning(learnt("198.51.100.99/32", worse("a", "100.64.0.12", func(p *bgp.Path) { p.Unusable = true }))), want: []string{nothing,
				"198.51.100.99/32 is known by BGP too, and none of its next hops can be used, so it isn't in the kernel.",
			}},
	})
}

func TestExplainOwnAddresses(t *testing.T) {
	withDefault := learning(learnt("0.0.0.0/0", path("a", "100.64.0.1", nil)))
	checkAll(t, map[string]explained{
		"gateway": {address: "203.0.113.1", to: ToGateway, routed: true, change: withDefault, want: []string{
			"203.0.113.1 in VRF public is a gateway of network web: this hypervisor answers for it itself, on taps tap1, tap3, tap9.",
			"Every hypervisor does the same for its own guests, so a packet for it is never forwarded.",
		}, not: []string{"no guest", "by the learned"}},
		"gateway without guests": {address: "198.51.100.1", to: ToLearned, routed: true, change: withDefault, want: []string{
			"198.51.100.1 in VRF public goes by the learned route 0.0.0.0/0 (the default: nothing longer is known) to 100.64.0.1 by uplink a0 (plane a).",
			"It is a gateway of network idle, which has no guest on this hypervisor, so nothing answers for it here.",
		}},
		"gateway of absent taps": {address: "203.0.113.1", to: ToNowhere, change: func(f *explainFacts) { f.present = nil }, want: []string{
			"It is a gateway of network web, whose taps tap1, tap2, tap3, tap9 are not in use here, so nothing answers for it here.",
		}},
		"IPv4 gateway of a network without": {address: "169.254.0.1", to: ToNowhere, routed: true, want: []string{
			"169.254.0.1 in VRF private is the gateway that taps have without being told: this hypervisor answers for it itself, on tap tap7.",
		}},
		"IPv6 gateway": {address: "fe80::1", to: ToGateway, routed: true, want: []string{
			"fe80::1 in VRF public is the gateway that taps have without being told: this hypervisor answers for it itself, on taps tap1, tap3, tap9.",
			"fe80::1 in VRF private is the gateway that taps have without being told: this hypervisor answers for it itself, on tap tap7.",
			"fe80::1 is link-local: it means something on one link only, and is never routed.",
		}},
		"uplink": {address: "100.64.0.11", to: ToHypervisor, routed: true, want: []string{
			"100.64.0.11 in VRF public is this hypervisor's own address on uplink a0, in plane a.",
			"Guests can't reach it: 100.64.0.0/10 is interconnect, and the filter drops what they send there.",
		}},
		"neighbour": {address: "2001:db8:a::12", to: ToPlane, routed: true, want: []string{
			"2001:db8:a::12 in VRF public is in 2001:db8:a::/64, the subnet of uplink a0, so it goes straight to that neighbour in plane a.",
			"Guests can't reach it: 2001:db8:a::/64 is interconnect, and the filter drops what they send there.",
		}},
		"interconnect behind a route": {address: "100.64.9.9", to: ToLearned, routed: true, change: withDefault, want: []string{
			"Guests can't reach it: 100.64.0.0/10 is interconnect, and the filter drops what they send there.",
		}},
		"learned in the uplink's subnet": {address: "100.64.0.77", to: ToLearned, routed: true,
			change: learning(learnt("100.64.0.77/32", path("b", "100.64.1.12", nil)))},
		"link-local": {address: "fe80::7", want: []string{"fe80::7 is link-local: it means something on one link only, and is never routed."}},
		"multicast":  {address: "224.0.0.1", change: withDefault, want: []string{"224.0.0.1 is a multicast address: hostroute routes unicast only."}},
		"loopback":   {address: "127.0.0.1", want: []string{"127.0.0.1 is a loopback address: a packet for it never leaves the host that sends it."}},
		"nobody":     {address: "::", want: []string{":: is no address of anybody: no packet is for it."}},
		"broadcast":  {address: "255.255.255.255", want: []string{"255.255.255.255 is the broadcast address of the link: it is never routed."}},
	})
}
