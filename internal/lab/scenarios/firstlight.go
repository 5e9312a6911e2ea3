package scenarios

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
	"github.com/hostroute/hostroute/internal/lab/scenario"
)

// firstLight is the whole chain, once: an event becomes a packet.
var firstLight = scenario.Scenario{
	Name:     "first-light",
	Summary:  "the whole chain: events become routes, and packets cross, in both families, on both planes",
	NeedsVRF: true,
	Tell:     tellFirstLight,
}

func tellFirstLight(ctx context.Context, s *scenario.Story) error {
	var w *world
	err := s.Step(ctx, "A topology stands: two planes, three hypervisors, four guests, an edge", func(ctx context.Context) (err error) {
		if w, err = newWorld(ctx, s, lab.Reference()); err != nil {
			return err
		}
		s.OnFailure(func(out io.Writer) { w.Logs(out, 15) })
		s.Say("Plane a has BIRD as its route reflector, plane b FRR; they share nothing.")
		s.Say("The edge is BIRD and holds %s and %s: the internet.", w.Topology.Internet4, w.Topology.Internet6)
		return nil
	})
	if err != nil {
		return err
	}
	for _, chapter := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"Agents start on empty hosts", w.startAgents},
		{"A network, four guests and their addresses are published", w.publishWorld},
		{"Routes appear in every VRF", w.routesAppear},
		{"Guests boot, and are configured by nothing but their hypervisor", w.bootGuests},
		{"Every guest reaches every guest and the internet; public never reaches private", w.everyoneReaches},
		{"An address has one owner, and a wrong event is refused", w.wrongEvents},
		{"An address is assigned and answers; it is released and stops answering", w.assignAndRelease},
		{"A guest moves, and answers from its new home", w.moveGuest},
		{"Plane b is cut, and everything still flows; it comes back, and carries all when a is cut", w.cutPlanes},
		{"An agent is killed and started again, and changes nothing", w.restartAgent},
		{"The log tells what happened, and replay equals the kernel", w.replayEqualsKernel},
		{"A poisoned message gets into the log; it is put aside, and harms nobody", w.poisonedLog},
	} {
		if err := s.Step(ctx, chapter.title, chapter.tell); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) startAgents(ctx context.Context) error {
	if _, err := w.StartLog(ctx, w.story.Binary); err != nil {
		return err
	}
	for _, h := range w.Topology.Hypervisors {
		if _, err := w.StartAgent(ctx, w.story.Binary, h.Name); err != nil {
			return err
		}
	}
	w.story.Eventually(ctx, "every hypervisor has its VRFs, and in each the last resort", settle, func() error {
		return w.everywhere(func(hv string) error {
			for _, family := range families {
				routes, err := w.routes(ctx, hv, family)
				if err != nil {
					return err
				}
				for _, v := range w.Topology.VRFs {
					if !hasLastResort(routes, v.Name) {
						return fmt.Errorf("VRF %s has no unreachable default in IPv%d", v.Name, family)
					}
				}
			}
			return nil
		})
	})
	out, err := w.Exec(ctx, "hv1", "ip", "route", "show", "vrf", "public")
	w.story.Show("ip netns exec hr-hv1 ip route show vrf public", out)
	return err
}

// hasLastResort tells whether a VRF keeps what it can't route.
func hasLastResort(routes map[tableRoute]kernelRoute, vrf string) bool {
	for at, r := range routes {
		if at.vrf == vrf && at.prefix.Bits() == 0 && r.Type == "unreachable" {
			return true
		}
	}
	return false
}

func (w *world) publishWorld(ctx context.Context) error {
	for _, h := range w.Topology.Hypervisors {
		if err := w.publish(ctx, "hypervisor", "register", h.Name); err != nil {
			return err
		}
	}
	for _, n := range w.Topology.Networks {
		if err := w.publish(ctx, n.Define()...); err != nil {
			return err
		}
	}
	for _, g := range w.Topology.Guests {
		args := []string{"vm", "create", g.Name, "--hypervisor", g.Hypervisor}
		for _, i := range g.Interfaces {
			args = append(args, "--interface", fmt.Sprintf("tap=%s,mac=%s,network=%s", i.Tap, i.MAC, i.Network))
		}
		if err := w.publish(ctx, args...); err != nil {
			return err
		}
	}
	return w.publishAddresses(ctx)
}

// publishAddresses gives every guest its addresses by a file of events, as a
// control plane in another language would.
func (w *world) publishAddresses(ctx context.Context) error {
	var lines strings.Builder
	for _, g := range w.Topology.Guests {
		for _, i := range g.Interfaces {
			for _, p := range []string{netip.PrefixFrom(i.V4, 32).String(), i.Prefix6.String()} {
				fmt.Fprintf(&lines, `{"id":"%s-%s","type":"IPAssigned","data":{"prefix":%q,"vm":%q}}`+"\n", g.Name, p, p, g.Name)
			}
		}
	}
	file := filepath.Join(w.Dir, "addresses.jsonl")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		return err
	}
	w.story.Show("head -n 2 addresses.jsonl", strings.Join(strings.SplitAfter(lines.String(), "\n")[:2], ""))
	return w.publish(ctx, "publish", file)
}

func (w *world) routesAppear(ctx context.Context) error {
	took, _ := w.story.Eventually(ctx, "every agent is healthy: caught up, all sessions established, all taps served", 3*settle, func() error {
		return w.everywhere(func(hv string) error { return w.healthy(ctx, hv) })
	})
	w.story.MeasureTime("last event published → every agent healthy", took)
	w.story.Eventually(ctx, "every guest's prefixes are in the VRF of every hypervisor, its own by tap, others over both planes", settle, func() error {
		return w.everywhere(func(hv string) error { return w.routedEverywhere(ctx, hv, "ab") })
	})
	out, err := w.hostroute(ctx, "hv1", "routes", "--socket", w.AgentSocket("hv1"))
	w.story.Show("hostroute routes    (on hv1)", out)
	if err != nil {
		return err
	}
	out, err = w.hostroute(ctx, "hv1", "peers", "--socket", w.AgentSocket("hv1"))
	w.story.Show("hostroute peers    (on hv1)", out)
	return err
}

// routedEverywhere wants the prefixes of all guests in a hypervisor's VRFs: by
// tap where the guest lives here, otherwise over every one of the planes.
func (w *world) routedEverywhere(ctx context.Context, hv, planes string) error {
	return w.routed(ctx, hv, func(string) string { return planes })
}

// routed is routedEverywhere where the planes depend on a guest's hypervisor.
func (w *world) routed(ctx context.Context, hv string, planes func(home string) string) error {
	hops, err := w.nextHops(ctx, hv)
	if err != nil {
		return err
	}
	for _, family := range families {
		routes, err := w.routes(ctx, hv, family)
		if err != nil {
			return err
		}
		for _, n := range w.Topology.Networks {
			for _, g := range w.Topology.Guests {
				p, tap := portOn(g, n.Name, family)
				at, links := tableRoute{n.VRF, metricLearned, p}, uplinks(n.VRF, planes(w.homes[g.Name]))
				if w.homes[g.Name] == hv {
					at.metric, links = metricGuest, []string{tap}
				}
				if err := leads(routes[at].devices(hops), p, links); err != nil {
					return fmt.Errorf("VRF %s: %w", n.VRF, err)
				}
			}
		}
	}
	return nil
}

// portOn gives a guest's prefix on a network in a family, and the tap there.
func portOn(g lab.Guest, network string, family int) (netip.Prefix, string) {
	for _, i := range g.Interfaces {
		switch {
		case i.Network != network:
		case family == 6:
			return i.Prefix6, i.Tap
		default:
			return netip.PrefixFrom(i.V4, 32), i.Tap
		}
	}
	panic("the topology is a constant")
}

// uplinks names the uplinks of a VRF into planes given by their letters.
func uplinks(vrf, planes string) []string {
	var names []string
	for _, plane := range planes {
		names = append(names, string(plane)+"-"+vrf)
	}
	return names
}

// leads wants a route out of exactly these links.
func leads(got []string, p netip.Prefix, links []string) error {
	slices.Sort(got)
	if !slices.Equal(slices.Compact(got), links) {
		return fmt.Errorf("the route to %s leads out of %v instead of %v", p, got, links)
	}
	return nil
}

func (w *world) everyoneReaches(ctx context.Context) error {
	for _, family := range families {
		for _, n := range w.Topology.Networks {
			w.story.Eventually(ctx, fmt.Sprintf("every guest reaches every guest, network %s, IPv%d", n.Name, family), settle, func() error {
				return w.all(ctx, w.mesh(n.Name, family))
			})
		}
		w.story.Eventually(ctx, fmt.Sprintf("every guest reaches the internet, IPv%d", family), settle, func() error {
			return w.all(ctx, w.outward(family))
		})
	}
	w.story.Check("no guest reaches a private address from its public interface", w.none(ctx, w.across()))
	return nil
}

func (w *world) wrongEvents(ctx context.Context) error {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"ip", "assign", "203.0.113.11", "--vm", "vm2"}, `guest "vm1" holds it`},
		{[]string{"ip", "assign", "203.0.113.30/24", "--vm", "vm1"}, "host bits are set"},
		{[]string{"vm", "delete", "vm9"}, "no such guest"},
	} {
		_, err := w.hostroute(ctx, lab.NodeControl, append(c.args, "--log", w.LogURL())...)
		command := "hostroute " + strings.Join(c.args, " ")
		if err == nil {
			w.story.Check(command+" is refused", errors.New("it was accepted"))
			continue
		}
		_, words, _ := strings.Cut(err.Error(), "hostroute: ")
		w.story.Show(command, "hostroute: "+words)
		if !strings.Contains(err.Error(), c.want) {
			err = fmt.Errorf("it doesn't say %q: %w", c.want, err)
		} else {
			err = nil
		}
		w.story.Check(command+" is refused, and says why", err)
	}
	return nil
}

func (w *world) assignAndRelease(ctx context.Context) error {
	extra := netip.MustParseAddr("203.0.113.40")
	if _, err := w.Exec(ctx, "vm4", "ip", "address", "add", extra.String()+"/32", "dev", "eth0"); err != nil {
		return err
	}
	asked := []probe{{from: "vm1", to: extra}}
	w.story.Check("the address doesn't answer before it is assigned", w.none(ctx, asked))
	start := time.Now()
	if err := w.publish(ctx, "ip", "assign", extra.String(), "--vm", "vm4", "--role", "elastic"); err != nil {
		return err
	}
	stored := time.Since(start)
	waited, _ := w.story.Eventually(ctx, "the assigned address answers a guest on another hypervisor", settle, func() error { return w.all(ctx, asked) })
	w.story.MeasureTime("publish → reachable from another hypervisor (command line and ping included)", stored+waited)
	w.story.MeasureTime("  of which the command took", stored)
	if err := w.publish(ctx, "ip", "release", extra.String()); err != nil {
		return err
	}
	w.story.Eventually(ctx, "the released address stops answering", settle, func() error { return w.none(ctx, asked) })
	w.story.Eventually(ctx, "and no hypervisor has a route to it", settle, func() error {
		return w.everywhere(func(hv string) error {
			routes, err := w.routes(ctx, hv, 4)
			if err != nil {
				return err
			}
			for at := range routes {
				if at.prefix.Addr() == extra {
					return fmt.Errorf("a route with metric %d is still there", at.metric)
				}
			}
			return nil
		})
	})
	return nil
}
