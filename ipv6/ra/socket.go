package ra

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	netipv6 "golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
	"github.com/hostroute/hostroute/ipv6"
)

// hopLimit is that of every ND message (RFC 4861, section 3.1).
const hopLimit = 255

// patience is how long a tap whose queue is full may hold up a packet.
// A host that is busy may keep this process waiting for a good part of that.
const patience = 2 * time.Second

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// sender is who sent a packet, and the hop limit that it came with.
type sender struct {
	source   netip.Addr
	hopLimit int
}

// socket hears router solicitations on one device and sends advertisements. It
// is bound by the index of the device and not, as [ndp.Listen] does it, by an
// address with a zone: the package net remembers for a minute which index a name
// had, which a new tap of an old name has no time for.
type socket struct {
	*netipv6.PacketConn
	index int
}

var _ receive.Conn[sender] = (*socket)(nil)

// listen opens the socket of a tap.
func listen(port fleet.Port) (*socket, error) {
	if err := port.Check(); err != nil {
		return nil, err
	}
	bind := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = bindTo(int(fd), port) }), err)
	}}
	conn, err := bind.ListenPacket(context.Background(), "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("opening an ICMPv6 socket on %s: %w", port.Name, err)
	}
	s := &socket{netipv6.NewPacketConn(conn), port.Index}
	if err := s.prepare(&net.Interface{Index: port.Index, Name: port.Name}); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// bindTo binds to a device; by its name where the kernel is older than 5.0.
func bindTo(fd int, port fleet.Port) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, port.Index)
	if errors.Is(err, unix.ENOPROTOOPT) {
		err = unix.BindToDevice(fd, port.Name)
	}
	return err
}

func (s *socket) prepare(device *net.Interface) error {
	var solicitations netipv6.ICMPFilter
	solicitations.SetAll(true)
	solicitations.Accept(netipv6.ICMPTypeRouterSolicitation)
	const checksumAt = 2
	for _, step := range []struct {
		what string
		err  error
	}{
		{"hearing router solicitations only", s.SetICMPFilter(&solicitations)},
		{"having checksums made and checked", s.SetChecksum(true, checksumAt)},
		{"setting the hop limit", s.SetHopLimit(hopLimit)},
		{"setting the hop limit of multicasts", s.SetMulticastHopLimit(hopLimit)},
		{"keeping advertisements from ourselves", s.SetMulticastLoopback(false)},
		{"asking for hop limits", s.SetControlMessage(netipv6.FlagHopLimit, true)},
		{"joining the group of all routers", s.JoinGroup(device, &net.IPAddr{IP: allRouters.AsSlice()})},
	} {
		if step.err != nil {
			return fmt.Errorf("%s on %s: %w", step.what, device.Name, step.err)
		}
	}
	return nil
}

// Read implements [receive.Conn].
func (s *socket) Read(buf []byte) (int, sender, error) {
	n, control, from, err := s.ReadFrom(buf)
	if err != nil {
		return 0, sender{}, err
	}
	var who sender
	if control != nil {
		who.hopLimit = control.HopLimit
	}
	if from, ok := from.(*net.IPAddr); ok {
		who.source, _ = netip.AddrFromSlice(from.IP)
	}
	return n, who, nil
}

// send sends an advertisement, in as many packets as it takes.
func (s *socket) send(a ipv6.Advertisement, to netip.Addr) error {
	packets, err := messages(a)
	if err != nil {
		return err
	}
	if err := s.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return fmt.Errorf("sending a router advertisement: %w", err)
	}
	control := &netipv6.ControlMessage{Src: ipv6.RouterAddress.AsSlice(), IfIndex: s.index, HopLimit: hopLimit}
	for _, p := range packets {
		if _, err := s.WriteTo(p, control, &net.IPAddr{IP: to.AsSlice()}); err != nil {
			return fmt.Errorf("sending a router advertisement: %w", err)
		}
	}
	return nil
}
