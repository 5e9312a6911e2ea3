package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
)

// PowerOffHost cuts a hypervisor's power: its programs are gone without a word, with its kernel's state and all of its
// cables, those of the guests that the topology gives it included, and all taps of mobile guests. Its disk stays. It
// returns when no plane had it any more. A mobile guest that ran there is to be switched off, too.
func (l *Lab) PowerOffHost(ctx context.Context, hypervisor string) (cut time.Time, err error) {
	namespace := l.Topology.Namespace(hypervisor)
	// Cables are pulled first: nobody shall see the end of a program's connections. And they are pulled one by one: the
	// kernel takes its time to remove those of a namespace that has gone.
	var errs []error
	for _, p := range l.Topology.Planes {
		var fabric batch
		for _, s := range p.Segments {
			fabric.add("link del %s", portName(hypervisor, s.VRF))
		}
		errs = append(errs, fabric.run(ctx, l.Topology.Namespace(p.Node)))
	}
	cut = time.Now()
	var management, host, all batch
	management.add("link del %s", portName(hypervisor, NodeMgmt))
	for _, g := range l.Topology.Guests {
		for _, i := range g.Interfaces {
			if g.Hypervisor == hypervisor && !g.Mobile {
				host.add("link del %s", i.Tap)
			}
		}
	}
	all.add("netns del %s", namespace)
	if slices.Contains(l.Topology.Nodes(), NodeMachines) {
		errs = append(errs, l.removeLostTaps(ctx, hypervisor))
	}
	errs = append(errs, management.run(ctx, l.Topology.Namespace(NodeMgmt)), host.run(ctx, namespace),
		endAll(ctx, []string{namespace}, syscall.SIGKILL), all.run(ctx, ""))
	if err := errors.Join(errs...); err != nil {
		return cut, fmt.Errorf("switching %s off: %w", hypervisor, err)
	}
	return cut, nil
}

// PowerOnHost boots a hypervisor that was switched off: it has its cables, and its guests are there with new ones and
// switched off, but for mobile ones: their taps come with them. Nothing of hostroute runs.
func (l *Lab) PowerOnHost(ctx context.Context, hypervisor string) error {
	h, err := l.Topology.Hypervisor(hypervisor)
	if err != nil {
		return err
	}
	if err := l.powerOnHost(ctx, h); err != nil {
		return fmt.Errorf("switching %s on: %w", hypervisor, err)
	}
	return nil
}

func (l *Lab) powerOnHost(ctx context.Context, h Hypervisor) error {
	if err := os.Remove(l.bfdState(h.Name)); err != nil && !errors.Is(err, os.ErrNotExist) { // it is in memory elsewhere
		return err
	}
	var b batch
	b.add("netns add %s", l.Topology.Namespace(h.Name))
	if err := b.run(ctx, ""); err != nil {
		return err
	}
	if err := sysctl(l.Topology.Namespace(h.Name), hostSettings...); err != nil {
		return err
	}
	for _, p := range l.Topology.Planes {
		var fabric batch
		for _, s := range p.Segments {
			l.plug(&fabric, s.VRF, port{h.Name, p.Name + "-" + s.VRF})
		}
		if err := fabric.run(ctx, l.Topology.Namespace(p.Node)); err != nil {
			return err
		}
	}
	var management batch
	l.plug(&management, NodeMgmt, port{h.Name, NodeMgmt})
	if err := errors.Join(management.run(ctx, l.Topology.Namespace(NodeMgmt)), l.manage(ctx, h.Name, h.Management.String())); err != nil {
		return err
	}
	for _, g := range l.Topology.Guests {
		if g.Hypervisor != h.Name || g.Mobile {
			continue
		}
		if err := l.makeGuest(ctx, g); err != nil {
			return fmt.Errorf("building guest %s: %w", g.Name, err)
		}
	}
	return nil
}

// Configure switches a guest on and gives it the addresses of its first interface by hand, with the gateway that every
// tap has: no client, and nothing that comes later.
func (l *Lab) Configure(ctx context.Context, guest string) error {
	g, err := l.Topology.Guest(guest)
	if err != nil {
		return err
	}
	i := g.Interfaces[0]
	n, err := l.Topology.Network(i.Network)
	if err != nil {
		return err
	}
	namespace := l.Topology.Namespace(guest)
	if err := sysctl(namespace, "net.ipv6.conf."+i.Name+".accept_ra=0"); err != nil {
		return err
	}
	if err := l.PowerOn(ctx, guest); err != nil {
		return err
	}
	var b batch
	b.add("addr add %s/%d dev %s", i.V4, n.V4.Bits(), i.Name)
	b.add("addr add %s/64 dev %s nodad", i.V6, i.Name)
	b.add("route add default via %s dev %s", n.Gateway4, i.Name)
	b.add("route add ::/0 via %s dev %s", n.Gateway6, i.Name)
	return b.run(ctx, namespace)
}
