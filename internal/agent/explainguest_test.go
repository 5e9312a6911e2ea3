package agent

import (
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
)

// serviceOf has the services of one tap remember something.
func serviceOf(tap string, facts ServiceFacts) func(*explainFacts) {
	return func(f *explainFacts) {
		f.services = func(name string) (ServiceFacts, bool) { return facts, name == tap }
	}
}

func TestExplainGuest(t *testing.T) {
	checkAll(t, map[string]explained{
		"primary": {address: "203.0.113.7", to: ToGuest, routed: true, want: []string{
			"203.0.113.7 in VRF public goes to guest vm1 on this hypervisor, by tap tap1.",
			"The log has vm1 hold 203.0.113.7/32 as primary: its last word on the guest is at sequence 20, and its home is hv1 since sequence 7 (the epoch).",
			"The guest has it by DHCPv4.",
			"Announced to 2 of 2 reflectors, with preference 100.",
			"Nothing in VRF private leads to 203.0.113.7: its table ends in an unreachable default, so the sender is told that the destination is unreachable.",
			"No reflector is configured for VRF private, so nothing is learned there.",
		}, not: []string{"learned over", "interconnect", "network web"}},
		"acknowledged": {address: "203.0.113.7", to: ToGuest, routed: true,
			change: serviceOf("tap1", ServiceFacts{DHCPv4: explainedAt.Add(-200 * time.Second)}),
			want:   []string{"The guest has it by DHCPv4: acknowledged 3 min ago."}},
		"not acknowledged": {address: "203.0.113.7", to: ToGuest, routed: true, change: serviceOf("tap1", ServiceFacts{}),
			want: []string{"The guest has it by DHCPv4: not acknowledged since the agent started."}},
		"service away": {address: "203.0.113.7", to: ToGuest, routed: true, change: serviceOf("tap3", ServiceFacts{}),
			want: []string{"The guest is to be told of it by DHCPv4, which doesn't run on tap tap1 now."}},
		"elastic": {address: "203.0.113.8", to: ToGuest, routed: true, change: serviceOf("tap3", ServiceFacts{}),
			want: []string{"Nobody tells the guest of it: it must be configured there."}},
		"DHCPv6": {address: "2001:db8:1::7", to: ToGuest, routed: true, change: serviceOf("tap1", ServiceFacts{DHCPv6: explainedAt.Add(-2 * time.Hour)}),
			want: []string{"The guest has it by DHCPv6: answered 2 h ago."}},
		"inside a /64": {address: "2001:db8:100:1:2:3:4:5", to: ToGuest, routed: true, change: serviceOf("tap1", ServiceFacts{Advertised: explainedAt}),
			want: []string{
				"2001:db8:100:1:2:3:4:5 in VRF public goes to guest vm1 on this hypervisor, by tap tap1 with all of 2001:db8:100:1::/64.",
				"The guest forms addresses in 2001:db8:100:1::/64 by itself, as router advertisements say: sent just now.",
			}},
		"delegated": {address: "2001:db8:200:123::9", to: ToGuest, routed: true, change: serviceOf("tap1", ServiceFacts{DHCPv6: explainedAt.Add(-72 * time.Hour)}),
			want: []string{"2001:db8:200:100::/56 is delegated to the guest by DHCPv6: answered 3 days ago."}},
		"anycast": {address: "203.0.113.20", to: ToGuest, routed: true,
			change: learning(learnt("203.0.113.20/32", path("a", "100.64.0.12", nil), path("b", "100.64.1.12", nil))),
			want: []string{
				"203.0.113.20 in VRF public goes to guest vm1 on this hypervisor, by tap tap1.",
				"Guest vm3 here holds 203.0.113.20/32 as anycast as well, on tap tap3; one of them gets what comes to this hypervisor.",
				"203.0.113.20/32 is learned over 2 paths too; a guest of this hypervisor always comes first.",
			}},
		"longer learned route": {address: "2001:db8:200:123::9", to: ToLearned, routed: true,
			change: learning(learnt("2001:db8:200:123::/64", path("a", "2001:db8:a::12", nil))),
			want: []string{
				"2001:db8:200:123::9 in VRF public goes by the learned route 2001:db8:200:123::/64 to 2001:db8:a::12 by uplink a0 (plane a).",
				"Guest vm1 of this hypervisor has 2001:db8:200:100::/56 on tap tap1; a longer prefix is in its way, or the log is being applied.",
			}},
		"shorter learned route": {address: "203.0.113.7", to: ToGuest, routed: true, change: learning(learnt("203.0.113.0/24", path("a", "100.64.0.12", nil))),
			not: []string{"learned route", "is learned over"}},
		"drained": {address: "203.0.113.7", to: ToGuest, routed: true, more: []events.Data{&events.HypervisorDrained{Hypervisor: "hv1"}},
			want: []string{"Announced to 2 of 2 reflectors, with preference 50 since this hypervisor is drained."}},
		"fenced": {address: "203.0.113.7", to: ToGuest, routed: true, more: []events.Data{&events.HypervisorFenced{Hypervisor: "hv1"}},
			want: []string{"It isn't announced: the log has this hypervisor fenced."}},
		"log not known": {address: "203.0.113.7", to: ToGuest, routed: true, change: func(f *explainFacts) { f.announced, f.said = nil, false },
			want: []string{"It isn't announced: nothing is before the log has been caught up with."}},
		"refused": {address: "203.0.113.7", to: ToGuest, routed: true,
			change: func(f *explainFacts) { f.announced, f.errs = nil, []string{"adding route 203.0.113.7/32: no"} },
			want: []string{
				"It isn't announced: its route isn't known to stand in the kernel; see `hostroute status`.",
				"The last comparison with the kernel failed in part: see `hostroute status`.",
			}},
		"a session down": {address: "203.0.113.7", to: ToGuest, routed: true, change: func(f *explainFacts) { f.vrfs[0].reflectors[1] = reflectorFacts{} },
			want: []string{"Announced to 1 of 2 reflectors, with preference 100."}},
		"no reflector": {address: "203.0.113.7", to: ToGuest, routed: true, change: func(f *explainFacts) { f.vrfs[0].reflectors = nil },
			want: []string{"It isn't announced to anybody: VRF public has no reflector."}},
		"log ahead of the kernel": {address: "203.0.113.7", to: ToGuest, routed: true,
			change: func(f *explainFacts) {
				f.state = f.state.Clone()
				f.state.Forget(events.SubjectVM("vm1"))
			},
			want: []string{"203.0.113.7 in VRF public goes by tap tap1, by the route of 203.0.113.7/32; the log says otherwise by now, and that is being applied."}},
	})
}

// TestExplainGuestThatGetsNothing has guests of this hypervisor that can't be
// reached by it.
func TestExplainGuestThatGetsNothing(t *testing.T) {
	elsewhere := func(prefix string) func(*explainFacts) {
		return learning(learnt(prefix, path("a", "100.64.0.12", nil)))
	}
	checkAll(t, map[string]explained{
		"tap absent": {address: "203.0.113.9", to: ToNowhere, want: []string{
			"Nothing in VRF public leads to 203.0.113.9: its table ends in an unreachable default, so the sender is told that the destination is unreachable.",
			"Guest vm2 of this hypervisor has 203.0.113.9/32, but its tap tap2 is not on this host, so it is neither routed nor announced.",
		}, not: []string{"no guest"}},
		"tap of no use": {address: "203.0.113.9", to: ToNowhere, change: func(f *explainFacts) { f.leftOut = []string{"tap2"} }, want: []string{
			"Guest vm2 of this hypervisor has 203.0.113.9/32, but its tap tap2 can't be put into VRF public, so it is neither routed nor announced; see `hostroute status`.",
		}},
		"expected": {address: "203.0.113.4", to: ToLearned, routed: true, change: elsewhere("203.0.113.4/32"), want: []string{
			"203.0.113.4 in VRF public goes by the learned route 203.0.113.4/32 to 100.64.0.12 by uplink a0 (plane a).",
			"Guest vm4, which has 203.0.113.4/32, is expected here on tap tap9 and still lives on hv2: all is prepared, and nothing is routed to it or announced before it has moved.",
		}},
		"moved away": {address: "203.0.113.5", to: ToLearned, routed: true, change: elsewhere("203.0.113.5/32"), want: []string{
			"Guest vm5, which has 203.0.113.5/32, lived here on tap tap5 before; its home is hv2 since sequence 29.",
		}},
		"tap of another": {address: "203.0.113.6", to: ToNowhere, want: []string{
			`Guest vm6 of this hypervisor has 203.0.113.6/32 and isn't served: guest "vm1" has this tap already.`,
		}},
		"VRF not configured": {address: "192.0.2.8", to: ToNowhere, want: []string{
			"In VRF other, a guest has it on tap tap8, but that VRF is not in the configuration of this hypervisor, so nothing is routed there.",
		}},
		"VRF not asked about": {address: "10.0.0.7", to: ToNowhere, change: func(f *explainFacts) { f.vrfs = f.vrfs[:1] }, want: []string{
			"In VRF private, a guest has it on tap tap7.",
		}},
	})
}
