package dhcp

import (
	"encoding/binary"
	"math"
	"net/netip"
)

// essential are sent to every guest, asked for or not, because it could not
// reach anything without them. They come in the order of their importance.
// Classless routes are among them because a guest that doesn't ask for them
// may well understand them (udhcpc), and one that doesn't ignores them.
var essential = []byte{optMask, optRoutes, optRouter, optDNS}

// more is sent to guests that don't say what they want.
var more = []byte{optMTU, optHostname, optDomain, optSearch, optNTP}

// parameters are the options that don't make the lease: the essential ones, and
// then what the guest asks for in its order (RFC 2132, section 9.8), as far as
// it is known.
func (s Service) parameters(r Request) []Option {
	wanted, asked := r.Options[optParameters]
	if !asked {
		wanted = more
		for _, o := range s.Options {
			wanted = append(wanted[:len(wanted):len(wanted)], o.Code)
		}
	}
	var seen [256]bool
	var list []Option
	for _, codes := range [][]byte{essential, wanted} {
		for _, code := range codes {
			if seen[code] || reserved(code) {
				continue
			}
			seen[code] = true
			if v := s.value(code); len(v) > 0 {
				list = append(list, Option{code, v})
			}
		}
	}
	return list
}

// reserved are the options that the protocol lives from, padding included; no
// guest gets them for asking and no service replaces them.
func reserved(code byte) bool {
	switch code {
	case 0, optRequested, optLease, optOverload, optKind, optServer, optParameters, optMaxSize,
		optT1, optT2, optClient, optRapidCommit, 82, 255:
		return true
	}
	return false
}

// value is what an option tells, or nothing if that isn't known.
func (s Service) value(code byte) []byte {
	for _, o := range s.Options {
		if o.Code == code {
			return o.Value
		}
	}
	switch code {
	case optMask:
		if s.Subnet.IsValid() && s.Subnet.Addr().Is4() {
			return be32(math.MaxUint32 << (32 - s.Subnet.Bits()))
		}
	case optRouter:
		if s.defaultRoute() {
			return s.Gateway.AsSlice()
		}
	case optDNS:
		return addresses(s.DNS)
	case optNTP:
		return addresses(s.NTP)
	case optHostname:
		return []byte(s.Hostname)
	case optDomain:
		return []byte(s.Domain)
	case optMTU:
		if s.MTU > 0 && s.MTU <= math.MaxUint16 {
			return binary.BigEndian.AppendUint16(nil, uint16(s.MTU))
		}
	case optSearch:
		return searchList(s.Search)
	case optRoutes:
		return s.classless()
	case optRoutesOld:
		return s.value(optRoutes)
	}
	return nil
}

// defaultRoute tells whether the guest's gateway leads everywhere.
func (s Service) defaultRoute() bool {
	for _, p := range s.Routes {
		if p.Addr().Is4() && p.Bits() == 0 {
			return true
		}
	}
	return false
}

// classless is the value of option 121 (RFC 3442). A guest that understands it
// ignores option 3, so either it is not sent or it holds all routes, the
// default route among them. In the classic style it is needed only for further
// routes. Where the gateway is outside of what the guest believes to be on-link,
// as always in the host style, a first route says that it is on-link
// nevertheless; guests add routes in the order of the list.
func (s Service) classless() []byte {
	var value []byte
	outside := !s.Subnet.Contains(s.Gateway)
	if outside {
		value = appendRoute(value, netip.PrefixFrom(s.Gateway, 32), netip.IPv4Unspecified())
	}
	further := outside
	for _, p := range s.Routes {
		if p.Addr().Is4() {
			value = appendRoute(value, p, s.Gateway)
			further = further || p.Bits() > 0
		}
	}
	if !further {
		return nil
	}
	return value
}

// appendRoute adds a route: the prefix's length, its significant bytes, and the
// router.
func appendRoute(to []byte, p netip.Prefix, via netip.Addr) []byte {
	address, router := p.Masked().Addr().As4(), via.As4()
	to = append(to, byte(p.Bits()))
	to = append(to, address[:(p.Bits()+7)/8]...)
	return append(to, router[:]...)
}

func addresses(list []netip.Addr) []byte {
	var value []byte
	for _, a := range list {
		if a.Is4() {
			value = append(value, a.AsSlice()...)
		}
	}
	return value
}

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
