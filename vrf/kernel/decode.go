package kernel

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

func u32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func u8(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

func addr(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

// dumped is a route of a dump. Its hops are reused by the next one.
type dumped struct {
	route
	protocol byte
	hops     []vrf.Hop
	several  bool   // it carries a list of next hops
	dead     []bool // of each of them: not as we write it, or the kernel doesn't use it
}

// parse reads a route message. dump tells that it is one.
func (d *dumped) parse(payload []byte) bool {
	if len(payload) < unix.SizeofRtMsg {
		return false
	}
	family, bits := payload[0], int(payload[1])
	hops, dead := d.hops[:0], d.dead[:0]
	*d = dumped{protocol: payload[5]}
	d.table, d.scope, d.kind = uint32(payload[4]), payload[6], payload[7]
	dst := netip.IPv6Unspecified()
	if family == unix.AF_INET {
		dst = netip.IPv4Unspecified()
	}
	attributes(payload[unix.SizeofRtMsg:], func(kind uint16, data []byte) {
		switch kind {
		case unix.RTA_DST:
			dst = addr(data)
		case unix.RTA_PRIORITY:
			d.metric = u32(data)
		case unix.RTA_TABLE:
			d.table = u32(data)
		case unix.RTA_OIF:
			d.port = int(u32(data))
		case unix.RTA_GATEWAY, rtaVia:
			d.via = gatewayOf(kind, data)
		case rtaNextHopID:
			d.nextHopID = u32(data)
		case unix.RTA_MULTIPATH:
			hops, dead = multipathOf(hops, dead, data)
			d.several = true
		}
	})
	if len(hops) == 0 && d.via.IsValid() {
		hops = append(hops, vrf.Hop{Gateway: d.via, Port: d.port})
	}
	d.hops, d.dead = hops, dead
	d.prefix = netip.PrefixFrom(dst, bits)
	return dst.IsValid()
}

func gatewayOf(kind uint16, data []byte) netip.Addr {
	if kind == rtaVia && len(data) > 2 {
		return addr(data[2:])
	}
	return addr(data)
}

func multipathOf(hops []vrf.Hop, dead []bool, b []byte) ([]vrf.Hop, []bool) {
	for len(b) >= unix.SizeofRtNexthop {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			break
		}
		h := vrf.Hop{Port: int(u32(b[4:]))}
		attributes(b[unix.SizeofRtNexthop:n], func(kind uint16, data []byte) {
			if kind == unix.RTA_GATEWAY || kind == rtaVia {
				h.Gateway = gatewayOf(kind, data)
			}
		})
		hops = append(hops, h)
		dead = append(dead, b[2]&unix.RTNH_F_DEAD != 0 || b[3] != 0) // b[3]: the weight less 1
		b = b[min((n+3)&^3, len(b)):]
	}
	return hops, dead
}

// parsedAddress is an address with its link by index.
type parsedAddress struct {
	vrf.Address
	port int
}

func parseAddress(payload []byte) (a parsedAddress, ok bool) {
	if len(payload) < unix.SizeofIfAddrmsg {
		return a, false
	}
	bits, flags, scope := int(payload[1]), uint32(payload[2]), payload[3]
	a.port = int(u32(payload[4:]))
	var local, address netip.Addr
	attributes(payload[unix.SizeofIfAddrmsg:], func(kind uint16, data []byte) {
		switch kind {
		case unix.IFA_LOCAL:
			local = addr(data)
		case unix.IFA_ADDRESS:
			address = addr(data)
		case unix.IFA_FLAGS:
			flags = u32(data)
		case ifaProto:
			a.Protocol = u8(data)
		}
	})
	if !local.IsValid() {
		local = address
	}
	a.Prefix = netip.PrefixFrom(local, bits)
	a.ScopeLink = scope == unix.RT_SCOPE_LINK
	a.Failed = flags&unix.IFA_F_DADFAILED != 0
	a.Expires = flags&unix.IFA_F_PERMANENT == 0
	return a, a.Prefix.IsValid()
}

// parseRule reads a rule; ok is false for one with a selector, which is none
// that we could mean.
func parseRule(payload []byte) (r vrf.Rule, ok bool) {
	if len(payload) < 12 {
		return r, false
	}
	plain := payload[1] == 0 && payload[2] == 0 && payload[3] == 0 &&
		payload[7] == unix.FR_ACT_TO_TBL && u32(payload[8:])&unix.FIB_RULE_INVERT == 0
	r.IPv6, r.Table = payload[0] == unix.AF_INET6, uint32(payload[4])
	attributes(payload[12:], func(kind uint16, data []byte) {
		switch kind {
		case unix.FRA_PRIORITY:
			r.Priority = u32(data)
		case unix.FRA_TABLE:
			r.Table = u32(data)
		case fraProtocol:
			r.Protocol = u8(data)
		case fraL3MDev:
			r.L3MDev = u8(data) == 1
		case unix.FRA_SUPPRESS_PREFIXLEN, unix.FRA_SUPPRESS_IFGROUP:
			plain = plain && int32(u32(data)) == -1
		case unix.FRA_UNSPEC, unix.FRA_PAD:
		default:
			plain = false
		}
	})
	if r.L3MDev {
		r.Table = 0
	}
	return r, plain
}

// parseNeighbour reads a permanent neighbour; ok is false for any other.
func parseNeighbour(payload []byte) (port int, n vrf.InstalledNeighbour, ok bool) {
	if len(payload) < unix.SizeofNdMsg {
		return 0, n, false
	}
	port = int(u32(payload[4:]))
	state, flags := binary.NativeEndian.Uint16(payload[8:]), payload[10]
	attributes(payload[unix.SizeofNdMsg:], func(kind uint16, data []byte) {
		switch kind {
		case unix.NDA_DST:
			n.Address = addr(data)
		case unix.NDA_LLADDR:
			copy(n.MAC[:], data)
		}
	})
	return port, n, state == unix.NUD_PERMANENT && flags&unix.NTF_PROXY == 0 && n.Address.IsValid()
}
