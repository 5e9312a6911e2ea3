package kernel

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers: a name fills the first of 16 bytes, and what follows it in a
// concatenated key is in the second.
const (
	regKey  = unix.NFT_REG_1
	regNext = unix.NFT_REG_2
)

// metaSDIFName is the name of the slave that a packet came in by, empty where
// it didn't come in by one (NFT_META_SDIFNAME, Linux 5.6).
const metaSDIFName = 34

// match is what several expressions make together.
type match []expr.Any

// rule joins expressions and matches.
func rule(parts ...any) ruleExprs {
	var r ruleExprs
	for _, p := range parts {
		switch p := p.(type) {
		case match:
			r = append(r, p...)
		case expr.Any:
			r = append(r, p)
		}
	}
	return r
}

func meta(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: regKey} }
func iifname() expr.Any              { return meta(expr.MetaKeyIIFNAME) }
func sdifname() expr.Any             { return meta(metaSDIFName) }

func load(base expr.PayloadBase, offset, size, register uint32) expr.Any {
	return &expr.Payload{Base: base, Offset: offset, Len: size, DestRegister: register}
}

func network(offset, size uint32) expr.Any {
	return load(expr.PayloadBaseNetworkHeader, offset, size, regKey)
}

func transport(offset, size uint32) expr.Any {
	return load(expr.PayloadBaseTransportHeader, offset, size, regKey)
}

// has matches if the transport header has so many bytes, and is in this
// fragment: what can't be loaded matches nothing.
func has(bytes uint32) match { return match{transport(bytes-1, 1)} }

func equal(value ...byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: value}
}

func differs(value ...byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpNeq, Register: regKey, Data: value}
}

func between(from, to byte) match {
	return match{
		&expr.Cmp{Op: expr.CmpOpGte, Register: regKey, Data: []byte{from}},
		&expr.Cmp{Op: expr.CmpOpLte, Register: regKey, Data: []byte{to}},
	}
}

func in(set string) expr.Any { return &expr.Lookup{SourceRegister: regKey, SetName: set} }

func jump(chain string) expr.Any { return &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain} }
func call(chain string) expr.Any { return &expr.Verdict{Kind: expr.VerdictJump, Chain: chain} }
func back() expr.Any             { return &expr.Verdict{Kind: expr.VerdictReturn} }
func accept() expr.Any           { return &expr.Verdict{Kind: expr.VerdictAccept} }
func drop() expr.Any             { return &expr.Verdict{Kind: expr.VerdictDrop} }

// within compares the first bytes of an address with a prefix.
func within(offset uint32, p netip.Prefix) match {
	size := uint32(p.Addr().BitLen() / 8)
	m := match{network(offset, size)}
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	if p.Bits() < p.Addr().BitLen() {
		m = append(m, &expr.Bitwise{SourceRegister: regKey, DestRegister: regKey, Len: size, Mask: mask, Xor: make([]byte, size)})
	}
	return append(m, equal(p.Masked().Addr().AsSlice()...))
}

// keyed matches a set whose key is an interface and what a packet holds.
func keyed(who, what expr.Any, set string) match {
	return match{who, into(regNext, what), in(set)}
}

// into loads something of a packet into another register.
func into(register uint32, what expr.Any) expr.Any {
	if w, ok := what.(*expr.Payload); ok {
		w.DestRegister = register
	}
	return what
}

// first64 keeps the first half of the IPv6 address in a register.
func first64(register uint32) expr.Any {
	mask := make([]byte, 16)
	copy(mask, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	return &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 16, Mask: mask, Xor: make([]byte, 16)}
}

func family(f byte) match { return match{meta(expr.MetaKeyNFPROTO), equal(f)} }

func protocol(p byte) match { return match{meta(expr.MetaKeyL4PROTO), equal(p)} }

// ports of a UDP datagram, whole header included.
func ports(from, to uint16) match {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	return append(append(protocol(unix.IPPROTO_UDP), has(8)...), transport(0, 4), equal(b...))
}

func udpPort(offset uint32, port uint16) match {
	return append(protocol(unix.IPPROTO_UDP), transport(offset, 2), equal(byte(port>>8), byte(port)))
}

// icmp matches a range of types of an ICMP or ICMPv6 message whose header is
// there.
func icmp(proto, from, to byte) match {
	m := append(append(protocol(proto), has(8)...), transport(0, 1))
	if from == to {
		return append(m, equal(from))
	}
	return append(m, between(from, to)...)
}

func icmp6(from, to byte) match { return icmp(unix.IPPROTO_ICMPV6, from, to) }
func icmp4(from, to byte) match { return icmp(unix.IPPROTO_ICMP, from, to) }

// fragmented: there is an IPv6 fragment header, wherever it is.
func fragmented() match { return extension(unix.IPPROTO_FRAGMENT) }

func extension(header byte) match {
	return match{
		&expr.Exthdr{DestRegister: regKey, Type: header, Len: 1, Op: expr.ExthdrOpIpv6, Flags: unix.NFT_EXTHDR_F_PRESENT}, equal(1),
	}
}

// laterFragment: the fragment header says that this isn't the first.
func laterFragment() match {
	return match{
		&expr.Exthdr{DestRegister: regKey, Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2, Op: expr.ExthdrOpIpv6},
		&expr.Bitwise{SourceRegister: regKey, DestRegister: regKey, Len: 2, Mask: []byte{0xff, 0xf8}, Xor: []byte{0, 0}},
		differs(0, 0),
	}
}

func laterFragment4() match {
	return match{
		network(6, 2),
		&expr.Bitwise{SourceRegister: regKey, DestRegister: regKey, Len: 2, Mask: []byte{0x1f, 0xff}, Xor: []byte{0, 0}},
		differs(0, 0),
	}
}

func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
