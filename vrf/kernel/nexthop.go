package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// Next-hop objects: what x/sys does not name.
const (
	rtmNewNextHop       = 104
	rtmDelNextHop       = 105
	rtmGetNextHop       = 106
	rtmGetNextHopBucket = 118
	nhaID               = 1
	nhaGroup            = 2
	nhaGroupType        = 3
	nhaOIF              = 5
	nhaGateway          = 6
	nhaResGroup         = 12
	nhaResBuckets       = 1
	nhaResIdle          = 2
	nhaResUnbalanced    = 3
	groupResilient      = 1
)

// clockTick is the unit of the kernel's timers here (USER_HZ).
const clockTick = 10 * time.Millisecond

// nextHop appends a message for a next-hop object. A group is replaced only if
// it is there: the kernel would make it otherwise, without the routes that went
// with it.
func (s *socket) nextHop(op *vrf.NextHopOp) {
	o := &op.Object
	if op.Delete {
		at := s.begin(rtmDelNextHop, 0)
		s.out = append(s.out, 0, 0, 0, 0, 0, 0, 0, 0)
		s.attr32(nhaID, o.ID)
		s.end(at)
		return
	}
	isGroup := len(o.Group) > 0
	flags := uint16(unix.NLM_F_CREATE | unix.NLM_F_EXCL)
	switch {
	case op.Replace && isGroup:
		flags = unix.NLM_F_REPLACE
	case op.Replace:
		flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	at := s.begin(rtmNewNextHop, flags)
	family := byte(unix.AF_UNSPEC)
	if !isGroup {
		family = familyOf(o.Hop.Gateway)
	}
	how := uint32(0)
	if o.Dead { // no route leads to a gateway that nobody has
		how = unix.RTNH_F_ONLINK
	}
	s.out = binary.NativeEndian.AppendUint32(append(s.out, family, 0, vrf.Protocol, 0), how)
	s.attr32(nhaID, o.ID)
	if isGroup {
		s.nextHopGroup(o)
	} else {
		s.attrAddr(nhaGateway, o.Hop.Gateway)
		s.attr32(nhaOIF, uint32(o.Hop.Port))
	}
	s.end(at)
}

// nextHopGroup appends the members with their weights, which are encoded as one
// less, and what a resilient group has beside them.
func (s *socket) nextHopGroup(o *vrf.NextHopObject) {
	nest := s.nest(nhaGroup)
	for i, id := range o.Group {
		weight := byte(1)
		if o.Weights != nil {
			weight = o.Weights[i]
		}
		s.out = binary.NativeEndian.AppendUint32(s.out, id)
		s.out = append(s.out, weight-1, 0, 0, 0)
	}
	s.endNest(nest)
	r := o.Resilience
	if r.Buckets == 0 {
		return
	}
	s.attr(nhaGroupType, binary.NativeEndian.AppendUint16(nil, groupResilient))
	nest = s.nest(nhaResGroup | unix.NLA_F_NESTED)
	s.attr(nhaResBuckets, binary.NativeEndian.AppendUint16(nil, r.Buckets))
	s.attr32(nhaResIdle, uint32(r.Idle/clockTick))
	s.attr32(nhaResUnbalanced, uint32(r.Unbalanced/clockTick))
	s.endNest(nest)
}

func parseNextHop(payload []byte) (o vrf.NextHopObject, ok bool) {
	if len(payload) < 8 {
		return o, false
	}
	o.Protocol = payload[2]
	attributes(payload[8:], func(kind uint16, data []byte) {
		switch kind {
		case nhaID:
			o.ID = u32(data)
		case nhaOIF:
			o.Hop.Port = int(u32(data))
		case nhaGateway:
			o.Hop.Gateway = addr(data)
		case nhaGroup:
			for ; len(data) >= 8; data = data[8:] {
				o.Group = append(o.Group, u32(data))
				o.Weights = append(o.Weights, data[4]+1)
			}
		case nhaResGroup:
			o.Resilience = parseResilience(data)
		}
	})
	return o, o.ID != 0
}

func parseResilience(b []byte) (r vrf.Resilience) {
	attributes(b, func(kind uint16, data []byte) {
		switch kind {
		case nhaResBuckets:
			if len(data) >= 2 {
				r.Buckets = binary.NativeEndian.Uint16(data)
			}
		case nhaResIdle:
			r.Idle = time.Duration(u32(data)) * clockTick
		case nhaResUnbalanced:
			r.Unbalanced = time.Duration(u32(data)) * clockTick
		}
	})
	return r
}

// nextHops dumps the next-hop objects of our id range. ok is false where the
// kernel has no such objects.
func (s *socket) nextHops(ctx context.Context) (list []vrf.NextHopObject, ok bool, err error) {
	err = retry("next hops", func() error {
		list = list[:0]
		s.reset()
		at := s.begin(rtmGetNextHop, unix.NLM_F_DUMP)
		s.out = binary.NativeEndian.AppendUint64(s.out, 0)
		s.end(at)
		return s.dump(ctx, func(kind uint16, payload []byte) {
			if o, ok := parseNextHop(payload); ok && vrf.OwnNextHop(o.ID) {
				list = append(list, o)
			}
		})
	})
	if unknown(err) {
		return nil, false, nil
	}
	return list, true, err
}

// resilient tells whether the kernel has resilient groups, by asking for the
// buckets of a group that nobody has: a kernel without them doesn't know the
// question.
func (s *socket) resilient(ctx context.Context) (bool, error) {
	s.reset()
	at := s.begin(rtmGetNextHopBucket, unix.NLM_F_DUMP)
	s.out = binary.NativeEndian.AppendUint64(s.out, 0)
	s.attr32(nhaID, ^uint32(0))
	s.end(at)
	err := s.dump(ctx, func(uint16, []byte) {})
	switch {
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, errInterrupted):
		return true, nil
	case unknown(err):
		return false, nil
	}
	return false, err
}

func unknown(err error) bool { return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) }
