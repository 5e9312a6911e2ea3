package scenarios

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/internal/lab"
	"github.com/hostroute/hostroute/internal/lab/scenario"
)

// spreading is serving on four hypervisors, so that three have members of an
// anycast address and one has none.
func spreading(name, summary string, mobile []string, chapters ...chapter) scenario.Scenario {
	t := lab.Reference().WithFourth().WithMobile(mobile...)
	return servingOn(t, "Four hypervisors serve five guests over two planes", func(*world) error { return nil }, name, summary, chapters...)
}

var anycastSpread = spreading("anycast-spread", "four guests on three hosts hold one address; everybody's flows spread over them", []string{"vm5"},
	chapter{"vm1, vm2, vm3 and vm4 hold an anycast address of each family", (*world).giveAnycast},
	chapter{"Flows from a host without a member, and from the internet, over both planes", func(w *world, ctx context.Context) error { return w.spreads(ctx, "both planes") }},
	chapter{"Over plane a alone, whose reflector is BIRD", func(w *world, ctx context.Context) error { return w.spreadsWithout(ctx, "b") }},
	chapter{"Over plane b alone, whose reflector is FRR", func(w *world, ctx context.Context) error { return w.spreadsWithout(ctx, "a") }},
	chapter{"vm5 moves to hv1, which has two members itself", (*world).spreadsAtHome},
)

// anycast are the addresses that are shared.
var anycast = []struct {
	prefix netip.Prefix
	at     netip.Addr
}{
	{netip.MustParsePrefix("203.0.113.70/32"), netip.MustParseAddr("203.0.113.70")},
	{netip.MustParsePrefix("2001:db8:cb00:7150::/64"), netip.MustParseAddr("2001:db8:cb00:7150::5")},
}

// anycastMembers and what each gets of all flows: hosts with members share them
// equally, and so do members on a host.
var anycastMembers = map[string]float64{"vm1": 1. / 6, "vm2": 1. / 6, "vm3": 1. / 3, "vm4": 1. / 3}

func (w *world) members() (all []string) {
	for m := range anycastMembers {
		all = append(all, m)
	}
	slices.Sort(all)
	return all
}

func (w *world) giveAnycast(ctx context.Context) error {
	c, err := w.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	for _, a := range anycast {
		for _, member := range w.members() {
			if _, err := w.Exec(ctx, member, "ip", "address", "add", a.at.String(), "dev", "lo", "nodad"); err != nil {
				return err
			}
			g, err := w.Topology.Guest(member)
			if err != nil {
				return err
			}
			if err := c.publish(ctx, "IPAssigned", map[string]any{"prefix": a.prefix, "vm": member, "interface": g.Interfaces[0].Tap, "role": "anycast"}); err != nil {
				return err
			}
		}
	}
	return nil
}

// fans are flows to both addresses.
type fans struct {
	*world
	all []*lab.Fan
}

// anycastFlows is how many flows each sender has in each family.
const anycastFlows = 600

// openFans has senders begin.
func (w *world) openFans(senders ...string) (*fans, error) {
	f := &fans{world: w}
	for _, from := range senders {
		for i, a := range anycast {
			source := w.internet(a.at)
			if from != lab.NodeEdge {
				source = w.address(from, "public", families[i])
			}
			fan, err := w.OpenFan(from, source, a.at, anycastFlows, w.members()...)
			if err != nil {
				f.close()
				return nil, err
			}
			f.all = append(f.all, fan)
		}
	}
	return f, nil
}

func (f *fans) close() {
	for _, fan := range f.all {
		fan.Close()
	}
}

// name tells a fan in the story.
func fanName(f *lab.Fan) string {
	from := f.From
	if from == lab.NodeEdge {
		from = "the internet"
	}
	if f.Target.Is6() {
		return from + ", IPv6"
	}
	return from + ", IPv4"
}

// shares counts the flows of each member.
func shares(at []string) map[string]int {
	count := map[string]int{}
	for _, member := range at {
		count[member]++
	}
	return count
}

// fair wants every member's share to be what chance allows of its part: within
// five standard deviations of a binomial distribution.
func fair(at []string, parts map[string]float64) error {
	got, n := shares(at), float64(len(at))
	var wrong []error
	for member := range got {
		if parts[member] == 0 {
			wrong = append(wrong, fmt.Errorf("%d of %.0f flows go to %q", got[member], n, member))
		}
	}
	for member, part := range parts {
		mean, deviation := n*part, math.Sqrt(n*part*(1-part))
		if off := math.Abs(float64(got[member]) - mean); off > 5*deviation {
			wrong = append(wrong, fmt.Errorf("%d of %.0f flows go to %s, want %.0f ± %.0f", got[member], n, member, mean, 5*deviation))
		}
	}
	return errors.Join(wrong...)
}

// spread waits until every fan is spread fairly, and tells how.
func (f *fans) spread(ctx context.Context, when string, parts map[string]float64) {
	for _, fan := range f.all {
		var at []string
		f.story.Eventually(ctx, fmt.Sprintf("flows from %s are spread fairly: %s", fanName(fan), when), settle/4, func() (err error) {
			if at, err = fan.Members(ctx); err != nil {
				return err
			}
			return fair(at, parts)
		})
		f.story.Measure(fmt.Sprintf("%s: shares of %d flows from %s", when, anycastFlows, fanName(fan)), tellShares(at))
	}
}

func tellShares(at []string) string {
	count := shares(at)
	var words []string
	for _, member := range slices.Sorted(mapKeys(count)) {
		name := member
		if name == "" {
			name = "lost"
		}
		words = append(words, fmt.Sprintf("%s %.1f %%", name, 100*float64(count[member])/float64(max(1, len(at)))))
	}
	return strings.Join(words, ", ")
}

// mapKeys iterates over the keys of a map.
func mapKeys(m map[string]int) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (w *world) spreads(ctx context.Context, when string) error {
	f, err := w.openFans("vm5", lab.NodeEdge)
	if err != nil {
		return err
	}
	defer f.close()
	f.spread(ctx, when, anycastMembers)
	out, err := w.Exec(ctx, "hv4", "ip", "nexthop", "show")
	w.story.Show("ip nexthop show    (on hv4)", out)
	return err
}

func (w *world) spreadsWithout(ctx context.Context, plane string) error {
	if err := w.CutPlane(ctx, plane); err != nil {
		return err
	}
	left := other("a", "b", plane)
	w.story.Eventually(ctx, "every learned route uses plane "+left+" alone", settle, func() error {
		return w.everywhere(func(hv string) error { return w.routedEverywhere(ctx, hv, left) })
	})
	if err := w.spreads(ctx, "plane "+left+" alone"); err != nil {
		return err
	}
	if err := w.RestorePlane(ctx, plane); err != nil {
		return err
	}
	w.recovered(ctx, "plane "+plane+" is back: all healthy, both planes in use")
	return nil
}

// spreadsAtHome: who shares a host with members is served by those.
func (w *world) spreadsAtHome(ctx context.Context) error {
	m := &moves{world: w, guest: "vm5", gaps: newGaps()}
	var err error
	if m.control, err = w.connect(ctx); err != nil {
		return err
	}
	defer m.control.close()
	if err := m.prepare(ctx, "hv1"); err != nil {
		return err
	}
	if _, err := m.handOver(ctx, "hv1", handover{announce: lab.RARP}); err != nil {
		return err
	}
	w.homes["vm5"] = "hv1"
	if err := w.RemoveTaps(ctx, "vm5", "hv4"); err != nil {
		return err
	}
	f, err := w.openFans("vm5")
	if err != nil {
		return err
	}
	defer f.close()
	f.spread(ctx, "beside two members", map[string]float64{"vm1": .5, "vm2": .5})
	return nil
}

var anycastMemberDies = spreading("anycast-member-dies", "members of an anycast address die; their flows move to others, and no other flow moves", nil,
	chapter{"vm1, vm2, vm3 and vm4 hold an anycast address of each family", (*world).giveAnycast},
	chapter{"vm3, the only member on hv2, is gone with its tap", func(w *world, ctx context.Context) error {
		return w.memberDies(ctx, "vm3", func() error { _, err := w.Exec(ctx, "hv2", "ip", "link", "delete", "tap3"); return err })
	}},
	chapter{"vm2, one of two members on hv1, is deleted", func(w *world, ctx context.Context) error {
		return w.memberDies(ctx, "vm2", func() error { return w.publish(ctx, "vm", "delete", "vm2") })
	}},
)

// memberDies compares where flows go before and after.
func (w *world) memberDies(ctx context.Context, member string, die func() error) error {
	f, err := w.openFans("vm5", lab.NodeEdge)
	if err != nil {
		return err
	}
	defer f.close()
	before := make([][]string, len(f.all))
	for i, fan := range f.all {
		w.story.Eventually(ctx, "flows from "+fanName(fan)+" arrive, also at "+member, settle, func() (err error) {
			if before[i], err = fan.Members(ctx); err == nil && (shares(before[i])[member] == 0 || shares(before[i])[""] > 0) {
				err = fmt.Errorf("they go to %s", tellShares(before[i]))
			}
			return err
		})
	}
	if err := die(); err != nil {
		return err
	}
	for i, fan := range f.all {
		var after []string
		w.story.Eventually(ctx, "flows from "+fanName(fan)+" arrive without "+member, settle, func() (err error) {
			if after, err = fan.Members(ctx); err == nil && (shares(after)[member] > 0 || shares(after)[""] > 0) {
				err = fmt.Errorf("they go to %s", tellShares(after))
			}
			return err
		})
		own, others, count := strayed(before[i], after, member)
		w.story.Measure(fmt.Sprintf("%s dies: flows from %s that went on elsewhere", member, fanName(fan)),
			fmt.Sprintf("%d of its own, %d of the %d of others; now %s", own, others, count, tellShares(after)))
		if fan.From != lab.NodeEdge {
			w.story.Check("no flow from "+fanName(fan)+" moved but those of "+member, stray(others))
		}
	}
	return nil
}

// strayed counts the flows whose member is another now: those of the one that
// died, and those of others.
func strayed(before, after []string, dead string) (own, others, othersAll int) {
	for flow, member := range before {
		switch {
		case member == dead:
			own++
		case member != after[flow]:
			others++
			othersAll++
		default:
			othersAll++
		}
	}
	return own, others, othersAll
}

func stray(flows int) error {
	if flows == 0 {
		return nil
	}
	return fmt.Errorf("%d did", flows)
}
