package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
)

var agentLeave = serving("agent-leave", "a hypervisor leaves for good: nobody keeps its routes, as they do when its agent just ends",
	chapter{"The agent of hv2 ends as for a restart", (*world).endForRestart},
	chapter{"hv2 leaves for good", (*world).leaveForGood},
	chapter{"What it made is removed by hand", (*world).removeByHand},
	chapter{"It is started again, and is what it was", (*world).backAfterAll},
)

// endForRestart is what leaving is compared with.
func (w *world) endForRestart(ctx context.Context) error {
	if err := w.endAgent(ctx, "hv2", syscall.SIGTERM); err != nil {
		return err
	}
	w.story.Check("both reflectors keep the routes of its guest", w.reflected(ctx, "vm3"))
	return w.startSupervised(ctx, "hv2")
}

// startSupervised starts an agent whose exit status ends up in its log.
func (w *world) startSupervised(ctx context.Context, hv string) error {
	const tell = `"$@"; echo "exit status $?"`
	if _, err := w.Start(ctx, hv, "agent", "sh", "-c", tell, "sh", w.story.Binary, "agent", "--config", w.AgentConfig(hv)); err != nil {
		return err
	}
	w.recovered(ctx, "the agent of "+hv+" is started: all healthy, both planes in use")
	return nil
}

func (w *world) leaveForGood(ctx context.Context) error {
	const hv = "hv2"
	before, err := w.kernel(ctx, hv)
	if err != nil {
		return err
	}
	t, err := w.traffic(ctx, "vm1", "vm4")
	if err != nil {
		return err
	}
	out, err := w.leave(ctx, hv)
	if err == nil || !strings.Contains(out, "(vm3)") {
		err = errors.New("it doesn't name the guest: " + out)
	} else {
		err = nil
	}
	w.story.Check("it refuses while the log has a guest there", err)
	if out, err = w.leave(ctx, hv, "--abandon-guests"); err == nil && strings.Contains(out, "NO:") {
		err = errors.New("not everybody has confirmed")
	}
	w.story.Check("told to leave anyway, everybody confirms", err)
	w.story.Eventually(ctx, "the agent ends with the exit status that nobody restarts", settle, func() error {
		return w.said(hv, "agent", "exit status 3\n")
	})
	looks := 0
	w.story.Eventually(ctx, "no reflector has a route of it", settle, func() error { looks++; return w.forgotten(ctx, "vm3") })
	w.story.Measure("looks at the reflectors until neither had any", fmt.Sprint(looks))
	w.story.Eventually(ctx, "nor have the kernels of hv1 and hv3", settle, func() error {
		return errors.Join(w.without(ctx, "hv1", "vm3"), w.without(ctx, "hv3", "vm3"))
	})
	after, err := w.kernel(ctx, hv)
	if err != nil {
		return err
	}
	w.story.Check("the kernel of hv2 is as it was: routes, next hops, neighbours, rules, addresses", same(before, after))
	_, err = w.Exec(ctx, hv, "nft", "list", "table", "inet", "hostroute")
	w.story.Check("and its filter stands", err)
	w.lossless(ctx, t, "traffic between hv1 and hv3 while hv2 leaves")
	return nil
}

// leave runs the command, which ends with 1 where somebody hasn't confirmed.
func (w *world) leave(ctx context.Context, hv string, flags ...string) (string, error) {
	out, err := w.hostroute(ctx, hv, append([]string{"leave", "--socket", w.AgentSocket(hv)}, flags...)...)
	text := out
	if err != nil {
		text += err.Error()
	}
	w.story.Show(strings.Join(append([]string{"hostroute leave"}, flags...), " ")+"    (on "+hv+")", text)
	return text, err
}

// forgotten wants no reflector to have anything of a guest.
func (w *world) forgotten(ctx context.Context, guest string) error {
	g, err := w.Topology.Guest(guest)
	if err != nil {
		return err
	}
	bird, err := w.BIRD(ctx, "rra", "show", "route", "table", "all")
	if err != nil {
		return err
	}
	for _, n := range w.Topology.Networks {
		for _, family := range families {
			p, _ := portOn(g, n.Name, family)
			if strings.Contains(bird, p.String()+" ") {
				return fmt.Errorf("the reflector of plane a has %s", p)
			}
			frr, err := w.FRR(ctx, "rrb", fmt.Sprintf("show bgp view %s ipv%d unicast %s", n.VRF, family, p))
			if err != nil {
				return err
			}
			if !strings.Contains(frr, "not in table") {
				return fmt.Errorf("the reflector of plane b has %s:\n%s", p, frr)
			}
		}
	}
	return nil
}

// removals are those of docs/operating.md.
const removals = `ip -4 route flush table all proto 201; ip -6 route flush table all proto 201; ip nexthop flush proto 201
ip link delete public; ip link delete private
nft delete table inet hostroute; nft delete table arp hostroute`

func (w *world) removeByHand(ctx context.Context) error {
	out, err := w.Exec(ctx, "hv2", "sh", "-ec", removals)
	w.story.Show("commands of docs/operating.md    (on hv2)", removals+"\n"+out)
	if err != nil {
		return err
	}
	const look = `ip -4 route show table all proto 201; ip -6 route show table all proto 201; ip nexthop show proto 201; ip -brief link show type vrf; nft list tables`
	out, err = w.Exec(ctx, "hv2", "sh", "-ec", look)
	if err == nil && strings.TrimSpace(out) != "" {
		err = fmt.Errorf("there is still: %s", out)
	}
	w.story.Check("no route, next hop, VRF or filter of ours is left", err)
	return nil
}

// backAfterAll: nothing of having left is kept.
func (w *world) backAfterAll(ctx context.Context) error {
	if _, err := w.StartAgent(ctx, w.story.Binary, "hv2"); err != nil {
		return err
	}
	w.recovered(ctx, "hv2 is back: all healthy, both planes in use")
	w.story.Check("and both reflectors have its routes", w.reflected(ctx, "vm3"))
	return nil
}
