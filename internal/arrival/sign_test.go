package arrival

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/mdlayher/ndp"
)

var (
	guest     = [6]byte{2, 0, 0, 0, 1, 7}
	stranger  = [6]byte{2, 0, 0, 0, 1, 8}
	everybody = [6]byte{255, 255, 255, 255, 255, 255}
	zero      [6]byte

	own, other = [4]byte{203, 0, 113, 7}, [4]byte{203, 0, 113, 8}
)

func ether(from, to [6]byte, kind uint16, payload []byte) []byte {
	f := binary.BigEndian.AppendUint16(append(to[:], from[:]...), kind)
	f = append(f, payload...)
	return append(f, make([]byte, max(0, 60-len(f)))...) // as the wire pads it
}

func arp(operation uint16, senderMAC [6]byte, sender [4]byte, targetMAC [6]byte, target [4]byte) []byte {
	p := binary.BigEndian.AppendUint16([]byte{0, 1, 8, 0, 6, 4}, operation)
	p = append(append(p, senderMAC[:]...), sender[:]...)
	return append(append(p, targetMAC[:]...), target[:]...)
}

// na is an advertisement as another implementation makes it, in a packet.
func na(t testing.TB, m *ndp.NeighborAdvertisement, change func(packet []byte)) []byte {
	t.Helper()
	m.Options = append(m.Options, &ndp.LinkLayerAddress{Direction: ndp.Target, Addr: net.HardwareAddr(guest[:])})
	from, to := netip.MustParseAddr("fe80::ff:fe00:107"), netip.MustParseAddr("ff02::1")
	message, err := ndp.MarshalMessageChecksum(m, from, to)
	if err != nil {
		t.Fatal(err)
	}
	p := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(message)))
	p = append(append(append(p, nextICMPv6, undecremented), from.AsSlice()...), to.AsSlice()...)
	p = append(p, message...)
	if change != nil {
		change(p)
	}
	return p
}

func TestSign(t *testing.T) {
	address := netip.MustParseAddr("2001:db8:cb00:7100::7")
	advertise := func(change func([]byte)) []byte {
		return na(t, &ndp.NeighborAdvertisement{Override: true, TargetAddress: address}, change)
	}
	garp := arp(1, guest, own, zero, own)
	for name, c := range map[string]struct {
		frame []byte
		want  Kind // empty: no sign
	}{
		"gratuitous request":            {ether(guest, everybody, typeARP, garp), GratuitousARP},
		"gratuitous reply":              {ether(guest, everybody, typeARP, arp(2, guest, own, guest, own)), GratuitousARP},
		"probe":                         {ether(guest, everybody, typeARP, arp(1, guest, [4]byte{}, zero, own)), Other},
		"asking for its gateway":        {ether(guest, everybody, typeARP, arp(1, guest, own, zero, other)), Other},
		"announcing for somebody else":  {ether(guest, everybody, typeARP, arp(1, stranger, own, zero, own)), Other},
		"gratuitous of no operation":    {ether(guest, everybody, typeARP, arp(9, guest, own, zero, own)), Other},
		"nothing of nothing":            {ether(guest, everybody, typeARP, arp(1, guest, [4]byte{}, zero, [4]byte{})), Other},
		"cut gratuitous request":        {ether(guest, everybody, typeARP, garp)[:sizeEthernet+sizeARP-1], Other},
		"ARP of another hardware":       {ether(guest, everybody, typeARP, append([]byte{0, 6}, garp[2:]...)), Other},
		"RARP":                          {ether(guest, everybody, typeRARP, arp(3, guest, [4]byte{}, guest, [4]byte{})), RARP},
		"RARP for somebody else":        {ether(guest, everybody, typeRARP, arp(3, guest, [4]byte{}, stranger, [4]byte{})), Other},
		"RARP answered":                 {ether(guest, everybody, typeRARP, arp(4, guest, own, guest, own)), Other},
		"ARP in RARP":                   {ether(guest, everybody, typeRARP, garp), Other},
		"unsolicited NA":                {ether(guest, everybody, typeIPv6, advertise(nil)), UnsolicitedNA},
		"NA of a link-local address":    {ether(guest, everybody, typeIPv6, na(t, &ndp.NeighborAdvertisement{TargetAddress: netip.MustParseAddr("fe80::7")}, nil)), UnsolicitedNA},
		"solicited NA":                  {ether(guest, everybody, typeIPv6, na(t, &ndp.NeighborAdvertisement{Solicited: true, TargetAddress: address}, nil)), Other},
		"forwarded NA":                  {ether(guest, everybody, typeIPv6, advertise(func(p []byte) { p[7] = 254 })), Other},
		"NA with a wrong checksum":      {ether(guest, everybody, typeIPv6, advertise(func(p []byte) { p[43]++ })), Other},
		"NA longer than its frame":      {ether(guest, everybody, typeIPv6, advertise(func(p []byte) { p[5]++ })), Other},
		"IPv6 of another version":       {ether(guest, everybody, typeIPv6, advertise(func(p []byte) { p[0] = 0x40 })), Other},
		"an IPv6 packet":                {ether(guest, everybody, typeIPv6, advertise(func(p []byte) { p[6] = 6 })), Other},
		"an IPv4 packet":                {ether(guest, stranger, 0x0800, make([]byte, 40)), Other},
		"a length in place of a type":   {ether(guest, everybody, 39, make([]byte, 39)), Other},
		"the header alone":              {ether(guest, everybody, 0x0800, nil)[:sizeEthernet], Other},
		"less than a header":            {ether(guest, everybody, 0x0800, nil)[:sizeEthernet-1], ""},
		"nothing":                       {nil, ""},
		"somebody else's announcement":  {ether(stranger, everybody, typeARP, arp(1, stranger, own, zero, own)), ""},
		"somebody else for it":          {ether(stranger, everybody, typeARP, garp), ""},
		"to the guest":                  {ether(stranger, guest, 0x0800, make([]byte, 40)), ""},
		"tagged":                        {ether(guest, everybody, 0x8100, append([]byte{0, 9, 8, 6}, garp...)), ""},
		"tagged by a provider":          {ether(guest, everybody, 0x88a8, append([]byte{0, 9, 8, 6}, garp...)), ""},
		"tagged as providers once did":  {ether(guest, everybody, 0x9100, append([]byte{0, 9, 8, 6}, garp...)), ""},
		"a probe by NA (RFC 4862: NS)":  {ether(guest, everybody, typeIPv6, advertise(func(p []byte) { p[40] = 135 })), Other},
		"NA with a code":                {ether(guest, everybody, typeIPv6, advertise(func(p []byte) { p[41] = 1; p[43]-- })), Other},
		"NA with an option of length 0": {ether(guest, everybody, typeIPv6, advertise(func(p []byte) { p[65] = 0; p[43]++ })), Other},
	} {
		kind, ok := Sign(c.frame, guest)
		if kind != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, %v; want %q", name, kind, ok, c.want)
		}
	}
}

// TestNobodyHasNoSign: an interface without an address of its own, and one with
// that of a group, which no frame may come from.
func TestNobodyHasNoSign(t *testing.T) {
	for _, mac := range [][6]byte{zero, everybody, {0x33, 0x33, 0, 0, 0, 1}} {
		if kind, ok := Sign(ether(mac, everybody, 0x0800, make([]byte, 40)), mac); ok {
			t.Errorf("a frame from %x is a sign, %s", mac, kind)
		}
	}
}

// FuzzSign: any bytes. Whatever is called an announcement is checked again, by
// comparing it with the one that says the same, made by other means.
func FuzzSign(f *testing.F) {
	f.Add(ether(guest, everybody, typeARP, arp(1, guest, own, zero, own)))
	f.Add(ether(guest, everybody, typeRARP, arp(3, guest, [4]byte{}, guest, [4]byte{})))
	f.Add(ether(guest, everybody, typeIPv6, na(f, &ndp.NeighborAdvertisement{TargetAddress: netip.MustParseAddr("fe80::7")}, nil)))
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := bytes.Clone(frame)
		kind, ok := Sign(frame, guest)
		if !bytes.Equal(before, frame) {
			t.Fatal("the frame was changed")
		}
		if from := len(frame) >= sizeEthernet && [6]byte(frame[6:]) == guest; ok && !from || ok == (kind == "") {
			t.Fatalf("%q, %v", kind, ok)
		}
		if _, mine := Sign(frame, stranger); ok && mine {
			t.Fatal("two guests have sent one frame")
		}
		if err := again(kind, frame); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
	})
}

func again(kind Kind, frame []byte) error {
	switch p := frame[min(len(frame), sizeEthernet):]; kind {
	case GratuitousARP:
		address := [4]byte(p[14:])
		for _, operation := range []uint16{1, 2} {
			if bytes.HasPrefix(p, arp(operation, guest, address, [6]byte(p[18:]), address)) {
				return nil
			}
		}
		return fmt.Errorf("none of both forms: %x", p)
	case RARP:
		if !bytes.HasPrefix(p, arp(3, guest, [4]byte(p[14:]), guest, [4]byte(p[24:]))) {
			return fmt.Errorf("%x", p)
		}
	case UnsolicitedNA:
		m, err := ndp.ParseMessage(p[40 : 40+int(binary.BigEndian.Uint16(p[4:]))])
		if err != nil {
			return nil // it knows the options, which are nothing to us
		}
		if a, ok := m.(*ndp.NeighborAdvertisement); !ok || a.Solicited {
			return fmt.Errorf("%+v", m)
		}
	}
	return nil
}
