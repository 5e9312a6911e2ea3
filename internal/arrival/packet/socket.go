package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
)

// socket hears what one guest sends on one device.
type socket struct {
	*packet.Conn
}

var _ receive.Conn[struct{}] = socket{}

// listen opens the socket of a tap, which has to be the very device. It hears all
// protocols, since only before they are told apart the kernel keeps the tag of a
// frame with priority alone.
func listen(port fleet.Port, guest [6]byte) (socket, error) {
	device, err := net.InterfaceByIndex(port.Index)
	if err != nil {
		return socket{}, fmt.Errorf("finding the device %s with the index %d: %w", port.Name, port.Index, err)
	}
	if device.Name != port.Name {
		return socket{}, fmt.Errorf("the device with the index %d is %s now and not %s", port.Index, device.Name, port.Name)
	}
	filter, err := bpf.Assemble(from(guest))
	if err != nil {
		return socket{}, fmt.Errorf("assembling the filter of a guest's frames: %w", err)
	}
	conn, err := packet.Listen(device, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: filter})
	if err != nil {
		return socket{}, fmt.Errorf("opening a packet socket on %s: %w", port.Name, err)
	}
	ignoreOutgoing(conn)
	return socket{conn}, nil
}

// ignoreOutgoing spares the kernel from looking at what goes to the guest, where
// it can (4.20 and newer); the filter drops it anyway.
func ignoreOutgoing(conn *packet.Conn) {
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1) })
	}
}

// from is the filter: received from outside, untagged, from this hardware address. The
// types of packets up to PACKET_OTHERHOST are received ones; those after it are
// the host's own.
func from(guest [6]byte) []bpf.Instruction {
	const whole, last = 1 << 16, 9
	refuse := func(at int) uint8 { return uint8(last - at) } // from the instruction at to the last
	return []bpf.Instruction{
		0: bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		1: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: refuse(2)},
		2: bpf.LoadExtension{Num: bpf.ExtType},
		3: bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: unix.PACKET_OTHERHOST, SkipTrue: refuse(4)},
		4: bpf.LoadAbsolute{Off: 6, Size: 4},
		5: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(guest[:4]), SkipTrue: refuse(6)},
		6: bpf.LoadAbsolute{Off: 10, Size: 2},
		7: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(binary.BigEndian.Uint16(guest[4:])), SkipTrue: refuse(8)},
		8: bpf.RetConstant{Val: whole},
		9: bpf.RetConstant{Val: 0},
	}
}

// Read implements [receive.Conn]. A device that goes down says so once; it may
// come up again, and if it doesn't its task is ended from outside.
func (s socket) Read(buf []byte) (int, struct{}, error) {
	for {
		n, _, err := s.ReadFrom(buf)
		if !errors.Is(err, unix.ENETDOWN) {
			return n, struct{}{}, err
		}
	}
}
