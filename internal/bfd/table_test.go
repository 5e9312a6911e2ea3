package bfd

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func key(iface, local, remote string) Key {
	return Key{Interface: iface, Local: netip.MustParseAddr(local), Remote: netip.MustParseAddr(remote)}
}

func TestLookup(t *testing.T) {
	a, b := key("a0", "fe80::1", "fe80::2"), key("b0", "fe80::1", "fe80::2") // the same addresses on two planes
	table := NewTable[string]()
	table.Add(10, a, "on a")
	table.Add(20, b, "on b")
	for name, c := range map[string]struct {
		yours uint32
		from  Key
		want  string
		err   error
	}{
		"by the first plane":             {0, a, "on a", nil},
		"by the second plane":            {0, b, "on b", nil},
		"by discriminator":               {10, a, "on a", nil},
		"by the other discriminator":     {20, b, "on b", nil},
		"a discriminator of nobody":      {30, a, "", DropUnknownSession},
		"from an unknown address":        {0, key("a0", "fe80::1", "fe80::3"), "", DropUnknownSession},
		"to an unknown address":          {0, key("a0", "fe80::4", "fe80::2"), "", DropUnknownSession},
		"over an unknown interface":      {0, key("c0", "fe80::1", "fe80::2"), "", DropUnknownSession},
		"a discriminator of another":     {20, a, "", DropForeignSession},
		"a discriminator from elsewhere": {10, key("a0", "fe80::1", "fe80::3"), "", DropForeignSession},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := table.Lookup(&Packet{YourDiscriminator: c.yours}, c.from)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("found %q, %v; want %q, %v", got, err, c.want, c.err)
			}
		})
	}
	table.Remove(10, a)
	for _, yours := range []uint32{0, 10} {
		if got, err := table.Lookup(&Packet{YourDiscriminator: yours}, a); got != "" || !errors.Is(err, DropUnknownSession) {
			t.Errorf("found %q, %v after its removal", got, err)
		}
	}
}

func TestDiscriminatorsAreUniqueAndNotZero(t *testing.T) {
	table := NewTable[int]()
	table.Add(5, key("a0", "192.0.2.1", "192.0.2.2"), 0)
	numbers := []uint32{0, 5, 0, 6}
	next := func() uint32 { n := numbers[0]; numbers = numbers[1:]; return n }
	if d := table.Discriminator(next); d != 6 {
		t.Errorf("discriminator %d", d)
	}
}

func TestCheckAllNamesTheFault(t *testing.T) {
	good := func() Spec {
		return Spec{Name: "rr", Key: key("a0", "192.0.2.1", "192.0.2.2"), Params: Default()}
	}
	for want, change := range map[string]func(*Spec){
		"":                          func(*Spec) {},
		"a session has no name":     func(s *Spec) { s.Name = "" },
		`session rr: interface: ""`: func(s *Spec) { s.Interface = "" },
		`session rr: interface: "abcdefghijklmnop"`:                            func(s *Spec) { s.Interface = "abcdefghijklmnop" },
		"session rr: local: invalid IP":                                        func(s *Spec) { s.Local = netip.Addr{} },
		"session rr: remote: 224.0.0.1":                                        func(s *Spec) { s.Remote = netip.MustParseAddr("224.0.0.1") },
		"session rr: remote: fe80::1%a0":                                       func(s *Spec) { s.Remote = netip.MustParseAddr("fe80::1%a0") },
		"are of different families":                                            func(s *Spec) { s.Remote = netip.MustParseAddr("fe80::1") },
		"local and remote are both":                                            func(s *Spec) { s.Remote = s.Local },
		"session rr: min_tx: 49ms: must be 50ms to 1m0s":                       func(s *Spec) { s.MinTx = 49 * time.Millisecond },
		"session rr: min_rx: 2m0s: must be 50ms to 1m0s":                       func(s *Spec) { s.MinRx = 2 * time.Minute },
		"session rr: min_rx: 50.0005ms: must be 50ms to 1m0s":                  func(s *Spec) { s.MinRx = 50*time.Millisecond + 500 },
		"session rr: multiplier: 0: must be 1 to 255":                          func(s *Spec) { s.Multiplier = 0 },
		"two sessions are called other":                                        func(s *Spec) { s.Name = "other" },
		"sessions other and rr are both between 192.0.2.1 and 192.0.2.3 on a0": func(s *Spec) { s.Remote = netip.MustParseAddr("192.0.2.3") },
	} {
		other, s := good(), good()
		other.Name, other.Remote = "other", netip.MustParseAddr("192.0.2.3")
		change(&s)
		err := CheckAll([]Spec{other, s})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
