package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/vrf"
)

// place is a set of a table.
type place struct {
	family byte
	set    string
}

// places are the sets of the kernel that an element is in: ARP has its own
// table, and sets of both families have two.
func places(e vrf.FilterElement) []place {
	name := string(e.Set)
	switch e.Set {
	case vrf.SetVRFTaps:
		return []place{{unix.NFPROTO_INET, name}}
	case vrf.SetSources, vrf.SetGateways:
		name = prefixSet(e)
		if e.Prefix.Addr().Is6() {
			return []place{{unix.NFPROTO_INET, name}}
		}
	}
	return []place{{unix.NFPROTO_INET, name}, {unix.NFPROTO_ARP, name}}
}

// prefixSet is where the kernel looks for a source or a gateway.
func prefixSet(e vrf.FilterElement) string {
	family := "4"
	if e.Prefix.Addr().Is6() {
		family = "6"
	}
	switch {
	case e.Set == vrf.SetGateways:
		return gateways + family
	case e.Interval():
		return prefixes + family
	case e.Prefix.IsSingleIP():
		return hosts + family
	}
	return subnets6
}

// Names of sets of prefixes. All but the gateways' hold sources.
const (
	gateways = "gateways"
	hosts    = "hosts"
	prefixes = "prefixes"
	subnets6 = "subnets6"
)

// elementSets are all places of elements of ours.
var elementSets = []place{
	{unix.NFPROTO_INET, "taps"}, {unix.NFPROTO_INET, "vrftaps"}, {unix.NFPROTO_INET, "exempt"}, {unix.NFPROTO_INET, "macs"},
	{unix.NFPROTO_INET, "hosts4"}, {unix.NFPROTO_INET, "hosts6"}, {unix.NFPROTO_INET, "subnets6"}, {unix.NFPROTO_INET, "prefixes4"}, {unix.NFPROTO_INET, "prefixes6"},
	{unix.NFPROTO_INET, "gateways4"}, {unix.NFPROTO_INET, "gateways6"},
	{unix.NFPROTO_ARP, "taps"}, {unix.NFPROTO_ARP, "exempt"}, {unix.NFPROTO_ARP, "macs"},
	{unix.NFPROTO_ARP, "hosts4"}, {unix.NFPROTO_ARP, "prefixes4"}, {unix.NFPROTO_ARP, "gateways4"},
}

// elements reads them. torn tells that one is missing in one of its places.
func (n *nft) elements(ctx context.Context) (list []vrf.FilterElement, torn bool, err error) {
	seen := map[vrf.FilterElement]int{}
	for _, p := range elementSets {
		err := n.setElements(ctx, p, func(e *element) {
			f, ok := e.decode(p.set)
			if !ok {
				torn = true
				return
			}
			seen[f]++
		})
		if err != nil {
			return nil, false, err
		}
	}
	list = make([]vrf.FilterElement, 0, len(seen))
	for e, times := range seen {
		list = append(list, e)
		torn = torn || times != len(places(e))
	}
	return list, torn, nil
}

// decode reads an element back. What we would have put elsewhere is none of
// ours.
func (e *element) decode(set string) (vrf.FilterElement, bool) {
	f := vrf.FilterElement{Set: vrf.FilterSet(set)}
	switch strings.TrimRight(set, "46") {
	case gateways:
		f.Set = vrf.SetGateways
	case hosts, prefixes, "subnets":
		f.Set = vrf.SetSources
	}
	if len(e.key) < int(typeName.size) {
		return f, false
	}
	f.Link = cString(e.key[:typeName.size])
	rest := e.key[typeName.size:]
	switch f.Set {
	case vrf.SetMACs:
		if len(rest) < 6 {
			return f, false
		}
		copy(f.MAC[:], rest)
	case vrf.SetSources, vrf.SetGateways:
		first, ok := netip.AddrFromSlice(rest)
		if !ok || first.Is6() != strings.HasSuffix(set, "6") {
			return f, false
		}
		last := first
		switch {
		case set == subnets6:
			last = lastOf(netip.PrefixFrom(first, 64))
		case len(e.end) == len(e.key):
			last, _ = netip.AddrFromSlice(e.end[typeName.size:])
		}
		f.Prefix, ok = span(first, last)
		return f, ok && prefixSet(f) == set
	}
	return f, true
}

// span is the prefix from a first to a last address, if there is one.
func span(first, last netip.Addr) (netip.Prefix, bool) {
	for bits := range first.BitLen() + 1 {
		if p := netip.PrefixFrom(first, bits); p.Masked() == p && lastOf(p) == last {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// key is an element's key, and its end in a set of intervals.
func key(e vrf.FilterElement) (first, last []byte) {
	first = nameBytes(e.Link)
	switch e.Set {
	case vrf.SetMACs:
		first = append(first, e.MAC[:]...)
		first = append(first, 0, 0)
	case vrf.SetGateways:
		first = append(first, e.Prefix.Addr().AsSlice()...)
	case vrf.SetSources:
		if e.Interval() {
			last = append(slices.Clone(first), lastOf(e.Prefix).AsSlice()...)
		}
		first = append(first, e.Prefix.Masked().Addr().AsSlice()...)
	}
	return first, last
}

// element is an element of a set as it was read.
type element struct {
	key, end []byte
	packets  uint64
}

// setElements reads a set.
func (n *nft) setElements(ctx context.Context, p place, f func(*element)) error {
	return n.list(ctx, unix.NFT_MSG_GETSETELEM, p.family, func() {
		n.text(unix.NFTA_SET_ELEM_LIST_TABLE, filterTable)
		n.text(unix.NFTA_SET_ELEM_LIST_SET, p.set)
	}, func(_ byte, b []byte) {
		attributes(b, func(kind uint16, data []byte) {
			if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				return
			}
			attributes(data, func(_ uint16, data []byte) {
				var e element
				e.parse(data)
				f(&e)
			})
		})
	})
}

const setElemKeyEnd = 10 // NFTA_SET_ELEM_KEY_END, Linux 5.6

func (e *element) parse(b []byte) {
	attributes(b, func(kind uint16, data []byte) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			attributes(data, func(_ uint16, v []byte) { e.key = v })
		case setElemKeyEnd:
			attributes(data, func(_ uint16, v []byte) { e.end = v })
		case unix.NFTA_SET_ELEM_EXPR:
			attributes(data, func(kind uint16, v []byte) {
				if kind == unix.NFTA_EXPR_DATA {
					attributes(v, func(kind uint16, v []byte) {
						if kind == unix.NFTA_COUNTER_PACKETS {
							e.packets = be64(v)
						}
					})
				}
			})
		}
	})
}

// mostElements keeps the list of elements of a message below the 64 KiB that
// its length can say.
const mostElements = 256

// putElements writes elements, set by set.
func (n *nft) putElements(kind uint16, list []vrf.FilterElement) {
	bySet := map[place][]vrf.FilterElement{}
	for _, e := range list {
		for _, p := range places(e) {
			bySet[p] = append(bySet[p], e)
		}
	}
	for _, p := range elementSets {
		for part := range slices.Chunk(bySet[p], mostElements) {
			n.change(kind, unix.NLM_F_CREATE, p.family, fmt.Sprintf("set %s with %s", p.set, part[0]), func() {
				n.text(unix.NFTA_SET_ELEM_LIST_TABLE, filterTable)
				n.text(unix.NFTA_SET_ELEM_LIST_SET, p.set)
				n.nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func() {
					for _, e := range part {
						n.nested(unix.NFTA_LIST_ELEM, func() { n.putKey(e) })
					}
				})
			})
		}
	}
}

func (n *nft) putKey(e vrf.FilterElement) {
	first, last := key(e)
	n.nested(unix.NFTA_SET_ELEM_KEY, func() { n.attr(unix.NFTA_DATA_VALUE, first) })
	if last != nil {
		n.nested(setElemKeyEnd, func() { n.attr(unix.NFTA_DATA_VALUE, last) })
	}
}
