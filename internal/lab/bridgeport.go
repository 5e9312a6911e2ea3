package lab

import (
	"encoding/binary"
	"errors"
	"fmt"

	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Attributes of a bridge's port (linux/if_link.h), each a flag.
const (
	portLearning = 8
	portUnicast  = 9
	portMulti    = 27
	portBroad    = 30
	portIsolated = 33
	portLocked   = 39
)

// gate is whether a tap's port lets frames through, both ways.
type gate map[uint16]uint8

// The ports of taps never speak with each other, and the bridges of mobile guests learn no addresses: what a guest
// sends is flooded to the ports that are open, and what comes from one that is closed is from an unknown sender, which a
// locked port doesn't take. Opening and closing only change flags. Taking a port out of the bridge would do, too, but
// waits until every processor has taken notice, and so takes longer than the pause of a guest.
var (
	open   = gate{portIsolated: 1, portLearning: 0, portUnicast: 1, portMulti: 1, portBroad: 1, portLocked: 0}
	closed = gate{portIsolated: 1, portLearning: 0, portUnicast: 0, portMulti: 0, portBroad: 0, portLocked: 1}
)

// forgetful keeps the guest's own ports from learning.
func (l *Lab) forgetful(g Guest) error {
	var ports []string
	for _, i := range g.Interfaces {
		ports = append(ports, guestPort(g, i))
	}
	return l.setPortFlags(gate{portLearning: 0}, ports)
}

// switchPorts opens or closes the ports of a guest's taps on hypervisors, where there are any.
func (l *Lab) switchPorts(g Guest, to gate, hypervisors ...string) error {
	var ports []string
	for _, i := range g.Interfaces {
		for _, hv := range hypervisors {
			ports = append(ports, tapPort(i, hv))
		}
	}
	return l.setPortFlags(to, ports)
}

// setPortFlags asks the kernel directly: a process would take longer to start than a guest is paused.
func (l *Lab) setPortFlags(flags gate, ports []string) error {
	return within(l.namespaceOfMachines(), func() error {
		names, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(names)
		c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
		if err != nil {
			return err
		}
		defer c.Close()
		for _, port := range ports {
			index, err := indexOf(names, port)
			if errors.Is(err, unix.ENODEV) {
				continue
			}
			if err == nil {
				_, err = c.Execute(portMessage(index, flags))
			}
			if err != nil {
				return fmt.Errorf("setting the bridge's port %s: %w", port, err)
			}
		}
		return nil
	})
}

// indexOf asks for one interface; package net would list them all.
func indexOf(socket int, name string) (uint32, error) {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	err = unix.IoctlIfreq(socket, unix.SIOCGIFINDEX, r)
	return r.Uint32(), err
}

// portMessage is what bridge(8) sends: a link of the family of bridges with the port's attributes.
func portMessage(index uint32, flags gate) netlink.Message {
	link := make([]byte, unix.SizeofIfInfomsg)
	link[0] = unix.AF_BRIDGE
	binary.NativeEndian.PutUint32(link[4:], index)
	attributes := netlink.NewAttributeEncoder()
	attributes.Nested(unix.IFLA_PROTINFO, func(port *netlink.AttributeEncoder) error {
		for flag, value := range flags {
			port.Uint8(flag, value)
		}
		return nil
	})
	data, _ := attributes.Encode() // of numbers
	return netlink.Message{
		Header: netlink.Header{Type: unix.RTM_SETLINK, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append(link, data...),
	}
}
