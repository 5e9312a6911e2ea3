package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
)

var agentKill = serving("agent-kill", "an agent is ended again and again, by TERM, KILL and a panic, and nobody notices",
	chapter{"The agent of hv2 is ended and started", (*world).killAgent},
)

// agentEnds are the ways in which an agent ends. The last is a panic in one of
// its tasks, which every agent of the lab may be told to have.
var agentEnds = []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGUSR2}

// killAgent has three witnesses: traffic to the agent's guest, every kernel's
// own report of what is deleted in it, and both reflectors.
func (w *world) killAgent(ctx context.Context) error {
	const hv = "hv2"
	if err := w.startMonitors(ctx); err != nil {
		return err
	}
	t, err := w.traffic(ctx, "vm1", "vm3")
	if err != nil {
		return err
	}
	kills := 100
	if w.story.Short {
		kills = 2 * len(agentEnds)
	}
	var missing error
	for n := range kills {
		if err := w.endAgent(ctx, hv, agentEnds[n%len(agentEnds)]); err != nil {
			return err
		}
		missing = errors.Join(missing, w.reflected(ctx, "vm3"))
		if _, err := w.StartAgent(ctx, w.story.Binary, hv); err != nil {
			return err
		}
		if err := lab.Eventually(ctx, "the agent of "+hv, 3*settle, func() error { return w.healthy(ctx, hv) }); err != nil {
			return fmt.Errorf("end %d: %w", n+1, err)
		}
	}
	w.story.Measure("ends of the agent, by TERM, KILL and a panic in turn, each until it is healthy again", fmt.Sprint(kills))
	w.story.Check("a third of them were panics", w.panicked(hv, kills/len(agentEnds)))
	w.story.Check("both reflectors had its routes each time before it was back", missing)
	w.unnoticed(ctx, t, "agent ended and started")
	w.showStatus(ctx, hv)
	return nil
}

// panicked wants an agent to have ended so often by its runtime's own hand.
func (w *world) panicked(hv string, want int) error {
	d, err := w.Daemon(hv, "agent")
	if err != nil {
		return err
	}
	log, err := os.ReadFile(d.Log)
	if n := strings.Count(string(log), "\npanic: "); err == nil && n != want {
		err = fmt.Errorf("%d panics are in its log, want %d", n, want)
	}
	return err
}

// unnoticed wants all to be as before, no packet lost, and no kernel to have
// been told to delete something.
func (w *world) unnoticed(ctx context.Context, t *lab.Traffic, when string) {
	w.recovered(ctx, "all healthy, both planes in use")
	w.lossless(ctx, t, when)
	for _, h := range w.Topology.Hypervisors {
		w.story.Check("the kernel of "+h.Name+" saw nothing of ours deleted", w.nothingDeleted(h.Name))
	}
}

func (w *world) endAgent(ctx context.Context, hv string, signal syscall.Signal) error {
	d, err := w.Daemon(hv, "agent")
	if err != nil {
		return err
	}
	return d.Stop(ctx, signal, 5*time.Second)
}

// reflected wants both reflectors to have a guest's public prefixes.
func (w *world) reflected(ctx context.Context, guest string) error {
	g, err := w.Topology.Guest(guest)
	if err != nil {
		return err
	}
	bird, err := w.BIRD(ctx, "rra", "show", "route", "table", "all")
	if err != nil {
		return err
	}
	var missing error
	for _, family := range families {
		frr, err := w.FRR(ctx, "rrb", fmt.Sprintf("show bgp view public ipv%d unicast", family))
		if err != nil {
			return err
		}
		p, _ := portOn(g, "public", family)
		if !strings.Contains(bird, p.String()+" ") {
			missing = errors.Join(missing, fmt.Errorf("the reflector of plane a has no %s", p))
		}
		if !strings.Contains(frr, strings.TrimSuffix(p.String(), "/128")) {
			missing = errors.Join(missing, fmt.Errorf("the reflector of plane b has no %s", p))
		}
	}
	return missing
}

// nothingDeleted wants a kernel to have told of no deletion.
func (w *world) nothingDeleted(hv string) error {
	deleted, err := w.deleted(hv)
	if err == nil && len(deleted) > 0 {
		err = fmt.Errorf("%d: %+v", len(deleted), deleted[:min(len(deleted), 4)])
	}
	return err
}

var coldStart = serving("cold-start", "a hypervisor boots while the log is out of reach, and serves its guests from its own snapshot",
	chapter{"The log is gone, and hv1 has lost its power", (*world).coldAndDark},
	chapter{"hv1 boots", (*world).bootCold},
	chapter{"The log is back", (*world).logReturns},
)

func (w *world) coldAndDark(ctx context.Context) error {
	if err := w.endLog(ctx); err != nil {
		return err
	}
	if _, err := w.PowerOffHost(ctx, "hv1"); err != nil {
		return err
	}
	w.story.Eventually(ctx, "hv2 and hv3 have no route to its guests", 2*settle, func() error {
		return errors.Join(w.without(ctx, "hv2", "vm1"), w.without(ctx, "hv3", "vm2"))
	})
	return nil
}

func (w *world) endLog(ctx context.Context) error {
	d, err := w.Daemon(lab.NodeControl, "log")
	if err != nil {
		return err
	}
	return d.Stop(ctx, syscall.SIGKILL, 5*time.Second)
}

// bootCold has traffic wait for the agent, so that its outage begins with it.
func (w *world) bootCold(ctx context.Context) error {
	const hv = "hv1"
	if err := w.PowerOnHost(ctx, hv); err != nil {
		return err
	}
	if err := errors.Join(w.Configure(ctx, "vm1"), w.Configure(ctx, "vm2")); err != nil {
		return err
	}
	if _, err := w.StartBFD(ctx, w.story.Binary, hv); err != nil {
		return err
	}
	near, err := w.Topology.Both("vm1", "vm2", "public")
	if err != nil {
		return err
	}
	far, err := w.Topology.Both("vm1", "vm4", "public")
	if err != nil {
		return err
	}
	local, err := w.StartTraffic(trafficInterval, near...)
	if err != nil {
		return err
	}
	remote, err := w.StartTraffic(trafficInterval, far...)
	if err != nil {
		return err
	}
	if _, err := w.StartAgent(ctx, w.story.Binary, hv); err != nil {
		return err
	}
	w.story.Eventually(ctx, "guests of hv1 reach each other", settle, local.Flows)
	w.story.Eventually(ctx, "a guest of hv3 and one of hv1 reach each other", 2*settle, remote.Flows)
	w.story.Check("hv1 says that it serves from its snapshot", w.complains(ctx, hv, "from the local snapshot"))
	w.showStatus(ctx, hv)
	limit := time.Duration(float64(time.Second) * lab.TimeFactor())
	var late error
	for _, l := range local.Stop(ctx) {
		w.story.MeasureTime("agent started → guests of its own reached: "+l.Flow.String(), l.Outage)
		if l.Outage > limit {
			late = errors.Join(late, fmt.Errorf("%s: %v", l.Flow, l.Outage))
		}
	}
	w.story.Check(fmt.Sprintf("its own guests were reached within %v of the agent's start", limit), late)
	for _, l := range remote.Stop(ctx) {
		w.story.MeasureTime("agent started → reached from and on other hypervisors: "+l.Flow.String(), l.Outage)
	}
	return nil
}

func (w *world) logReturns(ctx context.Context) error {
	if _, err := w.StartLog(ctx, w.story.Binary); err != nil {
		return err
	}
	w.recovered(ctx, "the log is back: all healthy, both planes in use")
	return nil
}

var logOutage = serving("log-outage", "the log is out of reach, agents are restarted meanwhile, and everything is served on",
	chapter{"The log is killed; an agent is ended and started", (*world).withoutLog},
	chapter{"The log is back, and is followed", (*world).logFollowed},
)

// withoutLog is a short outage: nothing that an agent does depends on its length.
func (w *world) withoutLog(ctx context.Context) error {
	t, err := w.traffic(ctx, "vm1", "vm3")
	if err != nil {
		return err
	}
	if err := w.endLog(ctx); err != nil {
		return err
	}
	w.story.Eventually(ctx, "every agent says that the log is out of reach, and serves on", 3*settle, func() error {
		return w.everywhere(func(hv string) error { return w.complains(ctx, hv, "the log is out of reach") })
	})
	w.showStatus(ctx, "hv1")
	if err := w.endAgent(ctx, "hv2", syscall.SIGKILL); err != nil {
		return err
	}
	if _, err := w.StartAgent(ctx, w.story.Binary, "hv2"); err != nil {
		return err
	}
	w.story.Eventually(ctx, "an agent that starts meanwhile says that it serves from its snapshot", 2*settle, func() error {
		return w.complains(ctx, "hv2", "from the local snapshot")
	})
	w.story.Eventually(ctx, "and every guest's prefixes are in every VRF over both planes", 3*settle, func() error {
		return w.everywhere(func(hv string) error { return w.routedEverywhere(ctx, hv, "ab") })
	})
	w.story.Check("every guest reaches every guest and the internet", w.all(ctx, w.public()))
	w.lossless(ctx, t, "log killed, agent ended and started")
	return nil
}

func (w *world) logFollowed(ctx context.Context) error {
	if err := w.logReturns(ctx); err != nil {
		return err
	}
	extra := netip.MustParseAddr("203.0.113.42")
	if _, err := w.Exec(ctx, "vm3", "ip", "address", "add", extra.String()+"/32", "dev", "eth0"); err != nil {
		return err
	}
	if err := w.publish(ctx, "ip", "assign", extra.String(), "--vm", "vm3", "--role", "elastic"); err != nil {
		return err
	}
	w.story.Eventually(ctx, "what is published now is served: an address that is assigned answers", settle, func() error {
		return w.all(ctx, []probe{{from: "vm1", to: extra}})
	})
	return nil
}
