package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/hostroute/hostroute/internal/lab"
)

var elasticMove = serving("elastic-move", "an elastic address moves between guests, of different hosts and of one; never has it two owners or none for long",
	chapter{"vm1 gets two elastic prefixes", (*world).giveElastic},
	chapter{"They move between vm1 on hv1 and vm3 on hv2", func(w *world, ctx context.Context) error { return w.elasticBetween(ctx, "vm1", "vm3") }},
	chapter{"They move between vm1 and vm2, both on hv1", func(w *world, ctx context.Context) error { return w.elasticBetween(ctx, "vm1", "vm2") }},
	chapter{"They are released", (*world).releaseElastic},
)

// elastic are the prefixes that move, and the address that is used of each.
var elastic = []struct {
	prefix netip.Prefix
	at     netip.Addr
}{
	{netip.MustParsePrefix("203.0.113.60/32"), netip.MustParseAddr("203.0.113.60")},
	{netip.MustParsePrefix("2001:db8:cb00:7140::/64"), netip.MustParseAddr("2001:db8:cb00:7140::5")},
}

// giveElastic has all guests configured with what one of them at a time owns.
func (w *world) giveElastic(ctx context.Context) error {
	for _, e := range elastic {
		for _, guest := range []string{"vm1", "vm2", "vm3"} {
			if _, err := w.Exec(ctx, guest, "ip", "address", "add", e.at.String(), "dev", "lo", "nodad"); err != nil {
				return err
			}
		}
		if err := w.publish(ctx, "ip", "assign", e.prefix.String(), "--vm", "vm1", "--interface", "tap1", "--role", "elastic"); err != nil {
			return err
		}
	}
	return nil
}

// elasticBetween begins and ends with the first guest as the owner.
func (w *world) elasticBetween(ctx context.Context, first, second string) error {
	m := &moves{world: w, guest: first, peers: []string{lab.NodeEdge, "vm4"}, gaps: newGaps()}
	var err error
	if m.control, err = w.connect(ctx); err != nil {
		return err
	}
	var flows []lab.Flow
	for _, e := range elastic {
		family := 4
		if e.at.Is6() {
			family = 6
		}
		for _, peer := range []struct {
			node string
			at   netip.Addr
		}{{lab.NodeEdge, w.internet(e.at)}, {"vm4", w.address("vm4", "public", family)}} {
			flows = append(flows, lab.Flow{From: peer.node, To: first, OtherTo: second, Source: peer.at, Target: e.at},
				lab.Flow{From: first, OtherFrom: second, To: peer.node, Source: e.at, Target: peer.at})
		}
	}
	if m.traffic, err = w.StartTraffic(probing(), flows...); err != nil {
		return err
	}
	defer m.end(ctx)
	if err := errors.Join(m.settled(ctx), m.countErrors()); err != nil {
		return err
	}
	owner := first
	for range 2 * ((w.rounds() + 1) / 2) {
		to := other(first, second, owner)
		if err := m.moveElastic(ctx, owner, to); err != nil {
			return err
		}
		owner = to
	}
	m.gaps.tell(w.story, "between "+first+" and "+second)
	m.unharmed(ctx)
	return nil
}

// moveElastic moves both prefixes, each by an event.
func (m *moves) moveElastic(ctx context.Context, from, to string) error {
	first := m.traffic.Sent()
	g, err := m.Topology.Guest(to)
	if err != nil {
		return err
	}
	for _, e := range elastic {
		if err := m.control.publish(ctx, "IPMoved", map[string]any{"prefix": e.prefix, "to": to, "interface": g.Interfaces[0].Tap}); err != nil {
			return err
		}
	}
	if err := m.settled(ctx); err != nil {
		return fmt.Errorf("the elastic prefixes have moved from %s to %s: %w", from, to, err)
	}
	m.lost(first, m.homes[from], m.homes[to], 0)
	return nil
}

func (w *world) releaseElastic(ctx context.Context) error {
	for _, e := range elastic {
		if err := w.publish(ctx, "ip", "release", e.prefix.String()); err != nil {
			return err
		}
	}
	w.story.Eventually(ctx, "no hypervisor has a route to them", settle, func() error {
		return w.everywhere(func(hv string) error {
			for _, family := range families {
				routes, err := w.routes(ctx, hv, family)
				if err != nil {
					return err
				}
				for at, r := range routes {
					if at.prefix == elastic[0].prefix || at.prefix == elastic[1].prefix {
						return fmt.Errorf("a route to %s with metric %d is still there: %+v", at.prefix, at.metric, r)
					}
				}
			}
			return nil
		})
	})
	w.story.Check("and they don't answer", w.none(ctx, []probe{{from: "vm4", to: elastic[0].at}, {from: "vm4", to: elastic[1].at}}))
	return nil
}
