package scenarios

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
)

var rrKill = serving("rr-kill", "a route reflector dies, and comes back",
	chapter{"The reflector of plane a (BIRD) is killed", func(w *world, ctx context.Context) error { return w.reflectorDies(ctx, "a", "b") }},
	chapter{"The reflector of plane b (FRR) is killed", func(w *world, ctx context.Context) error { return w.reflectorDies(ctx, "b", "a") }},
)

// reflectorDies loses nothing: no packet of a guest goes through a reflector.
func (w *world) reflectorDies(ctx context.Context, plane, other string) error {
	t, err := w.traffic(ctx, "vm1", "vm3")
	if err != nil {
		return err
	}
	if err := w.killReflector(ctx, plane); err != nil {
		return err
	}
	w.story.Eventually(ctx, "every learned route uses plane "+other+" alone", 2*settle, func() error {
		return w.everywhere(func(hv string) error { return w.routedEverywhere(ctx, hv, other) })
	})
	w.showStatus(ctx, "hv1")
	if err := w.startReflector(ctx, plane); err != nil {
		return err
	}
	w.recovered(ctx, "the reflector of plane "+plane+" is back: all healthy, both planes in use")
	w.lossless(ctx, t, "reflector of plane "+plane+" killed and started")
	return nil
}

func (w *world) killReflector(ctx context.Context, plane string) error {
	p, err := w.Topology.Plane(plane)
	if err != nil {
		return err
	}
	for _, r := range p.Reflectors {
		if err := w.endReflector(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) endReflector(ctx context.Context, r lab.Reflector) error {
	for _, name := range w.ReflectorDaemons(r) {
		d, err := w.Daemon(r.Node, name)
		if err != nil {
			return err
		}
		if err := d.Stop(ctx, syscall.SIGKILL, 5*time.Second); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) startReflector(ctx context.Context, plane string) error {
	p, err := w.Topology.Plane(plane)
	if err != nil {
		return err
	}
	for _, r := range p.Reflectors {
		if err := w.StartReflector(ctx, p, r); err != nil {
			return err
		}
	}
	return nil
}

var bothRRKill = serving("both-rr-kill", "all route reflectors die; what was learned is kept until they are back",
	chapter{"Both reflectors are killed", (*world).reflectorsDie},
)

func (w *world) reflectorsDie(ctx context.Context) error {
	t, err := w.traffic(ctx, "vm1", "vm3")
	if err != nil {
		return err
	}
	if err := errors.Join(w.killReflector(ctx, "a"), w.killReflector(ctx, "b")); err != nil {
		return err
	}
	w.story.Eventually(ctx, "every agent says that no session is left", 2*settle, func() error {
		return w.everywhere(func(hv string) error {
			var s status
			if err := w.ask(ctx, hv, "status", &s); err != nil {
				return err
			}
			if s.BGP.Established > 0 || s.BFD.Up > 0 {
				return fmt.Errorf("%d BGP and %d BFD sessions are up", s.BGP.Established, s.BFD.Up)
			}
			return nil
		})
	})
	w.flows(ctx, t)
	w.story.Check("every guest reaches every guest", w.all(ctx, w.reaches("vm1", "vm3", "vm4")))
	w.showStatus(ctx, "hv1")
	out, err := w.hostroute(ctx, "hv1", "routes", "--socket", w.AgentSocket("hv1"))
	w.story.Show("hostroute routes    (on hv1)", out)
	if err != nil {
		return err
	}
	if err := errors.Join(w.startReflector(ctx, "a"), w.startReflector(ctx, "b")); err != nil {
		return err
	}
	w.recovered(ctx, "both reflectors are back: all healthy, both planes in use")
	w.lossless(ctx, t, "both reflectors killed and started")
	return nil
}

var hostPowerOff = serving("host-power-off", "a hypervisor loses its power; its routes are gone from the others, and come back with it",
	chapter{"hv2 is switched off", (*world).hostDies},
	chapter{"hv2 is switched on again", (*world).hostReturns},
)

func (w *world) hostDies(ctx context.Context) error {
	t, err := w.traffic(ctx, "vm1", "vm4")
	if err != nil {
		return err
	}
	if err := w.startMonitors(ctx); err != nil {
		return err
	}
	cut, err := w.PowerOffHost(ctx, "hv2")
	if err != nil {
		return err
	}
	w.story.Eventually(ctx, "its guests' routes are gone from hv1 and hv3", settle, func() error {
		return errors.Join(w.without(ctx, "hv1", "vm3"), w.without(ctx, "hv3", "vm3"))
	})
	detection := lab.PathBFD().Detection()
	limit := detection + time.Duration(float64(time.Second)*lab.TimeFactor())
	for _, hv := range []string{"hv1", "hv3"} {
		last, err := w.lastDeleted(hv, "vm3")
		if err == nil {
			w.story.MeasureTime(fmt.Sprintf("hv2 off → its last route deleted on %s; detection takes %v", hv, detection), last.Sub(cut))
			if last.Sub(cut) > limit {
				err = fmt.Errorf("it took %v", last.Sub(cut))
			}
		}
		w.story.Check(fmt.Sprintf("they were gone from %s within the detection time and a second, here %v", hv, limit), err)
	}
	w.story.Check("the reflector of plane b says that BFD told it", w.said("rrb", "frr", "BFD Down"))
	w.story.Check("guests on other hypervisors reach each other", w.all(ctx, w.reaches("vm1", "vm4")))
	w.lossless(ctx, t, "traffic between hv1 and hv3 while hv2 dies")
	return nil
}

// without wants a hypervisor to have no learned route to a guest.
func (w *world) without(ctx context.Context, hv, guest string) error {
	for _, family := range families {
		routes, err := w.routes(ctx, hv, family)
		if err != nil {
			return err
		}
		g, err := w.Topology.Guest(guest)
		if err != nil {
			return err
		}
		for _, n := range w.Topology.Networks {
			p, _ := portOn(g, n.Name, family)
			if _, there := routes[tableRoute{n.VRF, metricLearned, p}]; there {
				return fmt.Errorf("%s still has a route to %s in VRF %s", hv, p, n.VRF)
			}
		}
	}
	return nil
}

// said wants words in a program's log.
func (w *world) said(node, name, words string) error {
	d, err := w.Daemon(node, name)
	if err != nil {
		return err
	}
	log, err := os.ReadFile(d.Log)
	if err != nil {
		return err
	}
	if !strings.Contains(string(log), words) {
		return fmt.Errorf("%q is not in its log", words)
	}
	return nil
}

func (w *world) hostReturns(ctx context.Context) error {
	if err := w.PowerOnHost(ctx, "hv2"); err != nil {
		return err
	}
	if _, err := w.StartAgent(ctx, w.story.Binary, "hv2"); err != nil {
		return err
	}
	if err := w.Configure(ctx, "vm3"); err != nil {
		return err
	}
	w.recovered(ctx, "hv2 is back: all healthy, both planes in use")
	w.story.Eventually(ctx, "every guest reaches every guest and the internet", settle, func() error { return w.all(ctx, w.public()) })
	return nil
}
