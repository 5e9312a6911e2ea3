package ndproxy

import (
	"fmt"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive/ethernet"
)

// socket hears neighbour solicitations on one device.
type socket struct {
	ethernet.Socket
}

func listen(port fleet.Port) (socket, error) {
	s, err := ethernet.Listen(port, solicitations())
	return socket{s}, err
}

// solicitations is the filter: received, untagged, to this device or to a group,
// IPv6, next header ICMPv6, hop limit 255, type 135.
func solicitations() []bpf.Instruction {
	const whole, last = 1 << 16, 12
	refuse := func(at int) uint8 { return uint8(last - at) } // from the instruction at to the last
	return []bpf.Instruction{
		0:  bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		1:  bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: refuse(2)},
		2:  bpf.LoadExtension{Num: bpf.ExtType},
		3:  bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_HOST, SkipTrue: 1},
		4:  bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_MULTICAST, SkipTrue: refuse(5)},
		5:  bpf.LoadAbsolute{Off: 12, Size: 2},
		6:  bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IPV6, SkipTrue: refuse(7)},
		7:  bpf.LoadAbsolute{Off: 20, Size: 2}, // next header and hop limit
		8:  bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6<<8 | 255, SkipTrue: refuse(9)},
		9:  bpf.LoadAbsolute{Off: 54, Size: 1},
		10: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 135, SkipTrue: refuse(11)},
		11: bpf.RetConstant{Val: whole},
		12: bpf.RetConstant{Val: 0},
	}
}

// patience is how long a tap whose queue is full may hold up a packet.
// A host that is busy may keep this process waiting for a good part of that.
const patience = 2 * time.Second

// send sends a frame with its header.
func (s socket) send(frame []byte) error {
	if err := s.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return fmt.Errorf("sending a neighbour advertisement: %w", err)
	}
	if _, err := s.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
		return fmt.Errorf("sending a neighbour advertisement: %w", err)
	}
	return nil
}
