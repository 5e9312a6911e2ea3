package bfd

import (
	"errors"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"
)

// drawPacket makes any packet that may be sent.
func drawPacket(t *rapid.T) Packet {
	interval := func(name string) time.Duration {
		return time.Duration(rapid.Uint32().Draw(t, name)) * time.Microsecond
	}
	p := Packet{
		Diagnostic: Diagnostic(rapid.IntRange(0, 31).Draw(t, "diag")), State: State(rapid.IntRange(0, 3).Draw(t, "state")),
		Poll: rapid.Bool().Draw(t, "poll"), Final: rapid.Bool().Draw(t, "final"),
		ControlIndependent: rapid.Bool().Draw(t, "c"), Demand: rapid.Bool().Draw(t, "demand"),
		Multiplier:        uint8(rapid.IntRange(1, 255).Draw(t, "multiplier")),
		MyDiscriminator:   uint32(rapid.IntRange(1, 1<<32-1).Draw(t, "mine")),
		YourDiscriminator: rapid.Uint32().Draw(t, "yours"),
		DesiredMinTx:      interval("tx"), RequiredMinRx: interval("rx"), RequiredMinEchoRx: interval("echo"),
	}
	if p.YourDiscriminator == 0 && p.State > Down {
		p.YourDiscriminator = 1
	}
	return p
}

// oracle reads a packet with gopacket.
func oracle(t testing.TB, b []byte) Packet {
	t.Helper()
	var l layers.BFD
	if err := l.DecodeFromBytes(b, gopacket.NilDecodeFeedback); err != nil {
		t.Fatalf("gopacket: %v", err)
	}
	us := func(i layers.BFDTimeInterval) time.Duration { return time.Duration(i) * time.Microsecond }
	return Packet{
		Diagnostic: Diagnostic(l.Diagnostic), State: State(l.State), Poll: l.Poll, Final: l.Final,
		ControlIndependent: l.ControlPlaneIndependent, Demand: l.Demand, Multiplier: uint8(l.DetectMultiplier),
		MyDiscriminator: uint32(l.MyDiscriminator), YourDiscriminator: uint32(l.YourDiscriminator),
		DesiredMinTx: us(l.DesiredMinTxInterval), RequiredMinRx: us(l.RequiredMinRxInterval),
		RequiredMinEchoRx: us(l.RequiredMinEchoRxInterval),
	}
}

// serialized writes a packet with gopacket.
func serialized(t testing.TB, p Packet) []byte {
	t.Helper()
	us := func(d time.Duration) layers.BFDTimeInterval { return layers.BFDTimeInterval(d / time.Microsecond) }
	l := layers.BFD{
		Version: 1, Diagnostic: layers.BFDDiagnostic(p.Diagnostic), State: layers.BFDState(p.State), Poll: p.Poll, Final: p.Final,
		ControlPlaneIndependent: p.ControlIndependent, Demand: p.Demand, DetectMultiplier: layers.BFDDetectMultiplier(p.Multiplier),
		MyDiscriminator: layers.BFDDiscriminator(p.MyDiscriminator), YourDiscriminator: layers.BFDDiscriminator(p.YourDiscriminator),
		DesiredMinTxInterval: us(p.DesiredMinTx), RequiredMinRxInterval: us(p.RequiredMinRx), RequiredMinEchoRxInterval: us(p.RequiredMinEchoRx),
	}
	buf := gopacket.NewSerializeBuffer()
	if err := l.SerializeTo(buf, gopacket.SerializeOptions{FixLengths: true}); err != nil {
		t.Fatalf("gopacket: %v", err)
	}
	return buf.Bytes()
}

func TestCodecAgreesWithGopacket(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPacket(rt)
		var b [Size]byte
		p.Encode(&b)
		if got, err := Decode(b[:]); err != nil || got != p {
			rt.Fatalf("encoded and decoded %+v: %+v, %v", p, got, err)
		}
		if got := oracle(t, b[:]); got != p {
			rt.Fatalf("gopacket reads %+v as %+v", p, got)
		}
		if theirs := serialized(t, p); string(theirs) != string(b[:]) {
			rt.Fatalf("gopacket writes %x, Encode %x", theirs, b)
		}
	})
}

// valid is the packet that the tests of the checks change.
func valid() [Size]byte {
	p := Packet{
		State: Up, Multiplier: 3, MyDiscriminator: 7, YourDiscriminator: 9,
		DesiredMinTx: time.Second, RequiredMinRx: time.Second,
	}
	var b [Size]byte
	p.Encode(&b)
	return b
}

func TestDecodeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   error
	}{
		"nothing to refuse":        {func(b []byte) []byte { return b }, nil},
		"more behind the packet":   {func(b []byte) []byte { return append(b, 1, 2, 3) }, nil},
		"nothing":                  {func([]byte) []byte { return nil }, DropLength},
		"a short datagram":         {func(b []byte) []byte { return b[:Size-1] }, DropLength},
		"version 0":                {func(b []byte) []byte { b[0] &= 0x1f; return b }, DropVersion},
		"version 2":                {func(b []byte) []byte { b[0] = 2 << 5; return b }, DropVersion},
		"a short length":           {func(b []byte) []byte { b[3] = Size - 1; return b }, DropLength},
		"a length past the end":    {func(b []byte) []byte { b[3] = Size + 1; return b }, DropLength},
		"authentication too short": {func(b []byte) []byte { b[1] |= bitAuthentication; return b }, DropLength},
		"authentication": {func(b []byte) []byte {
			b[1] |= bitAuthentication
			b[3] = Size + 4
			return append(b, 1, 4, 1, 'x')
		}, DropAuthentication},
		"multiplier zero":         {func(b []byte) []byte { b[2] = 0; return b }, DropMultiplier},
		"multipoint":              {func(b []byte) []byte { b[1] |= bitMultipoint; return b }, DropMultipoint},
		"my discriminator zero":   {func(b []byte) []byte { clear(b[4:8]); return b }, DropMyDiscriminator},
		"your discriminator zero": {func(b []byte) []byte { clear(b[8:12]); return b }, DropYourDiscriminator},
		"the same in Init": {func(b []byte) []byte {
			clear(b[8:12])
			b[1] = byte(Init) << 6
			return b
		}, DropYourDiscriminator},
		"the same in Down":      {func(b []byte) []byte { clear(b[8:12]); b[1] = byte(Down) << 6; return b }, nil},
		"the same in AdminDown": {func(b []byte) []byte { clear(b[8:12]); b[1] = 0; return b }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := valid()
			if _, err := Decode(c.change(b[:])); !errors.Is(err, c.want) {
				t.Errorf("refused with %v, want %v", err, c.want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	b := valid()
	f.Add(b[:])
	f.Add(append(b[:], 1, 4, 1, 'x'))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := Decode(raw)
		if err != nil {
			if p != (Packet{}) {
				t.Errorf("refused with %v and yet decoded %+v", err, p)
			}
			if d := Drop(0); !errors.As(err, &d) || d >= Drops {
				t.Errorf("refused with %v, which is no Drop", err)
			}
			return
		}
		var again [Size]byte
		p.Encode(&again)
		again[3] = raw[3] // a longer packet is read, and written without what follows
		if string(again[:]) != string(raw[:Size]) {
			t.Errorf("%x became %+v and then %x", raw[:Size], p, again)
		}
	})
}

func TestDropsHaveWords(t *testing.T) {
	seen := map[string]bool{}
	for d := range Drops {
		if s := d.Error(); s == "" || seen[s] {
			t.Errorf("drop %d says %q, which another says or nobody understands", d, s)
		} else {
			seen[s] = true
		}
	}
}
