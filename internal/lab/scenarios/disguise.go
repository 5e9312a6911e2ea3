package scenarios

import (
	"context"
	"fmt"
	"io"
	"net/netip"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/lab"
	"github.com/hostroute/hostroute/internal/lab/scenario"
)

// disguise is the promise to guests, that they are on an ordinary subnet, and
// the one to everybody else, that a guest can be nothing but itself.
var disguise = scenario.Scenario{
	Name:     "disguise",
	Summary:  "real DHCP and IPv6 clients believe that they sit on an ordinary subnet, and none can be anybody else",
	NeedsVRF: true,
	Tell:     tellDisguise,
}

// disguised is the reference topology with a third network, in the styles that
// the other two don't have: vm3 and vm4, on different hypervisors, are in it
// instead of the public one. Leases are short, so that clients renew by
// themselves while the story is told.
func disguised() lab.Topology {
	t := lab.Reference()
	flat := lab.Network{
		Name: "flat", VRF: "public", DHCP: events.DHCPHost, IPv6: events.IPv6Shared, Allocation6: 128,
		V4: netip.MustParsePrefix("192.0.2.128/25"), V6: netip.MustParsePrefix("2001:db8:cb00:7200::/64"),
		Gateway6: netip.MustParseAddr("fe80::1"), Routed6: netip.MustParsePrefix("2001:db8:cb00:7300::/56"),
		DNS: t.Networks[0].DNS, Domain: "flat.example",
	}
	t.Networks = append(t.Networks, flat)
	for n := range t.Networks {
		t.Networks[n].Lease = 120
	}
	for _, n := range []int{3, 4} {
		i := &t.Guests[n-1].Interfaces[0]
		v6 := netip.MustParseAddr(fmt.Sprintf("2001:db8:cb00:7200::%d", n))
		i.Network, i.V6, i.Prefix6 = flat.Name, v6, netip.PrefixFrom(v6, 128)
		i.V4 = netip.AddrFrom4([4]byte{192, 0, 2, byte(130 + n)})
	}
	return t
}

// routed is the prefix that is routed to vm3 beside its address.
var routed = netip.MustParsePrefix("2001:db8:cb00:7303::/64")

func tellDisguise(ctx context.Context, s *scenario.Story) error {
	w, err := newWorld(ctx, s, disguised())
	if err != nil {
		return err
	}
	s.OnFailure(func(out io.Writer) { w.Logs(out, 25) })
	for _, chapter := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"Four guests in three networks are published, in every style there is", w.publishStyles},
		{"Three of them boot as small Linux systems do", w.bootOthers},
		{"busybox udhcpc, with the kernel for IPv6", w.tryUdhcpc},
		{"ISC dhclient, both families, and a reboot with remembered addresses", w.tryDhclient},
		{"dhcpcd, both families, and a reboot with remembered addresses", w.tryDhcpcd},
		{"systemd-networkd, both families", w.tryNetworkd},
		{"A routed prefix is delegated", w.delegate},
		{"Who answers whom: routers, neighbours, ARP", w.neighbourhood},
		{"A guest that claims to be another is seen nowhere", w.spoof},
		{"Guests reach no service of any host, and ping their gateways", w.hostServices},
		{"An agent is killed: the filter stays, guests keep what they have; it comes back and says no goodbye", w.killedAgent},
		{"Leases were renewed all the time", w.renewedAlone},
	} {
		if err := s.Step(ctx, chapter.title, chapter.tell); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) publishStyles(ctx context.Context) error {
	if _, err := w.StartLog(ctx, w.story.Binary); err != nil {
		return err
	}
	for _, h := range w.Topology.Hypervisors {
		if _, err := w.StartAgent(ctx, w.story.Binary, h.Name); err != nil {
			return err
		}
	}
	w.story.Say("public:  DHCPv4 classic, IPv6 by SLAAC in a /64 of its own       vm1, vm2 on hv1")
	w.story.Say("private: DHCPv4 classic, IPv6 by DHCPv6, no default route, in the other VRF   all four")
	w.story.Say("flat:    DHCPv4 with a /32, IPv6 in a /64 that all share         vm3 on hv2, vm4 on hv3")
	if err := w.publish(ctx, "publish", w.WorldFile()); err != nil {
		return err
	}
	if err := w.publish(ctx, "ip", "assign", routed.String(), "--vm", "vm3", "--role", "routed"); err != nil {
		return err
	}
	w.story.Eventually(ctx, "every agent is healthy: caught up, all sessions established, all taps served", 3*settle, func() error {
		return w.everywhere(func(hv string) error { return w.healthy(ctx, hv) })
	})
	return nil
}

// bootOthers leaves vm1 off: it is for one client after the other.
func (w *world) bootOthers(ctx context.Context) error {
	others := []string{"vm2", "vm3", "vm4"}
	for _, guest := range others {
		clients, err := w.BootGuest(ctx, guest)
		if err != nil {
			return err
		}
		w.clients[guest] = clients
	}
	for _, guest := range others {
		w.awaitConfigured(ctx, guest)
		w.story.Check("DHCP told "+guest+" what its networks say", w.rightlyTold(guest))
	}
	w.story.Eventually(ctx, "the two of the shared /64 reach each other across hypervisors, in both families", settle, func() error {
		return w.all(ctx, []probe{
			{from: "vm3", to: w.address("vm4", "flat", 4)}, {from: "vm3", to: w.address("vm4", "flat", 6)},
			{from: "vm4", to: w.address("vm3", "flat", 4)}, {from: "vm4", to: w.address("vm3", "flat", 6)},
		})
	})
	return w.showTold(ctx, "vm3")
}

// renewedAlone waits for the renewal that every client does after half of its
// lease. Most of that time has passed with the story.
func (w *world) renewedAlone(ctx context.Context) error {
	for _, guest := range []string{"vm3", "vm4"} {
		for _, c := range w.clients[guest] {
			w.story.Eventually(ctx, fmt.Sprintf("%s of %s has renewed its lease by itself", c.Name, guest), 2*settle, func() error {
				_, renewals, err := c.Last("renew", "RENEW6")
				if err == nil && renewals == 0 {
					err = lab.ErrNotTold
				}
				return err
			})
		}
		w.story.Check("and "+guest+" was told the same as before", w.rightlyTold(guest))
	}
	return nil
}
