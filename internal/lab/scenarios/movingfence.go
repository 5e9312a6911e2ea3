package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hostroute/hostroute/internal/lab"
)

var drain = spreading("drain", "a hypervisor is drained: anycast leaves it, its guests are served until they have moved, and then it says so", []string{"vm3"},
	chapter{"vm1, vm2, vm3 and vm4 hold an anycast address of each family", (*world).giveAnycast},
	chapter{"hv2 is drained: its member of the anycast addresses gets no flow any more", (*world).drainLeaves},
	chapter{"Its guest moves away, and hv2 says that it is done", (*world).drainDone},
	chapter{"It is undrained, and takes part again", (*world).undrained},
)

// withoutHV2 are the shares when hv2 takes no part.
var withoutHV2 = map[string]float64{"vm1": .25, "vm2": .25, "vm4": .5}

func (w *world) drainLeaves(ctx context.Context) error {
	t, err := w.traffic(ctx, "vm3", "vm5")
	if err != nil {
		return err
	}
	f, err := w.openFans("vm5", lab.NodeEdge)
	if err != nil {
		return err
	}
	defer f.close()
	f.spread(ctx, "nobody drained", anycastMembers)
	if err := w.publish(ctx, "hypervisor", "drain", "hv2"); err != nil {
		return err
	}
	f.spread(ctx, "hv2 drained", withoutHV2)
	w.story.Check("new homes avoid it: a migration to it is refused", w.refused(ctx, "VMMigrationStarted", map[string]any{"vm": "vm1", "to": "hv2"}))
	w.lossless(ctx, t, "hv2 drained, its own guest served on")
	out, err := w.hostroute(ctx, lab.NodeControl, "hypervisor", "drain", "hv2", "--wait="+stretchedSeconds(5), "--log", w.LogURL())
	w.story.Show("hostroute hypervisor drain hv2 --wait", fmt.Sprint(out, errText(err)))
	if err == nil {
		err = errors.New("it says that it is done")
	} else if strings.Contains(out+err.Error(), "1 guest homed there") {
		err = nil
	}
	w.story.Check("drain --wait isn't done, and says what is left", err)
	return nil
}

func stretchedSeconds(n int) string {
	return fmt.Sprintf("%ds", int(float64(n)*lab.TimeFactor()))
}

// refused wants the log to refuse an event.
func (w *world) refused(ctx context.Context, kind string, data map[string]any) error {
	c, err := w.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.publish(ctx, kind, data); err == nil {
		return errors.New("it was accepted")
	} else if !strings.Contains(err.Error(), `"refused"`) {
		return err
	}
	return nil
}

func (w *world) drainDone(ctx context.Context) error {
	m, err := w.startMoves(ctx, "vm3", "vm1", "vm4")
	if err != nil {
		return err
	}
	defer m.end(ctx)
	if err := m.migrate(ctx, "hv3", handover{atPause: true, announce: lab.RARP}); err != nil {
		return err
	}
	m.gaps.tell(w.story, "away from a drained host")
	m.unharmed(ctx)
	out, err := w.hostroute(ctx, lab.NodeControl, "hypervisor", "drain", "hv2", "--wait="+stretchedSeconds(60), "--log", w.LogURL())
	w.story.Show("hostroute hypervisor drain hv2 --wait", out)
	w.story.Check("drain --wait says that it is done", err)
	return nil
}

func (w *world) undrained(ctx context.Context) error {
	if err := w.publish(ctx, "hypervisor", "undrain", "hv2"); err != nil {
		return err
	}
	m, err := w.startMoves(ctx, "vm3", "vm1", "vm4")
	if err != nil {
		return err
	}
	defer m.end(ctx)
	if err := m.migrate(ctx, "hv2", handover{atPause: true, announce: lab.RARP}); err != nil {
		return err
	}
	m.unharmed(ctx)
	f, err := w.openFans("vm5", lab.NodeEdge)
	if err != nil {
		return err
	}
	defer f.close()
	f.spread(ctx, "hv2 undrained", anycastMembers)
	return nil
}

var fenceAndReturn = moving("fence-and-return", "a host dies and is fenced, its guest lives elsewhere; the host returns with what it knew, and says nothing of it", []string{"vm1"},
	chapter{"hv1 dies and is fenced; vm1 is started on hv2", (*world).fenced},
	chapter{"hv1 returns with its old state while the log is out of reach", (*world).fencedReturnsDark},
	chapter{"The log is back: hv1 hears that it is fenced", (*world).fencedHears},
	chapter{"hv1 is unfenced, and serves what is left to it", (*world).unfenced},
)

func (w *world) fenced(ctx context.Context) error {
	if _, err := w.PowerOffHost(ctx, "hv1"); err != nil {
		return err
	}
	if err := w.PowerOff(ctx, "vm1"); err != nil {
		return err
	}
	w.story.Eventually(ctx, "the others have found out, and have no route to its guest vm2", 2*settle, func() error {
		return errors.Join(w.without(ctx, "hv2", "vm2"), w.without(ctx, "hv3", "vm2"))
	})
	if err := errors.Join(w.publish(ctx, "hypervisor", "fence", "hv1", "--reason", "no power"), w.publish(ctx, "vm", "migrate", "vm1", "--to", "hv2")); err != nil {
		return err
	}
	if err := errors.Join(w.AddTaps(ctx, "vm1", "hv2"), w.Resume("vm1", "hv2"), w.Configure(ctx, "vm1")); err != nil {
		return err
	}
	w.homes["vm1"] = "hv2"
	w.story.Eventually(ctx, "vm1 is reached on hv2, and reaches the internet", 2*settle, func() error {
		return w.all(ctx, append(w.reaches("vm1", "vm3", "vm4"), probe{from: "vm1", to: w.Topology.Internet4}, probe{from: "vm1", to: w.Topology.Internet6}))
	})
	return nil
}

// fencedReturnsDark is the worst case: hv1 believes that vm1 is its own, and has
// its taps, too.
func (w *world) fencedReturnsDark(ctx context.Context) error {
	m, err := w.startMoves(ctx, "vm1", "vm3", "vm4")
	if err != nil {
		return err
	}
	defer m.end(ctx)
	first := m.traffic.Sent()
	if err := w.endLog(ctx); err != nil {
		return err
	}
	if err := errors.Join(w.PowerOnHost(ctx, "hv1"), w.AddTaps(ctx, "vm1", "hv1")); err != nil {
		return err
	}
	said, err := w.listenToBGP("hv1", w.address("vm1", "public", 4))
	if err != nil {
		return err
	}
	if _, err := w.StartAgent(ctx, w.story.Binary, "hv1"); err != nil {
		return err
	}
	w.story.Eventually(ctx, "hv1 has learned where vm1 is, over both planes", 4*settle, func() error { return w.leadsTo(ctx, "hv1", "vm1", "hv2") })
	w.story.Eventually(ctx, "no reflector has a path to vm1 from hv1", settle, func() error { return w.unreflected(ctx, "vm1", "hv1") })
	w.showStatus(ctx, "hv1")
	w.story.Check("no packet to or from vm1 was lost meanwhile", m.lossless(ctx, first))
	longest, err := said.longest()
	w.story.MeasureTime("hv1's first word of vm1 to a reflector → its last", longest)
	if limit := stretched(1e9); err == nil && longest > limit {
		err = fmt.Errorf("it took %v, and %v is the limit", longest, limit)
	}
	w.story.Check("hv1 said nothing of vm1, or took it back within a second (longer on a slow machine)", err)
	m.unharmed(ctx)
	return nil
}

func (w *world) fencedHears(ctx context.Context) error {
	m, err := w.quiet(ctx)
	if err != nil {
		return err
	}
	if _, err := w.StartLog(ctx, w.story.Binary); err != nil {
		return err
	}
	w.story.Eventually(ctx, "all are in sync", 3*settle, func() error { return w.everywhere(func(hv string) error { return w.inSync(ctx, hv) }) })
	w.story.Check("hv1 told no reflector anything of vm1", m.nothing())
	w.story.Eventually(ctx, "it announces nothing at all: nobody has a path to vm2 from it", settle, func() error { return w.unreflected(ctx, "vm2", "hv1") })
	w.showStatus(ctx, "hv1")
	return nil
}

// quiet listens to what hv1 says of vm1.
func (w *world) quiet(context.Context) (*bgpWatch, error) {
	return w.listenToBGP("hv1", w.address("vm1", "public", 4))
}

// inSync wants an agent to follow the log.
func (w *world) inSync(ctx context.Context, hv string) error {
	var s status
	if err := w.ask(ctx, hv, "status", &s); err != nil {
		return err
	}
	if !s.Log.InSync {
		return fmt.Errorf("%s is not in sync", hv)
	}
	return nil
}

func (w *world) unfenced(ctx context.Context) error {
	said, err := w.quiet(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(w.RemoveTaps(ctx, "vm1", "hv1"), w.publish(ctx, "hypervisor", "unfence", "hv1"), w.Configure(ctx, "vm2")); err != nil {
		return err
	}
	w.recovered(ctx, "all healthy, every route where it belongs")
	w.story.Check("every guest reaches every guest", w.all(ctx, w.reaches("vm1", "vm2", "vm3", "vm4")))
	w.story.Check("hv1 told no reflector anything of vm1", said.nothing())
	return nil
}
