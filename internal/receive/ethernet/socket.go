// Package ethernet has the socket by which servers hear whole frames of a guest on
// its tap. It starts nothing. It is tested with those who use it, on real devices:
// ND proxy and the watch for guests that arrive.
package ethernet

import (
	"errors"
	"fmt"
	"net"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
)

// Socket hears what passes its filter on one device, with the frames' headers.
type Socket struct {
	*packet.Conn
}

var _ receive.Conn[struct{}] = Socket{}

// Listen opens the socket of a tap, which has to be the very device. It hears all
// protocols, since only before they are told apart the kernel keeps the tag of a
// frame with priority alone. The filter has to drop what goes to the guest.
func Listen(port fleet.Port, filter []bpf.Instruction) (Socket, error) {
	if err := port.Check(); err != nil {
		return Socket{}, err
	}
	raw, err := bpf.Assemble(filter)
	if err != nil {
		return Socket{}, fmt.Errorf("assembling the filter of the frames on %s: %w", port.Name, err)
	}
	conn, err := packet.Listen(&net.Interface{Index: port.Index, Name: port.Name}, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: raw})
	if err != nil {
		return Socket{}, fmt.Errorf("opening a packet socket on %s: %w", port.Name, err)
	}
	ignoreOutgoing(conn)
	return Socket{conn}, nil
}

// ignoreOutgoing spares the kernel from looking at what goes to the guest, where
// it can (4.20 and newer); the filter drops it anyway.
func ignoreOutgoing(conn *packet.Conn) {
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1) })
	}
}

// Read implements [receive.Conn]. A device that goes down says so once; it may
// come up again, and if it doesn't its task is ended from outside.
func (s Socket) Read(buf []byte) (int, struct{}, error) {
	for {
		n, _, err := s.ReadFrom(buf)
		if !errors.Is(err, unix.ENETDOWN) {
			return n, struct{}{}, err
		}
	}
}
