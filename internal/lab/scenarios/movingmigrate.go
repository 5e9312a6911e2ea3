package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
	"github.com/hostroute/hostroute/internal/lab/scenario"
)

// moving is serving with guests that are mobile.
func moving(name, summary string, mobile []string, chapters ...chapter) scenario.Scenario {
	return servingOn(lab.Reference().WithMobile(mobile...), "Three hypervisors serve four guests over two planes", func(*world) error { return nil }, name, summary, chapters...)
}

var migrate = moving("migrate", "a guest that runs moves from host to host; what it loses is its own pause and some ms", []string{"vm1"},
	chapter{"vm1 gets all kinds of addresses, and asks DHCP", (*world).giveAllKinds},
	chapter{"The log is told when the guest is paused", func(w *world, ctx context.Context) error { return w.migrations(ctx, handover{atPause: true}) }},
	chapter{"The log is told when the guest goes on, which its arrival announces, too", func(w *world, ctx context.Context) error { return w.migrations(ctx, handover{announce: lab.RARP}) }},
	chapter{"The other two: told at its pause and announced, told as it goes on and not announced", func(w *world, ctx context.Context) error {
		if w.story.Short {
			w.story.Say("Left out by --short.")
			return nil
		}
		return errors.Join(w.migrations(ctx, handover{atPause: true, announce: lab.GARP}), w.migrations(ctx, handover{}))
	}},
	chapter{"The guest has noticed nothing", (*world).guestSawNothing},
)

// handover is how a migration is told.
type handover struct {
	atPause  bool             // VMMigrated is published when the guest is paused, and otherwise when it goes on
	announce lab.Announcement // on the destination's tap; empty: none
}

func (h handover) String() string {
	when := "told as it goes on"
	if h.atPause {
		when = "told at its pause"
	}
	if h.announce != "" {
		return when + ", " + string(h.announce)
	}
	return when + ", no announcement"
}

// allKinds are what vm1 has beside its primary addresses, by what the guest is
// reached at.
var allKinds = []struct {
	role   string
	prefix netip.Prefix
	at     netip.Addr
}{
	{"secondary", netip.MustParsePrefix("203.0.113.50/32"), netip.MustParseAddr("203.0.113.50")},
	{"elastic", netip.MustParsePrefix("203.0.113.51/32"), netip.MustParseAddr("203.0.113.51")},
	{"routed", netip.MustParsePrefix("2001:db8:cb00:7130::/64"), netip.MustParseAddr("2001:db8:cb00:7130::5")},
}

func (w *world) giveAllKinds(ctx context.Context) error {
	var err error
	if w.carriers, err = w.carrierChanges(ctx, "vm1"); err != nil {
		return err
	}
	client, err := w.Udhcpc(ctx, "vm1", "eth0")
	if err != nil {
		return err
	}
	if _, err := client.Await(ctx, 1, "bound"); err != nil {
		return err
	}
	w.clients["vm1"] = []*lab.Client{client}
	for _, k := range allKinds {
		if _, err := w.Exec(ctx, "vm1", "ip", "address", "add", k.at.String(), "dev", "lo"); err != nil {
			return err
		}
		if err := w.publish(ctx, "ip", "assign", k.prefix.String(), "--vm", "vm1", "--interface", "tap1", "--role", k.role); err != nil {
			return err
		}
		w.story.Eventually(ctx, "the internet reaches its "+k.role+" prefix", settle, func() error {
			return w.all(ctx, []probe{{from: lab.NodeEdge, to: k.at, via: w.internet(k.at).String()}})
		})
	}
	return nil
}

// rounds is how many moves are made of each kind.
func (w *world) rounds() int {
	if w.story.Short {
		return 2
	}
	return 20
}

// migrations move vm1 around.
func (w *world) migrations(ctx context.Context, h handover) error {
	m := &moves{world: w, guest: "vm1", peers: []string{lab.NodeEdge, "vm2", "vm3", "vm4"}, extra: map[netip.Addr]string{}, gaps: newGaps()}
	for _, k := range allKinds {
		m.extra[k.at] = k.role
	}
	if err := m.start(ctx); err != nil {
		return err
	}
	defer m.end(ctx)
	for range w.rounds() {
		if err := m.migrate(ctx, w.next(w.homes["vm1"]), h); err != nil {
			return err
		}
	}
	m.gaps.tell(w.story, h.String())
	m.unharmed(ctx)
	return nil
}

// next is the hypervisor after another.
func (w *world) next(hv string) string {
	i := slices.IndexFunc(w.Topology.Hypervisors, func(h lab.Hypervisor) bool { return h.Name == hv })
	return w.Topology.Hypervisors[(i+1)%len(w.Topology.Hypervisors)].Name
}

// migrate moves the guest as a control plane and two monitors do.
func (m *moves) migrate(ctx context.Context, to string, h handover) error {
	from := m.homes[m.guest]
	if err := m.prepare(ctx, to); err != nil {
		return err
	}
	first := m.traffic.Sent()
	pause, err := m.handOver(ctx, to, h)
	if err != nil {
		return err
	}
	if err := m.RemoveTaps(ctx, m.guest, from); err != nil {
		return err
	}
	m.homes[m.guest] = to
	if err := m.settled(ctx); err != nil {
		return fmt.Errorf("%s has moved from %s to %s: %w", m.guest, from, to, err)
	}
	m.lost(first, from, to, pause)
	return nil
}

// prepare has the destination expect the guest, and waits until it does.
func (m *moves) prepare(ctx context.Context, to string) error {
	if err := m.control.publish(ctx, "VMMigrationStarted", map[string]any{"vm": m.guest, "to": to}); err != nil {
		return err
	}
	if err := m.AddTaps(ctx, m.guest, to); err != nil {
		return err
	}
	return lab.Eventually(ctx, to+" to be prepared for "+m.guest, settle, func() error { return m.prepared(ctx, m.guest, to) })
}

// handOver is the moment: it returns how long the guest stood still.
func (m *moves) handOver(ctx context.Context, to string, h handover) (time.Duration, error) {
	moved := func() error { return m.control.publish(ctx, "VMMigrated", map[string]any{"vm": m.guest, "to": to}) }
	began := time.Now()
	if err := m.Pause(m.guest); err != nil {
		return 0, err
	}
	told := make(chan error, 1)
	if h.atPause {
		go func() { told <- moved() }()
	}
	<-time.After(guestPause)
	err := m.Resume(m.guest, to)
	pause := time.Since(began)
	if h.announce != "" {
		err = errors.Join(err, m.Announce(m.guest, to, h.announce))
	}
	if !h.atPause {
		told <- moved()
	}
	return pause, errors.Join(err, <-told)
}

// guestSawNothing compares what the guest knows with what every hypervisor is to
// it, and has it ask DHCP again.
func (w *world) guestSawNothing(ctx context.Context) error {
	w.story.Check("its gateways of both families are at the same hardware address as ever", w.gatewayMACs(ctx, "vm1"))
	now, err := w.carrierChanges(ctx, "vm1")
	if err == nil && now != w.carriers {
		err = fmt.Errorf("it changed %s times, and %s before", now, w.carriers)
	}
	w.story.Check("its carrier never changed", err)
	w.story.Check("its lease is renewed where it is now, and says the same", w.renews(ctx, "vm1", "eth0"))
	return nil
}
