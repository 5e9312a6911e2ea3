package session

import (
	"net/netip"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/hostroute/hostroute/internal/bgp"
)

// asTrans stands in for AS numbers of more than two octets (RFC 6793).
const asTrans = 23456

var codecFamilies = [2]packet.RouteFamily{packet.RF_IPv4_UC, packet.RF_IPv6_UC}

// negotiated is what both sides of a session can do.
type negotiated struct {
	routerID netip.Addr
	hold     time.Duration
	families [2]bool
	addPath  [2]bool
	as4      bool
	refresh  bool
	extended bool // IPv4 through an IPv6 next hop
	restart  restartCapability
	// longLived is what both sides said, with the shorter one of the times.
	longLived longLivedCapability
	names     []string
}

// restartCapability is the peer's graceful restart capability (RFC 4724, 8538).
type restartCapability struct {
	able         bool
	restarting   bool
	notification bool
	time         time.Duration
	families     [2]bool
	forwarding   [2]bool
}

// longLivedCapability is the peer's long-lived graceful restart capability (RFC
// 9494 section 3).
type longLivedCapability struct {
	families   [2]bool
	forwarding [2]bool
	time       [2]time.Duration
}

// openMessage is our OPEN. restarting sets the R bit, kept the F bits: what
// they claim must be true, or peers keep routes that lead nowhere.
func openMessage(c *Config, restarting, kept bool) ([]byte, error) {
	var tuples []*packet.CapGracefulRestartTuple
	var long []*packet.CapLongLivedGracefulRestartTuple
	var paths []*packet.CapAddPathTuple
	var caps []packet.ParameterCapabilityInterface
	for _, rf := range codecFamilies {
		caps = append(caps, packet.NewCapMultiProtocol(rf))
		tuples = append(tuples, packet.NewCapGracefulRestartTuple(rf, kept))
		long = append(long, packet.NewCapLongLivedGracefulRestartTuple(rf, kept, uint32(c.LongLivedStaleTime/time.Second)))
		paths = append(paths, packet.NewCapAddPathTuple(rf, packet.BGP_ADD_PATH_RECEIVE))
	}
	caps = append(caps,
		packet.NewCapRouteRefresh(),
		packet.NewCapExtendedNexthop([]*packet.CapExtendedNexthopTuple{packet.NewCapExtendedNexthopTuple(packet.RF_IPv4_UC, packet.AFI_IP6)}),
		packet.NewCapGracefulRestart(restarting, true, uint16(c.RestartTime/time.Second), tuples),
		packet.NewCapFourOctetASNumber(c.AS),
		packet.NewCapAddPath(paths),
	)
	if c.LongLivedStaleTime > 0 {
		caps = append(caps, packet.NewCapLongLivedGracefulRestart(long))
	}
	as := uint16(asTrans)
	if c.AS <= 0xffff {
		as = uint16(c.AS)
	}
	return serialize(nil, packet.NewBGPOpenMessage(as, uint16(c.HoldTime/time.Second), c.RouterID.String(),
		[]packet.OptionParameterInterface{packet.NewOptionParameterCapability(caps)}))
}

// negotiate reads the peer's OPEN.
func negotiate(c *Config, p *Peer, body []byte) (n *negotiated, err error) {
	defer recoverInto(&err, "reading the OPEN")
	open := new(packet.BGPOpen)
	if err := open.DecodeFromBytes(body); err != nil {
		return nil, newFault(bgp.CodeOpen, 0, nil, "an OPEN that can't be read: %v", err)
	}
	id, _ := netip.AddrFromSlice(open.ID)
	n = &negotiated{routerID: id, hold: min(c.HoldTime, time.Duration(open.HoldTime)*time.Second)}
	as, multiprotocol := uint32(open.MyAS), false
	for _, param := range open.OptParams {
		list, ok := param.(*packet.OptionParameterCapability)
		if !ok {
			continue
		}
		for _, capability := range list.Capability {
			switch v := capability.(type) {
			case *packet.CapFourOctetASNumber:
				as, n.as4 = v.CapValue, true
			case *packet.CapMultiProtocol:
				multiprotocol = true
			}
			n.take(capability)
		}
	}
	if !multiprotocol {
		n.families[bgp.IPv4] = true // RFC 4760 section 8
	}
	if !n.restart.able || c.LongLivedStaleTime == 0 {
		n.longLived = longLivedCapability{} // it means nothing alone (RFC 9494 section 3)
	}
	for f, asked := range n.longLived.time {
		n.longLived.time[f] = min(asked, c.LongLivedStaleTime)
	}
	return n, n.check(c, p, open, as)
}

func (n *negotiated) check(c *Config, p *Peer, open *packet.BGPOpen, as uint32) error {
	switch {
	case open.Version != 4:
		return newFault(bgp.CodeOpen, 1, []byte{0, 4}, "the peer speaks BGP version %d", open.Version)
	case as != p.AS:
		return newFault(bgp.CodeOpen, 2, nil, "the peer is AS %d, configured is AS %d", as, p.AS)
	case !n.routerID.Is4() || n.routerID.IsUnspecified() || n.routerID == c.RouterID && as == c.AS:
		return newFault(bgp.CodeOpen, 3, nil, "the peer has router id %v, ours is %v", n.routerID, c.RouterID)
	case open.HoldTime == 1 || open.HoldTime == 2:
		return newFault(bgp.CodeOpen, 6, nil, "the peer wants a hold time of %d s", open.HoldTime)
	case !n.families[bgp.IPv4] && !n.families[bgp.IPv6]:
		return newFault(bgp.CodeOpen, 7, nil, "the peer has neither IPv4 nor IPv6 unicast")
	}
	return nil
}

func codecFamily(afi uint16, safi uint8) (bgp.Family, bool) {
	for f, rf := range codecFamilies {
		if packet.AfiSafiToRouteFamily(afi, safi) == rf {
			return bgp.Family(f), true
		}
	}
	return 0, false
}

// take notes what we share with the peer of one capability of its.
func (n *negotiated) take(capability packet.ParameterCapabilityInterface) {
	name := capability.Code().String()
	switch v := capability.(type) {
	case *packet.CapMultiProtocol:
		afi, safi := packet.RouteFamilyToAfiSafi(v.CapValue)
		if f, ok := codecFamily(afi, safi); ok {
			n.families[f] = true
		}
		name = v.CapValue.String()
	case *packet.CapRouteRefresh:
		n.refresh = true
	case *packet.CapAddPath:
		for _, t := range v.Tuples {
			afi, safi := packet.RouteFamilyToAfiSafi(t.RouteFamily)
			if f, ok := codecFamily(afi, safi); ok && t.Mode&packet.BGP_ADD_PATH_SEND != 0 {
				n.addPath[f] = true
			}
		}
	case *packet.CapExtendedNexthop:
		for _, t := range v.Tuples {
			f, ok := codecFamily(t.NLRIAFI, uint8(t.NLRISAFI))
			n.extended = n.extended || ok && f == bgp.IPv4 && t.NexthopAFI == packet.AFI_IP6
		}
	case *packet.CapGracefulRestart:
		n.restart.able = true
		n.restart.restarting, n.restart.notification = v.Flags&8 != 0, v.Flags&4 != 0
		n.restart.time = time.Duration(v.Time) * time.Second
		for _, t := range v.Tuples {
			if f, ok := codecFamily(t.AFI, t.SAFI); ok {
				n.restart.families[f], n.restart.forwarding[f] = true, t.Flags&0x80 != 0
			}
		}
	}
	if v, ok := capability.(*packet.CapLongLivedGracefulRestart); ok {
		n.longLived.take(v)
	}
	n.names = append(n.names, name)
}

func (l *longLivedCapability) take(v *packet.CapLongLivedGracefulRestart) {
	for _, t := range v.Tuples {
		if f, ok := codecFamily(t.AFI, t.SAFI); ok {
			l.families[f], l.forwarding[f] = true, t.Flags&0x80 != 0
			l.time[f] = time.Duration(t.RestartTime) * time.Second
		}
	}
}

// decoder is the UPDATE decoder for what was negotiated.
func (n *negotiated) decoder(c *Config, p *Peer) *bgp.Decoder {
	id := c.RouterID.As4()
	return &bgp.Decoder{
		Families: n.families, AddPath: n.addPath, AS4: n.as4, EBGP: p.AS != c.AS, LocalAS: c.AS,
		RouterID: uint32(id[0])<<24 | uint32(id[1])<<16 | uint32(id[2])<<8 | uint32(id[3]),
	}
}

func (n *negotiated) keepalive() time.Duration { return n.hold / 3 }
