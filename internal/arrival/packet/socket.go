package packet

import (
	"encoding/binary"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive/ethernet"
)

// socket hears what one guest sends on one device.
type socket struct {
	ethernet.Socket
}

func listen(port fleet.Port, guest [6]byte) (socket, error) {
	s, err := ethernet.Listen(port, from(guest))
	return socket{s}, err
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
