package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// NodeMachines holds what is between mobile guests and their taps: for each interface a bridge, to which the guest's
// cable is plugged always, and the end of a tap while the guest runs on that tap's hypervisor. It is what a virtual
// machine monitor is elsewhere: the guest's own kernel sees one interface whose carrier is never lost.
const NodeMachines = "machines"

// WithMobile makes guests mobile: they can be paused, and go on on another hypervisor with all that they had.
func (t Topology) WithMobile(guests ...string) Topology {
	t.Guests = slices.Clone(t.Guests)
	for i := range t.Guests {
		if slices.Contains(guests, t.Guests[i].Name) {
			t.Guests[i].Mobile = true
		}
	}
	return t
}

// guestPort, bridgeOf and tapPort are what an interface of a mobile guest has in NodeMachines.
func guestPort(g Guest, i Interface) string { return g.Name + "-" + i.Name }
func bridgeOf(g Guest, i Interface) string  { return guestPort(g, i) + "-br" }
func tapPort(i Interface, hv string) string { return i.Tap + "-" + hv }

// makeMobile makes a guest with cables to its bridges, and has it run on its first hypervisor.
func (l *Lab) makeMobile(ctx context.Context, g Guest) error {
	var bridges, cables, ports batch
	cables.add("link set lo up")
	for _, i := range g.Interfaces {
		bridges.add("link add %s type bridge stp_state 0 forward_delay 0 mcast_snooping 0", bridgeOf(g, i))
		bridges.add("link set %s up", bridgeOf(g, i))
		cables.add("link add %s address %s type veth peer name %s netns %s", i.Name, i.MAC, guestPort(g, i), l.Topology.Namespace(NodeMachines))
		ports.add("link set %s master %s up", guestPort(g, i), bridgeOf(g, i))
	}
	machines := l.Topology.Namespace(NodeMachines)
	for _, step := range []func() error{
		func() error { return bridges.run(ctx, machines) },
		func() error { return cables.run(ctx, l.Topology.Namespace(g.Name)) },
		func() error { return ports.run(ctx, machines) },
		func() error { return l.forgetful(g) },
		func() error { return l.AddTaps(ctx, g.Name, g.Hypervisor) },
		func() error { return l.Resume(g.Name, g.Hypervisor) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// mobile finds a mobile guest.
func (l *Lab) mobile(guest string) (Guest, error) {
	g, err := l.Topology.Guest(guest)
	if err == nil && !g.Mobile {
		err = fmt.Errorf("guest %s is not mobile", guest)
	}
	return g, err
}

// AddTaps makes a mobile guest's taps on a hypervisor, down, as a monitor does that expects a guest. Nothing passes yet.
func (l *Lab) AddTaps(ctx context.Context, guest, hypervisor string) error {
	g, err := l.mobile(guest)
	if err != nil {
		return err
	}
	var made, up batch
	for _, i := range g.Interfaces {
		made.add("link add %s type veth peer name %s netns %s", tapPort(i, hypervisor), i.Tap, l.Topology.Namespace(hypervisor))
		made.add("link set %s master %s", tapPort(i, hypervisor), bridgeOf(g, i))
		up.add("link set %s up", tapPort(i, hypervisor))
	}
	for _, step := range []func() error{
		func() error { return made.run(ctx, l.namespaceOfMachines()) },
		func() error { return l.switchPorts(g, closed, hypervisor) },
		func() error { return up.run(ctx, l.namespaceOfMachines()) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("making the taps of %s on %s: %w", guest, hypervisor, err)
		}
	}
	return nil
}

// RemoveTaps removes a mobile guest's taps from a hypervisor, as the end of its monitor there does.
func (l *Lab) RemoveTaps(ctx context.Context, guest, hypervisor string) error {
	g, err := l.mobile(guest)
	if err != nil {
		return err
	}
	var b batch
	for _, i := range g.Interfaces {
		b.add("link del %s", tapPort(i, hypervisor))
	}
	if err := b.run(ctx, l.Topology.Namespace(NodeMachines)); err != nil {
		return fmt.Errorf("removing the taps of %s on %s: %w", guest, hypervisor, err)
	}
	return nil
}

// removeLostTaps removes what a hypervisor without power leaves of the taps of mobile guests.
func (l *Lab) removeLostTaps(ctx context.Context, hypervisor string) error {
	var b batch
	err := within(l.namespaceOfMachines(), func() error {
		for _, g := range l.Topology.Guests {
			for _, i := range g.Interfaces {
				if _, err := net.InterfaceByName(tapPort(i, hypervisor)); g.Mobile && err == nil {
					b.add("link del %s", tapPort(i, hypervisor))
				}
			}
		}
		return nil
	})
	return errors.Join(err, b.run(ctx, l.namespaceOfMachines()))
}

func (l *Lab) namespaceOfMachines() string { return l.Topology.Namespace(NodeMachines) }

// Pause stops a mobile guest: no tap of it forwards. What is sent to it is lost.
func (l *Lab) Pause(guest string) error {
	g, err := l.mobile(guest)
	if err != nil {
		return err
	}
	var hypervisors []string
	for _, h := range l.Topology.Hypervisors {
		hypervisors = append(hypervisors, h.Name)
	}
	if err := l.switchPorts(g, closed, hypervisors...); err != nil {
		return fmt.Errorf("pausing %s: %w", guest, err)
	}
	return nil
}

// Resume lets a mobile guest that is paused go on on a hypervisor which has its taps.
func (l *Lab) Resume(guest, hypervisor string) error {
	g, err := l.mobile(guest)
	if err != nil {
		return err
	}
	for _, i := range g.Interfaces {
		if !l.hasPort(tapPort(i, hypervisor)) {
			return fmt.Errorf("resuming %s: %s has no %s", guest, hypervisor, i.Tap)
		}
	}
	if err := l.switchPorts(g, open, hypervisor); err != nil {
		return fmt.Errorf("resuming %s on %s: %w", guest, hypervisor, err)
	}
	return nil
}

func (l *Lab) hasPort(port string) bool {
	return within(l.namespaceOfMachines(), func() error {
		_, err := net.InterfaceByName(port)
		return err
	}) == nil
}

// Announcement is how a guest's arrival is told on its tap.
type Announcement string

// The announcements.
const (
	RARP Announcement = "RARP" // by the monitor, as QEMU does for every guest
	GARP Announcement = "GARP" // by the guest: a gratuitous ARP request (RFC 5227, section 3)
)

// Announce has a mobile guest's arrival told on its taps on a hypervisor.
func (l *Lab) Announce(guest, hypervisor string, how Announcement) error {
	g, err := l.mobile(guest)
	if err != nil {
		return err
	}
	err = within(l.namespaceOfMachines(), func() error {
		for _, i := range g.Interfaces {
			f, err := packetSocket(tapPort(i, hypervisor))
			if err != nil {
				return err
			}
			_, err = f.Write(announcement(i, how))
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("announcing %s on %s: %w", guest, hypervisor, err)
	}
	return nil
}

// announcement is the frame: RARP's request has no protocol addresses (RFC 903).
func announcement(i Interface, how Announcement) []byte {
	mac, _ := net.ParseMAC(i.MAC) // the topology is a constant
	frame := slices.Concat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac)
	address := netip.IPv4Unspecified().AsSlice()
	if how == GARP {
		frame = append(frame, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1)
		address = i.V4.AsSlice()
		frame = slices.Concat(frame, mac, address, make([]byte, 6), address)
	} else {
		frame = append(frame, 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3)
		frame = slices.Concat(frame, mac, address, mac, address)
	}
	return append(frame, make([]byte, 60-len(frame))...)
}
