package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/hostroute/hostroute/events"
)

// makeGuest makes a guest as a hypervisor does: a machine with cables to its taps. It is switched off.
func (l *Lab) makeGuest(ctx context.Context, g Guest) error {
	if g.Mobile {
		return l.makeMobile(ctx, g)
	}
	var b batch
	b.add("link set lo up")
	for _, i := range g.Interfaces {
		b.add("link add %s address %s type veth peer name %s netns %s", i.Name, i.MAC, i.Tap, l.Topology.Namespace(g.Hypervisor))
	}
	return b.run(ctx, l.Topology.Namespace(g.Name))
}

// guestSettings are those of a Linux guest that was given no configuration: it takes router advertisements and the
// routes in them, forms its addresses from its hardware address, and looks for duplicates of them.
var guestSettings = []string{
	"net.ipv6.conf.default.accept_ra=1", "net.ipv6.conf.default.accept_ra_rt_info_max_plen=128", "net.ipv6.conf.default.autoconf=1",
	"net.ipv6.conf.default.accept_dad=1", "net.ipv6.conf.default.addr_gen_mode=0", "net.ipv6.conf.default.use_tempaddr=0",
}

// BootGuests switches all guests on, at the same time, and returns the clients of each.
func (l *Lab) BootGuests(ctx context.Context) (map[string][]*Client, error) {
	clients, errs := make([][]*Client, len(l.Topology.Guests)), make([]error, len(l.Topology.Guests))
	var group sync.WaitGroup
	for n, g := range l.Topology.Guests {
		group.Go(func() { clients[n], errs[n] = l.BootGuest(ctx, g.Name) })
	}
	group.Wait()
	all := map[string][]*Client{}
	for n, g := range l.Topology.Guests {
		all[g.Name] = clients[n]
	}
	return all, errors.Join(errs...)
}

// BootGuest switches a guest on: its links, and on each interface udhcpc, and dhclient -6 where the network gives
// addresses by DHCPv6. The kernel does the rest of IPv6. No address comes from anywhere else.
func (l *Lab) BootGuest(ctx context.Context, guest string) ([]*Client, error) {
	g, err := l.Topology.Guest(guest)
	if err != nil {
		return nil, err
	}
	if err := l.PowerOn(ctx, guest); err != nil {
		return nil, err
	}
	var clients []*Client
	for _, i := range g.Interfaces {
		n, err := l.Topology.Network(i.Network)
		if err != nil {
			return clients, err
		}
		c, err := l.Udhcpc(ctx, guest, i.Name)
		if err != nil {
			return clients, err
		}
		clients = append(clients, c)
		if n.IPv6 != events.IPv6DHCP && n.IPv6 != events.IPv6Shared {
			continue
		}
		if c, err = l.Dhclient(ctx, guest, i.Name, 6); err != nil {
			return clients, err
		}
		clients = append(clients, c)
	}
	return clients, nil
}

// PowerOn sets a guest's links up, with no client: an operating system's first second.
func (l *Lab) PowerOn(ctx context.Context, guest string) error { return l.setGuest(ctx, guest, "up") }

// PowerOff cuts a guest's power: every program in it is gone without a word, and with the links every address and
// route that it has learnt. What clients keep on their disks stays.
func (l *Lab) PowerOff(ctx context.Context, guest string) error {
	err := endAll(ctx, []string{l.Topology.Namespace(guest)}, syscall.SIGKILL)
	if err := errors.Join(err, l.setGuest(ctx, guest, "down")); err != nil {
		return fmt.Errorf("switching %s off: %w", guest, err)
	}
	// Clients that look after router advertisements themselves have turned the kernel's off.
	g, err := l.Topology.Guest(guest)
	if err != nil {
		return err
	}
	var settings []string
	for _, i := range g.Interfaces {
		settings = append(settings, "net.ipv6.conf."+i.Name+".accept_ra=1", "net.ipv6.conf."+i.Name+".autoconf=1",
			"net.ipv6.conf."+i.Name+".addr_gen_mode=0", "net.ipv6.conf."+i.Name+".disable_ipv6=0")
	}
	return sysctl(l.Topology.Namespace(guest), settings...)
}

func (l *Lab) setGuest(ctx context.Context, guest, state string) error {
	g, err := l.Topology.Guest(guest)
	if err != nil {
		return err
	}
	var b batch
	for _, i := range g.Interfaces {
		if state == "down" {
			b.add("address flush dev %s", i.Name)
		}
		b.add("link set %s %s", i.Name, state)
	}
	if err := b.run(ctx, l.Topology.Namespace(guest)); err != nil {
		return fmt.Errorf("setting the links of %s %s: %w", guest, state, err)
	}
	return nil
}

// GuestAddress is an address of a guest's interface, as its kernel tells it.
type GuestAddress struct {
	Local     netip.Addr `json:"local"`
	Length    int        `json:"prefixlen"`
	Scope     string     `json:"scope"`
	Tentative bool       `json:"tentative"`
	Failed    bool       `json:"dadfailed"`
}

// GuestAddresses lists the addresses of a guest's interface that are not link-local, and may be used.
func (l *Lab) GuestAddresses(ctx context.Context, guest, iface string) ([]netip.Prefix, error) {
	out, err := l.Exec(ctx, guest, "ip", "-j", "address", "show", "dev", iface)
	if err != nil {
		return nil, err
	}
	var links []struct {
		Addresses []GuestAddress `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return nil, fmt.Errorf("reading the addresses of %s in %s: %w", iface, guest, err)
	}
	var all []netip.Prefix
	for _, link := range links {
		for _, a := range link.Addresses {
			if a.Scope != "link" && !a.Tentative && !a.Failed {
				all = append(all, netip.PrefixFrom(a.Local, a.Length))
			}
		}
	}
	return all, nil
}

// GuestRoutes lists what a guest reaches through a gateway on an interface, "default" as prefixes of length 0.
func (l *Lab) GuestRoutes(ctx context.Context, guest, iface string) (map[netip.Prefix]netip.Addr, error) {
	routes := map[netip.Prefix]netip.Addr{}
	for _, family := range []string{"-4", "-6"} {
		out, err := l.Exec(ctx, guest, "ip", family, "-j", "route", "show", "dev", iface)
		if err != nil {
			return nil, err
		}
		var list []struct {
			Dst     string `json:"dst"`
			Gateway string `json:"gateway"`
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return nil, fmt.Errorf("reading the routes of %s in %s: %w", iface, guest, err)
		}
		for _, r := range list {
			via, err := netip.ParseAddr(r.Gateway)
			if err != nil {
				continue // on the link
			}
			dst, err := ParseDestination(r.Dst, via.Is6())
			if err != nil {
				return nil, fmt.Errorf("reading the routes of %s in %s: %w", iface, guest, err)
			}
			routes[dst] = via
		}
	}
	return routes, nil
}

// ParseDestination reads a route's destination as ip(8) writes it.
func ParseDestination(text string, v6 bool) (netip.Prefix, error) {
	switch a, err := netip.ParseAddr(text); {
	case text == "default" && v6:
		return netip.MustParsePrefix("::/0"), nil
	case text == "default":
		return netip.MustParsePrefix("0.0.0.0/0"), nil
	case err == nil:
		return netip.PrefixFrom(a, a.BitLen()), nil
	default:
		return netip.ParsePrefix(text)
	}
}

// Configured wants a guest to have the addresses of the topology on every interface, with the lengths that its
// networks' styles tell, and the routes that they teach, but for those that its client is known to ignore.
func (l *Lab) Configured(ctx context.Context, guest string, ignored ...netip.Prefix) error {
	g, err := l.Topology.Guest(guest)
	if err != nil {
		return err
	}
	for _, i := range g.Interfaces {
		if err := l.configured(ctx, guest, i, ignored); err != nil {
			return fmt.Errorf("%s of %s: %w", i.Name, guest, err)
		}
	}
	return nil
}

func (l *Lab) configured(ctx context.Context, guest string, i Interface, ignored []netip.Prefix) error {
	n, err := l.Topology.Network(i.Network)
	if err != nil {
		return err
	}
	got, err := l.GuestAddresses(ctx, guest, i.Name)
	if err != nil {
		return err
	}
	for _, want := range n.addresses(i) {
		if !slices.Contains(got, want) {
			return fmt.Errorf("it has %v and not %s", got, want)
		}
	}
	routes, err := l.GuestRoutes(ctx, guest, i.Name)
	if err != nil {
		return err
	}
	for _, dst := range n.taught() {
		want := n.Gateway(dst.Addr().Is6())
		if via := routes[dst]; via != want && !slices.Contains(ignored, dst) {
			return fmt.Errorf("its route to %s is by %v and not by %s", dst, via, want)
		}
	}
	return nil
}
