package kernel

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// What x/sys does not name.
const (
	rtaVia       = 18
	rtaNextHopID = 30
	ifaProto     = 11
	fraL3MDev    = 19
	fraProtocol  = 21
	nlaTypeMask  = 0x3fff
)

func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// route is a route message, guests' and learned ones alike.
type route struct {
	prefix    netip.Prefix
	table     uint32
	metric    uint32
	kind      byte // RTN_*
	scope     byte
	onLink    bool // of several hops, those with a gateway that isn't link-local
	port      int
	via       netip.Addr
	nextHopID uint32
	hops      []vrf.Hop
}

func addFlags(verb vrf.Verb) (kind, flags uint16) {
	switch verb {
	case vrf.Delete:
		return unix.RTM_DELROUTE, 0
	case vrf.Replace:
		return unix.RTM_NEWROUTE, unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	default:
		return unix.RTM_NEWROUTE, unix.NLM_F_CREATE | unix.NLM_F_EXCL
	}
}

// route appends a message for a route. A delete names protocol and metric, and
// so hits no other than ours.
func (s *socket) route(r *route, verb vrf.Verb) {
	kind, flags := addFlags(verb)
	at := s.begin(kind, flags)
	rtype, scope := r.kind, r.scope
	if verb == vrf.Delete {
		rtype, scope = unix.RTN_UNSPEC, unix.RT_SCOPE_NOWHERE
	}
	rtflags := uint32(0)
	if r.onLink && len(r.hops) == 0 {
		rtflags = unix.RTNH_F_ONLINK
	}
	table := byte(unix.RT_TABLE_UNSPEC)
	if r.table < 256 {
		table = byte(r.table)
	}
	s.out = append(s.out, familyOf(r.prefix.Addr()), byte(r.prefix.Bits()), 0, 0, table, vrf.Protocol, scope, rtype)
	s.out = binary.NativeEndian.AppendUint32(s.out, rtflags)
	s.attrAddr(unix.RTA_DST, r.prefix.Addr())
	s.attr32(unix.RTA_PRIORITY, r.metric)
	s.attr32(unix.RTA_TABLE, r.table)
	if verb != vrf.Delete {
		s.routeTarget(r)
	}
	s.end(at)
}

func (s *socket) routeTarget(r *route) {
	switch {
	case r.nextHopID != 0:
		s.attr32(rtaNextHopID, r.nextHopID)
	case len(r.hops) == 1:
		s.gateway(r.prefix.Addr(), r.hops[0].Gateway)
		s.attr32(unix.RTA_OIF, uint32(r.hops[0].Port))
	case len(r.hops) > 1:
		s.multipath(r)
	case r.port != 0:
		s.gateway(r.prefix.Addr(), r.via)
		s.attr32(unix.RTA_OIF, uint32(r.port))
	}
}

// multipath appends the next hops of a route that carries them itself.
func (s *socket) multipath(r *route) {
	nest := s.nest(unix.RTA_MULTIPATH)
	for _, h := range r.hops {
		hop := len(s.out)
		flags := byte(0)
		if r.onLink && h.Gateway.IsValid() && !h.Gateway.IsLinkLocalUnicast() {
			flags = unix.RTNH_F_ONLINK
		}
		s.out = append(s.out, 0, 0, flags, 0)
		s.out = binary.NativeEndian.AppendUint32(s.out, uint32(h.Port))
		s.gateway(r.prefix.Addr(), h.Gateway)
		binary.NativeEndian.PutUint16(s.out[hop:], uint16(len(s.out)-hop))
	}
	s.endNest(nest)
}

// gateway appends the gateway; an IPv6 one of an IPv4 route has an attribute
// of its own (RFC 8950).
func (s *socket) gateway(prefix, gateway netip.Addr) {
	switch {
	case !gateway.IsValid():
	case prefix.Is4() && gateway.Is6():
		nest := s.nest(rtaVia)
		s.out = binary.NativeEndian.AppendUint16(s.out, unix.AF_INET6)
		s.out = append(s.out, gateway.AsSlice()...)
		s.endNest(nest)
		for len(s.out)%4 != 0 { // struct rtvia has 18 bytes
			s.out = append(s.out, 0)
		}
	default:
		s.attrAddr(unix.RTA_GATEWAY, gateway)
	}
}

func (s *socket) attrAddr(kind uint16, a netip.Addr) {
	if a.Is4() {
		b := a.As4()
		s.attr(kind, b[:])
		return
	}
	b := a.As16()
	s.attr(kind, b[:])
}

// address appends a message for an address.
func (s *socket) address(kind, flags uint16, port int, prefix netip.Prefix, scopeLink bool) {
	at := s.begin(kind, flags)
	scope := byte(unix.RT_SCOPE_UNIVERSE)
	if scopeLink {
		scope = unix.RT_SCOPE_LINK
	}
	s.out = append(s.out, familyOf(prefix.Addr()), byte(prefix.Bits()), 0, scope)
	s.out = binary.NativeEndian.AppendUint32(s.out, uint32(port))
	s.attrAddr(unix.IFA_LOCAL, prefix.Addr())
	s.attrAddr(unix.IFA_ADDRESS, prefix.Addr())
	if kind == unix.RTM_NEWADDR {
		if prefix.Addr().Is6() {
			s.attr32(unix.IFA_FLAGS, unix.IFA_F_NODAD)
		}
		s.attr(ifaProto, []byte{vrf.Protocol})
	}
	s.end(at)
}

// neighbour appends a message for a permanent neighbour; without an address of
// hardware, one that deletes it.
func (s *socket) neighbour(kind, flags uint16, port int, a netip.Addr, mac []byte) {
	at := s.begin(kind, flags)
	s.out = append(s.out, familyOf(a), 0, 0, 0)
	s.out = binary.NativeEndian.AppendUint32(s.out, uint32(port))
	s.out = binary.NativeEndian.AppendUint16(s.out, unix.NUD_PERMANENT)
	s.out = append(s.out, 0, 0)
	s.attrAddr(unix.NDA_DST, a)
	if len(mac) > 0 {
		s.attr(unix.NDA_LLADDR, mac)
	}
	s.end(at)
}

// rule appends a message for a routing rule. A delete does not name the
// protocol, since the kernel's own rule is among what must go.
func (s *socket) rule(kind, flags uint16, r vrf.Rule) {
	at := s.begin(kind, flags)
	family := byte(unix.AF_INET)
	if r.IPv6 {
		family = unix.AF_INET6
	}
	table := byte(unix.RT_TABLE_UNSPEC)
	if r.Table < 256 && !r.L3MDev {
		table = byte(r.Table)
	}
	s.out = append(s.out, family, 0, 0, 0, table, 0, 0, unix.FR_ACT_TO_TBL, 0, 0, 0, 0)
	s.attr32(unix.FRA_PRIORITY, r.Priority)
	if r.L3MDev {
		s.attr(fraL3MDev, []byte{1})
	} else {
		s.attr32(unix.FRA_TABLE, r.Table)
	}
	if kind == unix.RTM_NEWRULE {
		s.attr(fraProtocol, []byte{r.Protocol})
	}
	s.end(at)
}
