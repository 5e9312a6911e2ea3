package observe

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// nexthopID is RTA_NH_ID.
const nexthopID = 30

// hop is a next hop of a route.
type hop struct {
	link    uint32
	gateway netip.Addr
}

// route is what the kernel says of one.
type route struct {
	table   uint32
	unicast bool
	to      netip.Prefix
	hops    []hop
	object  uint32 // the id of a next-hop object; 0 is none
}

// parse reads a route into r, whose slice of hops is used again.
func (r *route) parse(body []byte) bool {
	if len(body) < routeSize {
		return false
	}
	*r = route{table: uint32(body[4]), unicast: body[7] == unix.RTN_UNICAST, hops: r.hops[:0]}
	bits, single := int(body[1]), hop{}
	var to netip.Addr
	attributes(body[routeSize:], func(kind uint16, value []byte) {
		switch kind {
		case unix.RTA_TABLE:
			r.table = binary.NativeEndian.Uint32(value)
		case unix.RTA_DST:
			to, _ = netip.AddrFromSlice(value)
		case unix.RTA_OIF:
			single.link = binary.NativeEndian.Uint32(value)
		case unix.RTA_GATEWAY:
			single.gateway, _ = netip.AddrFromSlice(value)
		case nexthopID:
			r.object = binary.NativeEndian.Uint32(value)
		case unix.RTA_MULTIPATH:
			r.multipath(value)
		}
	})
	if single.gateway.IsValid() && len(r.hops) == 0 {
		r.hops = append(r.hops, single)
	}
	r.to = netip.PrefixFrom(to, bits)
	return true
}

// multipath reads struct rtnexthop, one after the other.
func (r *route) multipath(b []byte) {
	const size = 8
	for len(b) >= size {
		n := int(binary.NativeEndian.Uint16(b))
		if n < size || n > len(b) {
			return
		}
		h := hop{link: binary.NativeEndian.Uint32(b[4:])}
		attributes(b[size:n], func(kind uint16, value []byte) {
			if kind == unix.RTA_GATEWAY {
				h.gateway, _ = netip.AddrFromSlice(value)
			}
		})
		r.hops = append(r.hops, h)
		b = b[min(len(b), (n+3)&^3):]
	}
}

// object is a next-hop object: a hop, or a group of others.
type object struct {
	id      uint32
	hop     hop
	members []uint32
}

func parseObject(body []byte) (o object) {
	const size, member = 8, 8 // struct nhmsg, struct nexthop_grp
	if len(body) < size {
		return o
	}
	attributes(body[size:], func(kind uint16, value []byte) {
		switch kind {
		case unix.NHA_ID:
			o.id = binary.NativeEndian.Uint32(value)
		case unix.NHA_OIF:
			o.hop.link = binary.NativeEndian.Uint32(value)
		case unix.NHA_GATEWAY:
			o.hop.gateway, _ = netip.AddrFromSlice(value)
		case unix.NHA_GROUP:
			for ; len(value) >= member; value = value[member:] {
				o.members = append(o.members, binary.NativeEndian.Uint32(value))
			}
		}
	})
	return o
}

// objects are those of the kernel that are known.
type objects map[uint32]object

// hops are those that an object comes to, and the ids that are not known.
func (m objects) hops(id uint32) (list []hop, missing []uint32) {
	o, ok := m[id]
	if !ok {
		return nil, []uint32{id}
	}
	if len(o.members) == 0 {
		return []hop{o.hop}, nil
	}
	for _, member := range o.members {
		if o, ok := m[member]; ok {
			list = append(list, o.hop)
		} else {
			missing = append(missing, member)
		}
	}
	return list, missing
}
