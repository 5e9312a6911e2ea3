package bfd

import (
	"encoding/binary"
	"time"
)

// Size is the length of a control packet without authentication (RFC 5880
// section 4.1), which is all that is sent.
const Size = 24

// minAuthenticated is the least length of a packet that has an authentication
// section.
const minAuthenticated = 26

const version = 1

// Packet is a control packet (RFC 5880 section 4.1). Intervals are whole
// microseconds on the wire.
type Packet struct {
	Diagnostic         Diagnostic
	State              State
	Poll, Final        bool
	ControlIndependent bool // C: the sender's BFD outlives its control plane
	Demand             bool // D: the sender wants no periodic packets while both are up
	Multiplier         uint8
	MyDiscriminator    uint32
	YourDiscriminator  uint32 // 0: not known to the sender
	DesiredMinTx       time.Duration
	RequiredMinRx      time.Duration // 0: the sender wants no periodic packets at all
	RequiredMinEchoRx  time.Duration // 0: the sender wants no echoes
}

// The bits of the second octet.
const (
	bitPoll = 1 << (5 - iota)
	bitFinal
	bitControlIndependent
	bitAuthentication
	bitDemand
	bitMultipoint
)

// Decode reads the payload of a datagram. The error is a [Drop]: one of the
// checks of section 6.8.6 that need no session.
func Decode(b []byte) (Packet, error) {
	if len(b) < Size {
		return Packet{}, DropLength
	}
	flags, length := b[1], int(b[3])
	authenticated := flags&bitAuthentication != 0
	switch {
	case b[0]>>5 != version:
		return Packet{}, DropVersion
	case length < Size, authenticated && length < minAuthenticated, length > len(b):
		return Packet{}, DropLength
	case b[2] == 0:
		return Packet{}, DropMultiplier
	case flags&bitMultipoint != 0:
		return Packet{}, DropMultipoint
	}
	p := Packet{
		Diagnostic: Diagnostic(b[0] & 0x1f), State: State(flags >> 6),
		Poll: flags&bitPoll != 0, Final: flags&bitFinal != 0,
		ControlIndependent: flags&bitControlIndependent != 0, Demand: flags&bitDemand != 0,
		Multiplier:        b[2],
		MyDiscriminator:   binary.BigEndian.Uint32(b[4:]),
		YourDiscriminator: binary.BigEndian.Uint32(b[8:]),
		DesiredMinTx:      microseconds(b[12:]),
		RequiredMinRx:     microseconds(b[16:]),
		RequiredMinEchoRx: microseconds(b[20:]),
	}
	switch {
	case p.MyDiscriminator == 0:
		return Packet{}, DropMyDiscriminator
	case p.YourDiscriminator == 0 && p.State != Down && p.State != AdminDown:
		return Packet{}, DropYourDiscriminator
	case authenticated:
		return Packet{}, DropAuthentication
	}
	return p, nil
}

func microseconds(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
}

// Encode writes the packet. It carries no authentication.
func (p *Packet) Encode(b *[Size]byte) {
	b[0] = version<<5 | byte(p.Diagnostic)&0x1f
	b[1] = byte(p.State)<<6 | bit(p.Poll, bitPoll) | bit(p.Final, bitFinal) |
		bit(p.ControlIndependent, bitControlIndependent) | bit(p.Demand, bitDemand)
	b[2] = p.Multiplier
	b[3] = Size
	binary.BigEndian.PutUint32(b[4:], p.MyDiscriminator)
	binary.BigEndian.PutUint32(b[8:], p.YourDiscriminator)
	binary.BigEndian.PutUint32(b[12:], uint32(p.DesiredMinTx/time.Microsecond))
	binary.BigEndian.PutUint32(b[16:], uint32(p.RequiredMinRx/time.Microsecond))
	binary.BigEndian.PutUint32(b[20:], uint32(p.RequiredMinEchoRx/time.Microsecond))
}

func bit(set bool, mask byte) byte {
	if set {
		return mask
	}
	return 0
}
