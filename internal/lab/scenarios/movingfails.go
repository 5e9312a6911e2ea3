package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
)

var migrateBackAndForth = moving("migrate-back-and-forth", "a guest goes from one host to another and back, sooner than either forgets it", []string{"vm1"},
	chapter{"vm1 goes to hv2 and back, again and again", (*world).backAndForth},
	chapter{"It is moved on as soon as it can be, with no look at whether it is reached", (*world).restless},
)

// backAndForth has every host take the guest back while it still forwards for it.
func (w *world) backAndForth(ctx context.Context) error {
	m, err := w.startMoves(ctx, "vm1", "vm2", "vm3", "vm4")
	if err != nil {
		return err
	}
	defer m.end(ctx)
	for n := range w.rounds() {
		how := handover{atPause: n%4 < 2, announce: []lab.Announcement{"", lab.RARP}[n/2%2]}
		if err := m.migrate(ctx, other("hv1", "hv2", w.homes["vm1"]), how); err != nil {
			return err
		}
	}
	m.gaps.tell(w.story, "there and back")
	m.unharmed(ctx)
	return nil
}

// other is the one of two that isn't this.
func other(a, b, this string) string {
	if a == this {
		return b
	}
	return a
}

// restless ends somewhere: that is where everybody has to find it.
func (w *world) restless(ctx context.Context) error {
	const times = 7
	m, err := w.startMoves(ctx, "vm1", "vm2", "vm3", "vm4")
	if err != nil {
		return err
	}
	defer m.end(ctx)
	for n := range times {
		from := w.homes["vm1"]
		to := other("hv1", "hv2", from)
		if err := m.prepare(ctx, to); err != nil {
			return err
		}
		if _, err := m.handOver(ctx, to, handover{atPause: n%2 == 0}); err != nil {
			return err
		}
		if err := m.RemoveTaps(ctx, "vm1", from); err != nil {
			return err
		}
		w.homes["vm1"] = to
	}
	start := time.Now()
	err = m.settled(ctx)
	w.story.Check("everybody finds it where it ended", err)
	w.story.MeasureTime(fmt.Sprintf("last of %d moves in a row → everything arrives, on every connection, too", times), time.Since(start))
	m.unharmed(ctx)
	w.recovered(ctx, "all healthy, every route where it belongs")
	return nil
}

var migrateAbort = moving("migrate-abort", "a migration is given up: all that was prepared is undone, and nobody notices", []string{"vm1"},
	chapter{"A migration to hv2 is prepared and given up, again and again", (*world).abortPrepared},
	chapter{"It is given up at the last moment: the guest was paused, and goes on where it was", (*world).abortPaused},
	chapter{"The destination's tap says that the guest is there, and it isn't", (*world).abortAnnounced},
)

func (w *world) abortPrepared(ctx context.Context) error {
	before, err := w.kernel(ctx, "hv2")
	if err != nil {
		return err
	}
	m, err := w.startMoves(ctx, "vm1", "vm2", "vm3", "vm4")
	if err != nil {
		return err
	}
	defer m.end(ctx)
	first := m.traffic.Sent()
	for range w.rounds() {
		if err := m.prepare(ctx, "hv2"); err != nil {
			return err
		}
		if err := m.abort(ctx, "hv2"); err != nil {
			return err
		}
	}
	w.story.Check(fmt.Sprintf("no packet was lost, %d times", w.rounds()), m.lossless(ctx, first))
	w.story.Eventually(ctx, "the kernel of hv2 is what it was", settle, func() error {
		after, err := w.kernel(ctx, "hv2")
		if err != nil {
			return err
		}
		return same(before, after)
	})
	m.unharmed(ctx)
	return nil
}

// abort gives a preparation up: the event, and the end of the monitor there.
func (m *moves) abort(ctx context.Context, to string) error {
	if err := m.control.publish(ctx, "VMMigrationAborted", map[string]any{"vm": m.guest}); err != nil {
		return err
	}
	return m.RemoveTaps(ctx, m.guest, to)
}

// lossless wants nothing to have been lost since so many packets.
func (m *moves) lossless(ctx context.Context, first int) error {
	err := m.settled(ctx)
	for _, l := range m.traffic.Since(first) {
		if l.Lost > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %s", l.Flow, l))
		}
	}
	return err
}

func (w *world) abortPaused(ctx context.Context) error {
	m, err := w.startMoves(ctx, "vm1", "vm2", "vm3", "vm4")
	if err != nil {
		return err
	}
	defer m.end(ctx)
	for range w.rounds() {
		if err := m.prepare(ctx, "hv2"); err != nil {
			return err
		}
		first, began := m.traffic.Sent(), time.Now()
		if err := m.Pause("vm1"); err != nil {
			return err
		}
		<-time.After(guestPause)
		if err := m.Resume("vm1", w.homes["vm1"]); err != nil {
			return err
		}
		pause := time.Since(began)
		if err := errors.Join(m.abort(ctx, "hv2"), m.settled(ctx)); err != nil {
			return err
		}
		m.lost(first, w.homes["vm1"], "hv2", pause)
	}
	m.gaps.tell(w.story, "given up while paused")
	m.unharmed(ctx)
	return nil
}

// abortAnnounced is a lie, or a monitor that announces too early: what it costs is
// told; that it ends with the abort is checked.
func (w *world) abortAnnounced(ctx context.Context) error {
	m, err := w.startMoves(ctx, "vm1", "vm2", "vm3", "vm4")
	if err != nil {
		return err
	}
	defer m.end(ctx)
	if err := m.prepare(ctx, "hv2"); err != nil {
		return err
	}
	first := m.traffic.Sent()
	if err := m.Announce("vm1", "hv2", lab.RARP); err != nil {
		return err
	}
	if err := m.abort(ctx, "hv2"); err != nil {
		return err
	}
	start := time.Now()
	w.story.Check("everything arrives again after the abort", m.settled(ctx))
	w.story.MeasureTime("abort → everything arrives where the guest has been all the time", time.Since(start))
	for _, l := range m.traffic.Since(first) {
		if l.Lost > 0 {
			w.story.Say("%s: %s", l.Flow, l)
		}
	}
	w.recovered(ctx, "all healthy, every route where it belongs")
	return nil
}

var migrateDestinationDies = moving("migrate-destination-dies", "the destination loses its power during a migration; the guest goes on where it was", []string{"vm1"},
	chapter{"hv2 dies while it is prepared: nobody notices", (*world).destinationDiesPrepared},
	chapter{"hv2 is back", (*world).destinationReturns},
	chapter{"hv2 dies when the log has the guest there: the log moves it back", (*world).destinationDiesMoved},
	chapter{"hv2 is back, and leaves the guest alone", (*world).destinationReturns},
)

func (w *world) destinationDiesPrepared(ctx context.Context) error {
	m, err := w.startMoves(ctx, "vm1", "vm2", "vm4")
	if err != nil {
		return err
	}
	defer m.end(ctx)
	if err := m.prepare(ctx, "hv2"); err != nil {
		return err
	}
	first := m.traffic.Sent()
	if _, err := w.PowerOffHost(ctx, "hv2"); err != nil {
		return err
	}
	w.story.Eventually(ctx, "the others have no route to the guests of hv2", 2*settle, func() error {
		return errors.Join(w.without(ctx, "hv1", "vm3"), w.without(ctx, "hv3", "vm3"))
	})
	if err := m.control.publish(ctx, "VMMigrationAborted", map[string]any{"vm": "vm1"}); err != nil {
		return err
	}
	w.story.Check("no packet to or from the guest was lost", m.lossless(ctx, first))
	m.unharmed(ctx)
	return nil
}

func (w *world) destinationReturns(ctx context.Context) error {
	said, err := w.listenToBGP("hv2", w.address("vm1", "public", 4))
	if err != nil {
		return err
	}
	if err := w.hostReturns(ctx); err != nil {
		return err
	}
	w.story.Check("it told no reflector anything of vm1", said.nothing())
	return nil
}

func (w *world) destinationDiesMoved(ctx context.Context) error {
	m, err := w.startMoves(ctx, "vm1", "vm2", "vm4")
	if err != nil {
		return err
	}
	defer m.end(ctx)
	if err := m.prepare(ctx, "hv2"); err != nil {
		return err
	}
	if err := m.Pause("vm1"); err != nil {
		return err
	}
	if err := m.control.publish(ctx, "VMMigrated", map[string]any{"vm": "vm1", "to": "hv2"}); err != nil {
		return err
	}
	w.story.Eventually(ctx, "everybody sends its packets to hv2", settle, func() error {
		return errors.Join(w.leadsTo(ctx, "hv1", "vm1", "hv2"), w.leadsTo(ctx, "hv3", "vm1", "hv2"))
	})
	if _, err := w.PowerOffHost(ctx, "hv2"); err != nil {
		return err
	}
	first, start := m.traffic.Sent(), time.Now()
	if err := m.control.publish(ctx, "VMMigrated", map[string]any{"vm": "vm1", "to": "hv1"}); err != nil {
		return err
	}
	if err := m.Resume("vm1", "hv1"); err != nil {
		return err
	}
	w.story.Check("everything arrives on hv1, though hv2 has announced it and can't take it back", m.settled(ctx))
	w.story.MeasureTime("published that it is on hv1 again → everything arrives, on every connection, too", time.Since(start))
	for _, l := range m.traffic.Since(first) {
		w.story.Measure("moved back from a dead host: "+l.Flow.String(), l.String())
	}
	m.connected()
	return nil
}

// leadsTo wants a hypervisor's learned routes to a guest to lead to another one.
func (w *world) leadsTo(ctx context.Context, hv, guest, to string) error {
	h, err := w.Topology.Hypervisor(to)
	if err != nil {
		return err
	}
	hops, err := w.nextHops(ctx, hv)
	if err != nil {
		return err
	}
	addresses := map[string]bool{}
	for _, u := range w.Topology.Uplinks(h) {
		addresses[u.V4.Addr().String()], addresses[u.V6.Addr().String()] = true, true
	}
	g, err := w.Topology.Guest(guest)
	if err != nil {
		return err
	}
	for _, family := range families {
		routes, err := w.routes(ctx, hv, family)
		if err != nil {
			return err
		}
		p, _ := portOn(g, "public", family)
		via := gatewaysOf(routes[tableRoute{"public", metricLearned, p}], hops)
		for _, gateway := range via {
			if !addresses[gateway] {
				return fmt.Errorf("the route to %s on %s leads to %v", p, hv, via)
			}
		}
		if len(via) == 0 {
			return fmt.Errorf("%s has not learned a route to %s", hv, p)
		}
	}
	return nil
}

// gatewaysOf lists where a learned route leads to.
func gatewaysOf(r kernelRoute, hops map[uint32]kernelNextHop) (via []string) {
	hop := hops[r.NextHopID]
	for _, member := range hop.Group {
		via = append(via, hops[member.ID].Gateway)
	}
	if hop.Gateway != "" {
		via = append(via, hop.Gateway)
	}
	return via
}

// bgpWatch is what a hypervisor tells its reflectors of a prefix, from the wire.
type bgpWatch struct {
	watches []*lab.Watch
	hv      string
}

// listenToBGP looks at the port of each reflector.
func (w *world) listenToBGP(hv string, address netip.Addr) (*bgpWatch, error) {
	h, err := w.Topology.Hypervisor(hv)
	if err != nil {
		return nil, err
	}
	b := &bgpWatch{hv: hv}
	for _, u := range w.Topology.Uplinks(h) {
		p, err := w.Topology.Plane(u.Plane)
		if err != nil {
			return nil, err
		}
		for _, r := range p.Reflectors {
			if u.VRF != "public" {
				continue
			}
			watch, err := w.Watch(r.Node, u.VRF, lab.SpeaksOf(u.V4.Addr(), netip.PrefixFrom(address, address.BitLen())))
			if err != nil {
				return nil, err
			}
			b.watches = append(b.watches, watch)
		}
	}
	return b, nil
}

// nothing ends the watch and wants it to have seen nothing.
func (b *bgpWatch) nothing() error {
	var all []error
	for _, w := range b.watches {
		n, _, err := w.Stop()
		if err == nil && n > 0 {
			err = fmt.Errorf("%s spoke of it to %s %d times", b.hv, w.Node, n)
		}
		all = append(all, err)
	}
	return errors.Join(all...)
}
