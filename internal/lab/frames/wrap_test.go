package frames

import (
	"encoding/binary"
	"slices"

	"github.com/gopacket/gopacket/layers"
)

// shape is what a wrap does to the packet, on which it depends who may use it.
type shape int

const (
	whole    shape = iota // all in one, as if plain
	extended              // behind extension headers or options
	split                 // a fragment, though there may be only one
	strange               // nobody needs it
)

// wrap is a way to carry a packet: a column of the matrix.
type wrap struct {
	name string
	// legal: a guest may use it for what is its own. Why it may, or may not:
	legal  bool
	reason string
	shape  shape
	// harmless: nobody needs it, and what is legal otherwise may pass or not.
	harmless bool
	tags     []tag
	v4, v6   func(packet) [][]byte // nil: there is no such thing in this family
	parts    byte                  // the parts that make a whole, a bit each
}

const (
	qTag  = layers.EthernetTypeDot1Q
	adTag = layers.EthernetTypeQinQ
)

// wraps are the columns of the matrix, with the reason why each is legal or not.
var wraps = []wrap{
	{name: "plain", legal: true, reason: "how every guest sends", v4: plain, v6: plain, parts: 3},
	{name: "VLAN", reason: "a tap has no VLANs", shape: strange, tags: []tag{{qTag, 5}}, v4: plain, v6: plain, parts: 3},
	{name: "vid 0", legal: true, reason: "IEEE 802.1Q: a priority, no VLAN", tags: []tag{{qTag, 0}}, v4: plain, v6: plain, parts: 3},
	{name: "QinQ", reason: "a tap has no VLANs", shape: strange, tags: []tag{{adTag, 5}, {qTag, 6}}, v4: plain, v6: plain, parts: 3},
	{name: "QinQ 0/5", reason: "a tap has no VLANs", shape: strange, tags: []tag{{adTag, 0}, {qTag, 5}}, v4: plain, v6: plain, parts: 3},
	{name: "QinQ 0/0", legal: true, reason: "as vid 0, twice", tags: []tag{{adTag, 0}, {qTag, 0}}, v4: plain, v6: plain, parts: 3},
	{name: "IP options", legal: true, reason: "RFC 791 section 3.1", shape: extended, v4: options4, parts: 3},
	{name: "fragment", legal: true, reason: "RFC 791, RFC 8200 section 4.5", shape: split, v4: fragments4, v6: fragments6, parts: 3},
	{name: "hop-by-hop", legal: true, reason: "RFC 8200 section 4.3", shape: extended, v6: hopByHop, parts: 3},
	{name: "bad option", reason: "RFC 8200 section 4.2: it asks for an ICMP error", shape: strange, v6: badOption, parts: 3},
	{name: "bad jumbo", reason: "RFC 2675 section 3: it asks for an ICMP error", shape: strange, v6: badJumbo, parts: 3},
	{name: "dest-opts", legal: true, reason: "RFC 8200 section 4.6", shape: extended, v6: destinationOptions, parts: 3},
	{name: "chain", legal: true, reason: "RFC 8200 section 4.1", shape: extended, v6: chain, parts: 3},
	{name: "routing", harmless: true, reason: "no use in this network", shape: strange, v6: routing, parts: 3},
	{name: "atomic", legal: true, reason: "RFC 6946", shape: split, v6: atomicFragment, parts: 3},
	{name: "nested", harmless: true, reason: "no stack sends a fragment of a fragment", shape: strange, v6: nested, parts: 3},
	{name: "options inside", harmless: true, reason: "RFC 8200 section 4.5, and no stack does it", shape: strange, v6: optionsInside, parts: 3},
	{name: "headless", reason: "RFC 7112: nobody can tell what the first fragment belongs to", shape: strange, v6: headless, parts: 7},
}

// carry gives the frames of a packet in this wrap.
func (w wrap) carry(p packet) [][]byte {
	kind, inner := layers.EthernetTypeIPv6, w.v6
	if p.src.Is4() {
		kind, inner = layers.EthernetTypeIPv4, w.v4
	}
	if inner == nil {
		return nil
	}
	var frames [][]byte
	for _, raw := range inner(p) {
		frames = append(frames, link(p.from, p.to, w.tags, kind, raw))
	}
	return frames
}

// plainFrame is a packet in one plain frame.
func plainFrame(p packet) []byte { return wraps[0].carry(p)[0] }

func plain(p packet) [][]byte { return [][]byte{p.ip(p.body)} }

func fragments4(p packet) [][]byte {
	return [][]byte{
		p.ip(p.body[:p.split], func(l *layers.IPv4) { l.Flags = layers.IPv4MoreFragments }),
		p.ip(p.body[p.split:], func(l *layers.IPv4) { l.FragOffset = uint16(p.split / 8) }),
	}
}

const (
	nextHopByHop = 0
	nextRouting  = 43
	nextFragment = 44
	nextOptions  = 60
)

// options is a header of options with one that is to be skipped where it is unknown (RFC 4727), with a token.
func options(next layers.IPProtocol, mark []byte) []byte {
	if mark == nil {
		mark = make([]byte, 8)
	}
	header := []byte{byte(next), 1, 0x1e, byte(len(mark)), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	copy(header[4:], mark)
	header[12], header[13] = 1, 2 // PadN
	return header
}

func fragmentHeader(next layers.IPProtocol, id uint32, offset int, more bool) []byte {
	bits := uint16(offset)
	if more {
		bits |= 1
	}
	header := binary.BigEndian.AppendUint16([]byte{byte(next), 0}, bits)
	return binary.BigEndian.AppendUint32(header, id)
}

func (p packet) behind(next layers.IPProtocol, headers ...[]byte) []byte {
	outer := p
	outer.next = next
	return outer.ip(append(slices.Concat(headers...), p.body...))
}

func hopByHop(p packet) [][]byte {
	return [][]byte{p.behind(nextHopByHop, options(p.next, nil))}
}

// badOption is an unknown option of a kind that a node answers with an error even before it routes.
func badOption(p packet) [][]byte {
	return [][]byte{p.behind(nextHopByHop, []byte{byte(p.next), 0, 0x9e, 4, 0, 0, 0, 0})}
}

// badJumbo claims to be a jumbogram beside a payload length.
func badJumbo(p packet) [][]byte {
	return [][]byte{p.behind(nextHopByHop, []byte{byte(p.next), 0, 0xc2, 4, 0, 0, 0, 64})}
}

// optionsInside is a fragment with options in what is fragmented, and the upper layer's header in the first one.
func optionsInside(p packet) [][]byte {
	first := options(p.next, nil)
	return p.fragmented(nextOptions, append(first, p.body...), len(first)+p.split)
}

func destinationOptions(p packet) [][]byte {
	return [][]byte{p.behind(nextOptions, options(p.next, nil))}
}

func chain(p packet) [][]byte {
	return [][]byte{p.behind(nextHopByHop, options(nextOptions, nil), options(nextOptions, nil), options(p.next, nil))}
}

func atomicFragment(p packet) [][]byte {
	return [][]byte{p.behind(nextFragment, fragmentHeader(p.next, p.frame, 0, false))}
}

// routing is a header whose way is at its end (RFC 8200 section 4.4), of an experimental type (RFC 4727).
func routing(p packet) [][]byte {
	return [][]byte{p.behind(nextRouting, []byte{byte(p.next), 0, 253, 0, 0, 0, 0, 0})}
}

func nested(p packet) [][]byte {
	return [][]byte{p.behind(nextFragment, fragmentHeader(nextFragment, p.frame, 0, false), fragmentHeader(p.next, p.frame, 0, false))}
}

func options4(p packet) [][]byte {
	nothing := layers.IPv4Option{OptionType: 1}
	return [][]byte{p.ip(p.body, func(l *layers.IPv4) { l.Options = []layers.IPv4Option{nothing, nothing, nothing, nothing} })}
}

// fragments6 has the upper layer's header in the first fragment.
func fragments6(p packet) [][]byte {
	return p.fragmented(p.next, p.body, p.split)
}

// headless has only options in the first fragment.
func headless(p packet) [][]byte {
	first := options(p.next, token(p.frame, 2))
	return p.fragmented(nextOptions, append(first, p.body...), len(first))
}

func (p packet) fragmented(next layers.IPProtocol, body []byte, at int) [][]byte {
	outer := p
	outer.next = nextFragment
	return [][]byte{
		outer.ip(append(fragmentHeader(next, p.frame, 0, true), body[:at]...)),
		outer.ip(append(fragmentHeader(next, p.frame, at, false), body[at:]...)),
	}
}
