package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/internal/lab"
)

// trying is the guest on which one client is tried after the other, on both of
// its interfaces: one in each VRF.
const trying = "vm1"

var bothInterfaces = []string{"eth0", "eth1"}

// switchOff cuts the guest's power: its clients say nothing to anybody.
func (w *world) switchOff(ctx context.Context) error {
	w.clients[trying] = nil
	return w.PowerOff(ctx, trying)
}

// switchOn boots the guest with clients, which start one by one.
func (w *world) switchOn(ctx context.Context, start ...func() (*lab.Client, error)) error {
	if err := w.PowerOn(ctx, trying); err != nil {
		return err
	}
	for _, s := range start {
		c, err := s()
		if err != nil {
			return err
		}
		w.clients[trying] = append(w.clients[trying], c)
	}
	return nil
}

// believes wants the guest to be configured, and the world to be there for it,
// without the routes that the client ignores.
func (w *world) believes(ctx context.Context, client string, ignored ...netip.Prefix) {
	w.story.Eventually(ctx, client+" has the addresses and routes of both networks, in both families", 3*settle, func() error {
		return w.Configured(ctx, trying, ignored...)
	})
	w.story.Eventually(ctx, "it reaches its neighbours and the internet with them", settle, func() error {
		probes := []probe{{from: trying, to: w.Topology.Internet4}, {from: trying, to: w.Topology.Internet6}}
		for _, family := range families {
			probes = append(probes, probe{from: trying, to: w.address("vm2", "public", family)}, probe{from: trying, to: w.address("vm4", "private", family)})
		}
		return w.all(ctx, slices.DeleteFunc(probes, func(p probe) bool {
			return slices.ContainsFunc(ignored, func(i netip.Prefix) bool { return i.Contains(p.to) })
		}))
	})
}

// gone wants a released address to have left the interface, in a family.
func (w *world) gone(ctx context.Context, iface string, family int) {
	w.story.Eventually(ctx, fmt.Sprintf("it releases its lease on %s and has no address of DHCPv%d there any more", iface, family), settle, func() error {
		i, _, err := w.port(trying, iface)
		if err != nil {
			return err
		}
		given := i.V4
		if family == 6 {
			given = i.V6
		}
		have, err := w.GuestAddresses(ctx, trying, iface)
		for _, a := range have {
			if a.Addr() == given {
				return fmt.Errorf("it still has %s", a)
			}
		}
		return err
	})
}

func (w *world) tryUdhcpc(ctx context.Context) error {
	clients, err := w.BootGuest(ctx, trying)
	if err != nil {
		return err
	}
	w.clients[trying] = clients
	w.believes(ctx, "udhcpc")
	w.story.Check("it was told what the networks say", w.rightlyTold(trying))
	if err := w.showTold(ctx, trying); err != nil {
		return err
	}
	for _, iface := range bothInterfaces {
		w.story.Check("it renews its lease on "+iface+" when it is asked to", w.renews(ctx, trying, iface))
	}
	for _, c := range clients {
		if strings.HasSuffix(c.Name, "udhcpc") {
			if err := c.Release(ctx); err != nil {
				return err
			}
			w.gone(ctx, c.Interface, 4)
		}
	}
	return w.switchOff(ctx)
}

func (w *world) tryDhclient(ctx context.Context) error {
	boot := func() error {
		return w.switchOn(ctx,
			func() (*lab.Client, error) { return w.Dhclient(ctx, trying, "eth0", 4) },
			func() (*lab.Client, error) { return w.Dhclient(ctx, trying, "eth1", 4) },
			func() (*lab.Client, error) { return w.Dhclient(ctx, trying, "eth1", 6) })
	}
	if err := boot(); err != nil {
		return err
	}
	w.believes(ctx, "dhclient")
	w.story.Check("it was told what the networks say", w.rightlyTold(trying))
	if err := errors.Join(w.switchOff(ctx), boot()); err != nil {
		return err
	}
	w.believes(ctx, "after the reboot, dhclient")
	for n, word := range []string{"DHCPDISCOVER", "DHCPDISCOVER", "XMT: Solicit"} {
		c := w.clients[trying][n]
		said, err := c.Said()
		if err == nil && strings.Contains(said, word) {
			err = fmt.Errorf("it began anew, with %s", word)
		}
		w.story.Check(c.Name+" was confirmed the address that it remembered", err)
	}
	for n, family := range []int{4, 4, 6} {
		c := w.clients[trying][n]
		if err := c.Release(ctx); err != nil {
			return err
		}
		w.gone(ctx, c.Interface, family)
	}
	return w.switchOff(ctx)
}

func (w *world) tryDhcpcd(ctx context.Context) error {
	boot := func() error {
		return w.switchOn(ctx, func() (*lab.Client, error) { return w.Dhcpcd(ctx, trying, bothInterfaces) })
	}
	if err := boot(); err != nil {
		return err
	}
	_, private, err := w.port(trying, "eth1")
	if err != nil {
		return err
	}
	w.story.Say("dhcpcd 9 takes no routes from router advertisements (RFC 4191), so it has none to the rest of %s.", private.V6)
	w.believes(ctx, "dhcpcd, which looks for duplicates first,", private.V6)
	c := w.clients[trying][0]
	if err := c.Renew(ctx); err != nil {
		return err
	}
	_, err = c.Await(ctx, 2, "RENEW")
	w.story.Check("it renews both leases when it is asked to", err)
	if err := errors.Join(w.switchOff(ctx), boot()); err != nil {
		return err
	}
	c = w.clients[trying][0]
	w.believes(ctx, "after the reboot, dhcpcd", private.V6)
	said, err := c.Said()
	if err == nil && strings.Contains(said, "DISCOVER") {
		err = errors.New("it began anew, with DISCOVER")
	}
	w.story.Check("it was confirmed both IPv4 addresses that it remembered", err)
	if err := c.Release(ctx); err != nil {
		return err
	}
	w.gone(ctx, "eth0", 4)
	w.gone(ctx, "eth1", 4)
	w.gone(ctx, "eth1", 6)
	return w.switchOff(ctx)
}

func (w *world) tryNetworkd(ctx context.Context) error {
	err := w.switchOn(ctx, func() (*lab.Client, error) { return w.Networkd(ctx, trying, bothInterfaces...) })
	if err != nil {
		return err
	}
	w.believes(ctx, "systemd-networkd")
	for _, iface := range bothInterfaces {
		lease, err := w.NetworkdLease(ctx, trying, iface)
		if err == nil {
			err = w.right(lease, trying, iface)
		}
		w.story.Check("it was told on "+iface+" what the network says", err)
	}
	return w.switchOff(ctx)
}

// delegate has vm3's client ask for its address and for a prefix.
func (w *world) delegate(ctx context.Context) error {
	const guest = "vm3"
	clients := w.clients[guest]
	for n, c := range clients {
		if c.Name != "eth0-dhclient6" {
			continue
		}
		if err := c.End(ctx); err != nil {
			return err
		}
		both, err := w.Dhclient(ctx, guest, "eth0", 6, "-N", "-P")
		if err != nil {
			return err
		}
		clients[n] = both
		w.story.Eventually(ctx, guest+" is delegated the prefix that is routed to it, and keeps its address", settle, func() error {
			return toldOf(both, map[string]string{"delegated": routed.String(), "address": w.address(guest, "flat", 6).String() + "/128"})
		})
	}
	inside := routed.Addr().Next()
	if _, err := w.Exec(ctx, guest, "ip", "address", "add", inside.String()+"/128", "dev", "lo"); err != nil {
		return err
	}
	w.story.Eventually(ctx, "an address of the prefix, behind the guest, answers from another hypervisor", settle, func() error {
		return w.all(ctx, []probe{{from: "vm2", to: inside}})
	})
	return nil
}

// toldOf wants a client to have been told facts, in any order and in several
// tellings.
func toldOf(c *lab.Client, facts map[string]string) error {
	all, err := c.Told()
	if err != nil {
		return err
	}
	for name, value := range facts {
		found := false
		for _, t := range all {
			found = found || t.Fact(name) == value
		}
		if !found {
			return fmt.Errorf("it was not told that %s is %s", name, value)
		}
	}
	return nil
}
