package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
)

var migrateUnderPartition = moving("migrate-under-partition", "a guest leaves a host that can't hear of it; the host returns and lets go", []string{"vm1"},
	chapter{"hv1 is cut off from the log and from plane a, and vm1 leaves it", (*world).leavesDeafHost},
	chapter{"hv1 hears the log again", (*world).deafHostHears},
	chapter{"hv2 is cut off from everything, and vm1 leaves it", (*world).leavesLostHost},
	chapter{"hv2 is on both planes again, and still doesn't hear the log", (*world).lostHostReturns},
	chapter{"hv2 hears the log again", (*world).lostHostHears},
)

// leavesDeafHost keeps vm1's taps on hv1, as a monitor does that nobody can tell to
// end: only BGP tells hv1 that the guest is elsewhere.
func (w *world) leavesDeafHost(ctx context.Context) error {
	if err := errors.Join(w.CutManagement(ctx, "hv1"), w.CutPlane(ctx, "a", "hv1")); err != nil {
		return err
	}
	w.story.Eventually(ctx, "hv1 says that the log is out of reach", 3*settle, func() error { return w.complains(ctx, "hv1", "the log is out of reach") })
	m, err := w.startMoves(ctx, "vm1", "vm2", "vm3", "vm4")
	if err != nil {
		return err
	}
	defer m.end(ctx)
	if err := m.prepare(ctx, "hv2"); err != nil {
		return err
	}
	first := m.traffic.Sent()
	pause, err := m.handOver(ctx, "hv2", handover{atPause: true})
	if err != nil {
		return err
	}
	start := time.Now()
	_, ok := w.story.Eventually(ctx, "no reflector has a path to it from hv1 any more", settle, func() error { return w.unreflected(ctx, "vm1", "hv1") })
	if ok {
		w.story.MeasureTime("the guest goes on → no path from hv1 is reflected, looked at with birdc and vtysh", time.Since(start))
	}
	w.story.Check("everything arrives, from hv1's own guest, too", m.settled(ctx))
	w.homes["vm1"] = "hv2"
	m.lost(first, "hv1", "hv2", pause)
	w.story.Show("", m.gaps.table())
	// hv1's own guest waits until its one reflector has told hv1, which is told.
	m.gaps.forget("a guest on the old host")
	m.gaps.tell(w.story, "from a host that can't hear the log, but for its own guest")
	m.unharmed(ctx)
	w.showStatus(ctx, "hv1")
	return nil
}

func (w *world) deafHostHears(ctx context.Context) error {
	m, err := w.startMoves(ctx, "vm1", "vm2", "vm3", "vm4")
	if err != nil {
		return err
	}
	defer m.end(ctx)
	first := m.traffic.Sent()
	if err := errors.Join(w.RestoreManagement(ctx, "hv1"), w.RestorePlane(ctx, "a", "hv1"), w.RemoveTaps(ctx, "vm1", "hv1")); err != nil {
		return err
	}
	w.recovered(ctx, "hv1 is in sync: all healthy, both planes in use")
	w.story.Check("no packet was lost meanwhile", m.lossless(ctx, first))
	m.unharmed(ctx)
	return nil
}

// unreflected wants no reflector to have a path to a guest from a hypervisor.
func (w *world) unreflected(ctx context.Context, guest, hv string) error {
	return w.noPath(ctx, w.address(guest, "public", 4).String()+"/32", hv)
}

// noPath wants no reflector to have a path to an IPv4 prefix from a hypervisor.
func (w *world) noPath(ctx context.Context, p, hv string) error {
	h, err := w.Topology.Hypervisor(hv)
	if err != nil {
		return err
	}
	for _, u := range w.Topology.Uplinks(h) {
		if u.VRF != "public" {
			continue
		}
		answer, err := w.reflectedPaths(ctx, u.Plane, p)
		if err != nil {
			return err
		}
		// As FRR and BIRD say who told them.
		if strings.Contains(answer, u.V4.Addr().String()+" from ") || strings.Contains(answer, "via "+u.V4.Addr().String()+" ") {
			return fmt.Errorf("plane %s has one: %s", u.Plane, answer)
		}
	}
	return nil
}

func (w *world) leavesLostHost(ctx context.Context) error {
	if err := errors.Join(w.CutManagement(ctx, "hv2"), w.CutPlane(ctx, "a", "hv2"), w.CutPlane(ctx, "b", "hv2")); err != nil {
		return err
	}
	w.story.Eventually(ctx, "the others have no route to its guest vm3", 2*settle, func() error {
		return errors.Join(w.without(ctx, "hv1", "vm3"), w.without(ctx, "hv3", "vm3"))
	})
	c, err := w.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	// The guest's memory went over another network, or from a disk.
	if err := w.Pause("vm1"); err != nil {
		return err
	}
	if err := errors.Join(w.AddTaps(ctx, "vm1", "hv3"), c.publish(ctx, "VMMigrated", map[string]any{"vm": "vm1", "to": "hv3"}), w.Resume("vm1", "hv3")); err != nil {
		return err
	}
	w.homes["vm1"] = "hv3"
	w.story.Eventually(ctx, "the guest is reached on hv3", settle, func() error { return w.all(ctx, w.reaches("vm1", "vm2", "vm4")) })
	return nil
}

// lostHostReturns wants the guest's packets to go to its new home all the time:
// what hv2 still says is less preferred, and hv2 takes it back when it hears why.
func (w *world) lostHostReturns(ctx context.Context) error {
	said, err := w.listenToBGP("hv2", w.address("vm1", "public", 4))
	if err != nil {
		return err
	}
	m, err := w.startMoves(ctx, "vm1", "vm2", "vm4")
	if err != nil {
		return err
	}
	defer m.end(ctx)
	first := m.traffic.Sent()
	if err := errors.Join(w.RestorePlane(ctx, "a", "hv2"), w.RestorePlane(ctx, "b", "hv2")); err != nil {
		return err
	}
	w.story.Eventually(ctx, "hv1 has routes to hv2's own guest again, and hv2 to vm1", 3*settle, func() error {
		return firstError(w.leadsTo(ctx, "hv1", "vm3", "hv2"), w.leadsTo(ctx, "hv2", "vm1", "hv3"))
	})
	w.story.Eventually(ctx, "no reflector has a path to vm1 from hv2", settle, func() error { return w.unreflected(ctx, "vm1", "hv2") })
	w.story.Check("no packet to or from vm1 was lost meanwhile", m.lossless(ctx, first))
	longest, err := said.longest()
	if err == nil {
		w.story.MeasureTime("hv2's first word of vm1 to a reflector → its last, which takes it back", longest)
		if limit := stretched(time.Second); longest > limit {
			err = fmt.Errorf("it took %v, and %v is the limit", longest, limit)
		}
	}
	w.story.Check("hv2 took back what it said of vm1 within a second of saying it (longer on a slow machine)", err)
	m.unharmed(ctx)
	w.story.Eventually(ctx, "hv2's own guest reaches everybody, and vm1, too", settle, func() error { return w.all(ctx, w.reaches("vm1", "vm2", "vm3", "vm4")) })
	w.showStatus(ctx, "hv2")
	return nil
}

// longest ends the watch: how long a hypervisor spoke of a prefix to a reflector.
func (b *bgpWatch) longest() (longest time.Duration, err error) {
	for _, w := range b.watches {
		longest = max(longest, w.Span())
		_, _, stopErr := w.Stop()
		err = errors.Join(err, stopErr)
	}
	return longest, err
}

func (w *world) lostHostHears(ctx context.Context) error {
	m, err := w.startMoves(ctx, "vm1", "vm2", "vm3", "vm4")
	if err != nil {
		return err
	}
	defer m.end(ctx)
	first := m.traffic.Sent()
	if err := errors.Join(w.RestoreManagement(ctx, "hv2"), w.RemoveTaps(ctx, "vm1", "hv2")); err != nil {
		return err
	}
	w.recovered(ctx, "hv2 is in sync: all healthy, both planes in use")
	w.story.Check("no packet was lost meanwhile", m.lossless(ctx, first))
	m.unharmed(ctx)
	return nil
}

// reflectedPaths asks the reflectors of a plane for all paths to an IPv4 prefix.
func (w *world) reflectedPaths(ctx context.Context, plane, prefix string) (string, error) {
	p, err := w.Topology.Plane(plane)
	if err != nil {
		return "", err
	}
	var all string
	for _, r := range p.Reflectors {
		var out string
		if r.Software == lab.FRR {
			out, err = w.FRR(ctx, r.Node, "show bgp view public ipv4 unicast "+prefix)
		} else {
			out, err = w.BIRD(ctx, r.Node, "show", "route", prefix, "all", "table", "public4")
			if strings.Contains(out, "Network not found") { // birdc ends with 1 then
				out, err = "", nil
			}
		}
		if err != nil {
			return "", err
		}
		all += out
	}
	return all, nil
}
