package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// ntfExtLearned marks an entry that somebody else than the kernel learned: it stays
// when it has failed. x/sys has the name with its C type only.
const ntfExtLearned = 0x10

// nudValid are the states in which the kernel sends to a neighbour.
const nudValid = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY

// bury writes that a gateway doesn't answer. While packets are sent there the kernel
// asks for it now and then, and notes again that nobody answered.
func (s *socket) bury(hop vrf.Hop) error {
	s.reset()
	at := s.begin(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	s.neighbourHeader(hop, unix.NUD_FAILED, ntfExtLearned)
	s.end(at)
	return s.do()
}

// dead tells whether a gateway is known not to answer, and will be.
func (s *socket) dead(ctx context.Context, hop vrf.Hop) (dead bool, err error) {
	s.reset()
	at := s.begin(unix.RTM_GETNEIGH, unix.NLM_F_ACK)
	s.neighbourHeader(hop, 0, 0)
	s.end(at)
	err = s.dump(ctx, func(_ uint16, payload []byte) {
		if len(payload) >= unix.SizeofNdMsg {
			state, flags := binary.NativeEndian.Uint16(payload[8:]), payload[10]
			dead = state&nudValid == 0 && flags&ntfExtLearned != 0
		}
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	return dead, err
}

func (s *socket) neighbourHeader(hop vrf.Hop, state uint16, flags byte) {
	s.out = append(s.out, familyOf(hop.Gateway), 0, 0, 0)
	s.out = binary.NativeEndian.AppendUint32(s.out, uint32(hop.Port))
	s.out = binary.NativeEndian.AppendUint16(s.out, state)
	s.out = append(s.out, flags, 0)
	s.attrAddr(unix.NDA_DST, hop.Gateway)
}

// buryFloors does so for the floors among the operations.
func (s *socket) buryFloors(ops []vrf.NextHopOp) error {
	for i := range ops {
		if o := &ops[i].Object; o.Dead && !ops[i].Delete {
			if err := s.bury(o.Hop); err != nil && !errors.Is(err, unix.ENODEV) {
				return err
			}
		}
	}
	return nil
}

// readFloors finds out which of the floors are dead, as they must be.
func (s *socket) readFloors(ctx context.Context, list []vrf.NextHopObject) (err error) {
	for i := range list {
		if o := &list[i]; err == nil && vrf.IsFloor(o.ID) && o.Hop.Gateway.IsValid() {
			o.Dead, err = s.dead(ctx, o.Hop)
		}
	}
	return err
}

// aboutFloor tells whether a message is about the neighbour entry of a floor.
func aboutFloor(payload []byte) (is bool) {
	if len(payload) < unix.SizeofNdMsg {
		return false
	}
	var gateway netip.Addr
	attributes(payload[unix.SizeofNdMsg:], func(kind uint16, data []byte) {
		if kind == unix.NDA_DST {
			gateway = addr(data)
		}
	})
	return vrf.IsFloorGateway(gateway)
}

// revived tells whether the entry of a floor says that somebody answers.
func revived(payload []byte) bool {
	return aboutFloor(payload) && binary.NativeEndian.Uint16(payload[8:])&nudValid != 0
}
