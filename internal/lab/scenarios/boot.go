package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/lab"
)

// bootGuests switches all guests on. Until then they have two cables and no
// address.
func (w *world) bootGuests(ctx context.Context) error {
	w.story.Say("A guest has a cable for each network, and a kernel that listens to router advertisements. It runs udhcpc on")
	w.story.Say("both cables, and dhclient -6 where a network gives addresses by DHCPv6. Nobody else configures anything in it.")
	start := time.Now()
	clients, err := w.BootGuests(ctx)
	if err != nil {
		return err
	}
	w.clients = clients
	for _, g := range w.Topology.Guests {
		w.awaitConfigured(ctx, g.Name)
	}
	w.story.MeasureTime("guests switched on → all of them configured", time.Since(start))
	for _, g := range w.Topology.Guests {
		w.story.Check("DHCP told "+g.Name+" what its networks say: addresses, routers or routes, DNS, domain, MTU, lease, name", w.rightlyTold(g.Name))
	}
	return w.showTold(ctx, "vm1")
}

// awaitConfigured wants a guest to have everything that its networks give.
func (w *world) awaitConfigured(ctx context.Context, guest string) {
	w.story.Eventually(ctx, guest+" has its addresses and routes, both families, both networks", 3*settle, func() error {
		return w.Configured(ctx, guest)
	})
}

// showTold shows what a guest has, and from whom.
func (w *world) showTold(ctx context.Context, guest string) error {
	for _, command := range []string{"ip -brief address show up", "ip -4 route", "ip -6 route show default"} {
		out, err := w.Exec(ctx, guest, strings.Fields(command)...)
		if err != nil {
			return err
		}
		w.story.Show("ip netns exec "+w.Topology.Namespace(guest)+" "+command, out)
	}
	var table strings.Builder
	columns := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columns, "INTERFACE\tCLIENT\tADDRESS\tFROM\tDNS")
	for _, c := range w.clients[guest] {
		told, err := lastLease(c)
		if err != nil {
			return err
		}
		fmt.Fprintf(columns, "%s\t%s\t%s\t%s\t%s\n", c.Interface, told.Client, told.Fact("address"), told.Fact("server"), told.Fact("dns"))
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	w.story.Show("what "+guest+"'s clients were told", table.String())
	return nil
}

// granted are the events by which clients tell of a lease.
var granted = []string{"bound", "renew", "BOUND", "RENEW", "REBIND", "REBOOT", "BOUND6", "RENEW6", "REBIND6", "REBOOT6"}

// lastLease is the last telling of an address. A client that has a prefix too is
// told of it in another.
func lastLease(c *lab.Client) (last lab.Told, err error) {
	all, err := c.Told()
	for _, t := range all {
		if slices.Contains(granted, t.Event) && t.Fact("address") != "" {
			last = t
		}
	}
	if err == nil && last.Event == "" {
		err = lab.ErrNotTold
	}
	return last, err
}

// rightlyTold wants the last lease of each of a guest's clients to say what its
// network does.
func (w *world) rightlyTold(guest string) error {
	var wrong []error
	for _, c := range w.clients[guest] {
		told, err := lastLease(c)
		if err == nil {
			err = w.right(told, guest, c.Interface)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", c.Name, err))
		}
	}
	return errors.Join(wrong...)
}

// right compares a lease with what a guest's network says.
func (w *world) right(told lab.Told, guest, iface string) error {
	i, n, err := w.port(guest, iface)
	if err != nil {
		return err
	}
	want := leaseOf4(n, i, guest)
	if strings.HasSuffix(told.Event, "6") {
		want = map[string]string{"address": i.V6.String(), "dns": only(n.DNS, netip.Addr.Is6)}
	}
	for fact, value := range want {
		got := told.Fact(fact)
		if fact == "address" {
			got, _, _ = strings.Cut(got, "/") // clients write the length in several ways
		}
		if got != value {
			return fmt.Errorf("it was told %s %q, want %q", fact, got, value)
		}
	}
	return nil
}

// port finds a guest's interface and its network.
func (w *world) port(guest, iface string) (lab.Interface, lab.Network, error) {
	g, err := w.Topology.Guest(guest)
	if err != nil {
		return lab.Interface{}, lab.Network{}, err
	}
	for _, i := range g.Interfaces {
		if i.Name == iface {
			n, err := w.Topology.Network(i.Network)
			return i, n, err
		}
	}
	return lab.Interface{}, lab.Network{}, fmt.Errorf("guest %s has no interface %s", guest, iface)
}

// leaseOf4 is what DHCPv4 has to say in a network.
func leaseOf4(n lab.Network, i lab.Interface, guest string) map[string]string {
	want := map[string]string{
		"address": i.V4.String(), "server": n.Gateway(false).String(), "dns": only(n.DNS, netip.Addr.Is4), "domain": n.Domain, "mtu": "",
		"lease": "3600", "hostname": guest,
	}
	if n.MTU != 0 {
		want["mtu"] = fmt.Sprint(n.MTU)
	}
	if n.Lease != 0 {
		want["lease"] = fmt.Sprint(n.Lease)
	}
	if n.DHCP != events.DHCPHost && len(n.Routes) == 0 {
		want["routers"] = n.Gateway(false).String()
	}
	return want
}

// only lists the addresses of a family as clients do.
func only(all []netip.Addr, family func(netip.Addr) bool) string {
	var some []string
	for _, a := range all {
		if family(a) {
			some = append(some, a.String())
		}
	}
	return strings.Join(some, " ")
}

// renews has a guest's DHCPv4 client renew its lease now, and wants what it is
// told to be right.
func (w *world) renews(ctx context.Context, guest, iface string) error {
	for _, c := range w.clients[guest] {
		if c.Interface != iface {
			continue
		}
		renewed := []string{"renew", "RENEW"}
		_, before, err := c.Last(renewed...)
		if err != nil {
			return err
		}
		if err := c.Renew(ctx); errors.Is(err, lab.ErrNoCommand) {
			continue
		} else if err != nil {
			return err
		}
		told, err := c.Await(ctx, before+1, renewed...)
		if err != nil {
			return err
		}
		return w.right(told, guest, iface)
	}
	return fmt.Errorf("%s has no client on %s that could renew: %w", guest, iface, lab.ErrNoCommand)
}
