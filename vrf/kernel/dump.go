package kernel

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// glance is what tells routes of a dump apart, and all that there is of a learned
// one that refers to a next-hop object. Of two million routes no more is read.
type glance struct {
	prefix    netip.Prefix
	table     uint32
	metric    uint32
	nextHopID uint32
	protocol  byte
}

func (g *glance) read(payload []byte) bool {
	if len(payload) < unix.SizeofRtMsg {
		return false
	}
	dst := netip.IPv6Unspecified()
	if payload[0] == unix.AF_INET {
		dst = netip.IPv4Unspecified()
	}
	bits := int(payload[1])
	*g = glance{table: uint32(payload[4]), protocol: payload[5]}
	for b := payload[unix.SizeofRtMsg:]; len(b) >= 4; {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			break
		}
		switch binary.NativeEndian.Uint16(b[2:]) & nlaTypeMask {
		case unix.RTA_DST:
			dst = addr(b[4:n])
		case unix.RTA_PRIORITY:
			g.metric = u32(b[4:n])
		case unix.RTA_TABLE:
			g.table = u32(b[4:n])
		case rtaNextHopID:
			g.nextHopID = u32(b[4:n])
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	g.prefix = netip.PrefixFrom(dst, bits)
	return dst.IsValid()
}

// routes dumps our routes of a table, both families, without holding them. f may
// read the rest of a route from its payload.
func (s *socket) routes(ctx context.Context, table uint32, f func(g *glance, payload []byte)) error {
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if err := s.routesOf(ctx, family, table, f); err != nil {
			return err
		}
	}
	return nil
}

func (s *socket) routesOf(ctx context.Context, family byte, table uint32, f func(g *glance, payload []byte)) error {
	s.reset()
	at := s.begin(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
	s.out = append(s.out, family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	if s.strict { // without it the kernel ignores what it should filter by
		s.out[at+headerLen+5] = vrf.Protocol
		s.attr32(unix.RTA_TABLE, table)
	}
	s.end(at)
	var g glance
	err := s.dump(ctx, func(_ uint16, payload []byte) {
		if g.read(payload) && g.table == table && g.protocol == vrf.Protocol {
			f(&g, payload)
		}
	})
	if err != nil && !noTable(err) {
		return fmt.Errorf("reading routes of table %d: %w", table, err)
	}
	return nil
}

// linkNames reads the names of all links by their index.
func (s *socket) linkNames(ctx context.Context) (map[int]string, error) {
	names := map[int]string{}
	err := retry("links", func() error {
		clear(names)
		s.reset()
		at := s.begin(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		s.out = append(s.out, make([]byte, unix.SizeofIfInfomsg)...)
		s.end(at)
		return s.dump(ctx, func(_ uint16, payload []byte) {
			if len(payload) < unix.SizeofIfInfomsg {
				return
			}
			attributes(payload[unix.SizeofIfInfomsg:], func(kind uint16, data []byte) {
				if kind == unix.IFLA_IFNAME && len(data) > 0 {
					names[int(u32(payload[4:]))] = string(data[:len(data)-1])
				}
			})
		})
	})
	return names, err
}
