package scenarios

import (
	"context"
	"fmt"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
)

var planeCut = serving("plane-cut", "a plane loses every carrier, and comes back",
	chapter{"Plane a is cut: everything flows over plane b", func(w *world, ctx context.Context) error { return w.planeLost(ctx, "a", "b") }},
	chapter{"Plane b is cut: everything flows over plane a", func(w *world, ctx context.Context) error { return w.planeLost(ctx, "b", "a") }},
)

func (w *world) planeLost(ctx context.Context, plane, other string) error {
	t, err := w.traffic(ctx, "vm1", "vm3")
	if err != nil {
		return err
	}
	if err := w.CutPlane(ctx, plane); err != nil {
		return err
	}
	w.story.Eventually(ctx, "every learned route uses plane "+other+" alone", settle, func() error {
		return w.everywhere(func(hv string) error { return w.routedEverywhere(ctx, hv, other) })
	})
	w.flows(ctx, t)
	w.story.Eventually(ctx, "every guest reaches every guest and the internet", settle, func() error { return w.all(ctx, w.public()) })
	w.showStatus(ctx, "hv1")
	if err := w.RestorePlane(ctx, plane); err != nil {
		return err
	}
	w.recovered(ctx, "plane "+plane+" is back: all healthy, both planes in use")
	w.flows(ctx, t)
	_ = w.losses(ctx, t, "plane "+plane+" cut and back") // what it loses is told
	return nil
}

// flows wants traffic to lose nothing any more.
func (w *world) flows(ctx context.Context, t *lab.Traffic) {
	w.story.Eventually(ctx, "the traffic flows", settle, t.Flows)
}

// public lists what must be answered of guests that have their public address
// only.
func (w *world) public() []probe {
	probes := w.reaches("vm1", "vm3", "vm4")
	for _, family := range families {
		probes = append(probes, w.outward(family)...)
	}
	return probes
}

var planeOneWay = serving("plane-oneway", "a plane delivers nothing to a hypervisor any more, whose own packets still arrive",
	chapter{"hv1 hears nothing on plane a, and no carrier is lost", (*world).deafOnPlane},
	chapter{"What is sent to the reflector of plane a doesn't arrive; what it sends does", (*world).muteOnPlane},
)

// muteOnPlane is the other direction: only the reflector can know, and says so by
// BFD.
func (w *world) muteOnPlane(ctx context.Context) error {
	p, err := w.Topology.Plane("a")
	if err != nil {
		return err
	}
	var nodes []string
	for _, r := range p.Reflectors {
		nodes = append(nodes, r.Node)
	}
	t, err := w.traffic(ctx, "vm1", "vm3")
	if err != nil {
		return err
	}
	if err := w.Lose(ctx, "a", 100, nodes...); err != nil {
		return err
	}
	w.story.Eventually(ctx, "every learned route uses plane b alone", settle, func() error {
		return w.everywhere(func(hv string) error { return w.routedEverywhere(ctx, hv, "b") })
	})
	w.story.Eventually(ctx, "each hypervisor says which direction is dead", settle, func() error {
		return w.everywhere(func(hv string) error { return w.complains(ctx, hv, "plane a is lost: what ") })
	})
	w.showStatus(ctx, "hv1")
	if err := w.RestoreLoss(ctx, "a", nodes...); err != nil {
		return err
	}
	w.recovered(ctx, "plane a is back: all healthy, both planes in use")
	w.lossless(ctx, t, "reflector of plane a deaf, and back")
	return nil
}

// deafOnPlane is where only BFD helps: hv1's announcements still arrive, and
// packets that follow them don't.
func (w *world) deafOnPlane(ctx context.Context) error {
	const deaf = "hv1"
	t, err := w.traffic(ctx, "vm1", "vm3")
	if err != nil {
		return err
	}
	began := time.Now()
	if err := w.Lose(ctx, "a", 100, deaf); err != nil {
		return err
	}
	_, ok := w.story.Eventually(ctx, "nobody sends to hv1 over plane a, and hv1 uses plane b alone; others use both", settle, func() error {
		return w.everywhere(func(hv string) error {
			return w.routed(ctx, hv, func(home string) string {
				if hv == deaf || home == deaf {
					return "b"
				}
				return "ab"
			})
		})
	})
	if ok {
		w.story.MeasureTime("plane deaf to hv1 → routes of all avoid it, seen with ip(8)", time.Since(began))
	}
	w.flows(ctx, t)
	w.story.Eventually(ctx, "every guest reaches every guest and the internet", settle, func() error { return w.all(ctx, w.public()) })
	w.story.Check("hv1 says which direction is dead", w.complains(ctx, deaf, "plane a is lost: nothing arrives from 100.64.0.1"))
	w.showStatus(ctx, deaf)
	_ = w.losses(ctx, t, "plane a deaf to hv1") // what it loses is told
	if t, err = w.traffic(ctx, "vm1", "vm3"); err != nil {
		return err
	}
	if err := w.RestoreLoss(ctx, "a", deaf); err != nil {
		return err
	}
	w.recovered(ctx, "plane a is back: all healthy, both planes in use")
	w.flows(ctx, t)
	w.lossless(ctx, t, "plane a back in use")
	return nil
}

var planeLossy = serving("plane-lossy", "a plane loses 30 % of all packets, and is avoided",
	chapter{"Plane a loses three packets in ten", (*world).lossyPlane},
)

// lossyPlane is a plane on which sessions fall now and then and come back, until
// it is measured what it loses: it is avoided then, though it is there.
func (w *world) lossyPlane(ctx context.Context) error {
	const packets = 1500
	t, err := w.traffic(ctx, "vm1", "vm3")
	if err != nil {
		return err
	}
	began := time.Now()
	if err := w.Lose(ctx, "a", 30); err != nil {
		return err
	}
	if _, ok := w.story.Eventually(ctx, "each hypervisor says what plane a loses, and none uses it", 9*settle, func() error {
		return w.everywhere(func(hv string) error {
			return firstError(w.complains(ctx, hv, "plane a loses about "), w.complains(ctx, hv, "it is avoided"), w.routedEverywhere(ctx, hv, "b"))
		})
	}); ok {
		w.story.MeasureTime("plane a loses 30 % → all avoid it for that", time.Since(began))
	}
	w.showStatus(ctx, "hv1")
	out, err := w.hostroute(ctx, "hv1", "peers", "--socket", w.AgentSocket("hv1"))
	w.story.Show("hostroute peers    (on hv1)", out)
	if err != nil {
		return err
	}
	w.share(ctx, t, "plane a loses 30 %, until it is avoided")
	if t, err = w.traffic(ctx, "vm1", "vm3"); err != nil {
		return err
	}
	w.story.Eventually(ctx, fmt.Sprintf("%d packets are sent on every flow", packets), 3*settle, func() error {
		if n := t.Sent(); n < packets {
			return fmt.Errorf("%d were", n)
		}
		return nil
	})
	w.share(ctx, t, "plane a loses 30 %, and is avoided")
	if err := w.RestoreLoss(ctx, "a"); err != nil {
		return err
	}
	if t, err = w.traffic(ctx, "vm1", "vm3"); err != nil {
		return err
	}
	began = time.Now()
	if _, ok := w.story.Eventually(ctx, "both planes are in use and all is healthy, or it is said until when a plane that fell often has to stay up", 6*settle, func() error {
		return w.everywhere(func(hv string) error {
			if w.complains(ctx, hv, "until it has been up until") == nil {
				return nil
			}
			return firstError(w.healthy(ctx, hv), w.routedEverywhere(ctx, hv, "ab"))
		})
	}); ok {
		w.story.MeasureTime("plane a sound → known to be", time.Since(began))
	}
	w.showStatus(ctx, "hv1")
	w.lossless(ctx, t, "plane a sound again")
	return nil
}

// share ends the traffic and tells how much of it was lost; no outage begins or
// ends where losses are random.
func (w *world) share(ctx context.Context, t *lab.Traffic, when string) {
	for _, l := range t.Stop(ctx) {
		w.story.Measure(when+": "+l.Flow.String(), fmt.Sprintf("%d of %d lost", l.Lost, l.Sent))
	}
}
