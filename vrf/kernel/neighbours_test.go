package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
)

// checked is an ICMPv6 message in its packet, with the checksum that the
// hypervisor itself wants to see.
func checked(from, to string, message []byte) []byte {
	pseudo := append(netip.MustParseAddr(from).AsSlice(), netip.MustParseAddr(to).AsSlice()...)
	pseudo = append(binary.BigEndian.AppendUint32(pseudo, uint32(len(message))), 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(message[2:], checksum(append(pseudo, message...)))
	return ipv6(from, to, unix.IPPROTO_ICMPV6, message)
}

// linkAddress is the option of ND that says who sends (RFC 4861 section 4.6.1).
func (s *stage) linkAddress() string { return "\x01\x01" + string(s.portA.mac[:]) }

func (s *stage) solicit(from string) []byte {
	target := string(netip.MustParseAddr("fe80::1").AsSlice())
	return s.v6(checked(from, "ff02::1:ff00:1", icmpMessage(neighbourSolicit, target+s.linkAddress())))
}

func (s *stage) solicitRouter(from string) []byte {
	return s.v6(checked(from, "ff02::2", icmpMessage(routerSolicit, s.linkAddress())))
}

func (s *stage) echo(from string) []byte {
	return s.v6(checked(from, "fe80::1", icmpMessage(icmp6EchoRequest, "who answers me asks for me")))
}

// neighbours counts what the hypervisor remembers of tap0's guest by itself.
func (s *stage) neighbours() int {
	s.t.Helper()
	n := 0
	for line := range strings.Lines(s.hv.Run("ip", "-6", "neigh", "show", "dev", "tap0", "nud", "all")) {
		if !strings.Contains(line, "PERMANENT") && !strings.Contains(line, "NOARP") {
			n++
		}
	}
	return n
}

// TestNeighbours: a guest that speaks from ever new addresses, its own or
// link-local, fills no table of neighbours, which all guests share.
func TestNeighbours(t *testing.T) {
	testenv.RequireRoot(t)
	fillNeighbours(t, newStage(t, false))
}

func TestNeighboursVRF(t *testing.T) {
	testenv.RequireVRF(t)
	fillNeighbours(t, newStage(t, true))
}

func fillNeighbours(t *testing.T, s *stage) {
	s.apply()
	start := time.Now()
	for n, c := range []struct {
		name, prefix string
		frame        func(from string) []byte
	}{
		{"echo requests", "fe80::", s.echo},
		{"neighbour solicitations", "fe80::", s.solicit},
		{"neighbour solicitations of its /64", "2001:db8:1::", s.solicit},
		{"neighbour solicitations of its /60", "2001:db8:2::", s.solicit},
		{"router solicitations", "fe80::", s.solicitRouter},
		{"router solicitations of its /64", "2001:db8:1::", s.solicitRouter},
	} {
		for i := range 10000 {
			s.portA.send(c.frame(fmt.Sprintf("%s%x:%x", c.prefix, n+1, i)))
		}
		if s.passes(s.v4(ipv4(vmB, internet, unix.IPPROTO_UDP, 0, udp(1, 2, "spoofed"))), "spoofed", "after "+c.name) {
			t.Error("a spoofed packet passes")
		}
		elapsed := int(time.Since(start)/time.Second) + 1
		got := s.neighbours()
		t.Logf("after %s: %d neighbours", c.name, got)
		if most := sourceBurst + sourceRate*elapsed; got > most {
			t.Errorf("after %s from 10000 addresses there are %d neighbours, want no more than %d", c.name, got, most)
		}
		if n == 0 && got == 0 {
			t.Error("an echo request from a new address has left no neighbour: what does this test prove?")
		}
	}
	if d := s.drops(); d.Limited < 50000 {
		t.Errorf("counted %+v", d)
	}
}

// answered sends a solicitation and waits for its advertisement.
func (s *stage) answered(p *port, from string, frame []byte) {
	s.t.Helper()
	p.forget()
	p.send(frame)
	answer := string(netip.MustParseAddr("fe80::1").AsSlice()) + string(netip.MustParseAddr(from).AsSlice()) + string(rune(neighbourAdvert))[1:]
	testenv.Eventually(s.t, "the answer to "+from, func() bool { return p.saw(answer) })
}

// TestManyAddresses: a guest with dozens of addresses, as containers or
// privacy (RFC 8981) give it, is answered on all of them; so it is still when
// some program on it has used up what is left for new ones, and another guest
// notices nothing.
func TestManyAddresses(t *testing.T) {
	testenv.RequireRoot(t)
	s := newStage(t, false)
	s.apply()
	var own []string
	for i := range 48 {
		own = append(own, fmt.Sprintf("2001:db8:1::c:%x", i+1))
	}
	own = append(own, "fe80::7", "fe80::1234:5678:9abc:def0", vmA6)
	ask := func() {
		for _, from := range own {
			s.answered(s.portA, from, s.solicit(from))
		}
	}
	ask()
	if d := s.drops(); d.Limited > 0 {
		t.Errorf("a guest of %d addresses counted %+v", len(own), d)
	}
	for i := range 2000 {
		s.portA.send(s.echo(fmt.Sprintf("fe80::2:%x", i)))
	}
	ask()
	if d := s.drops(); d.Limited == 0 {
		t.Errorf("a guest of 2000 addresses counted %+v", d)
	}
	a := s.portA
	s.portA = s.portB // of which the frames are
	s.answered(s.portB, "fe80::8", s.solicit("fe80::8"))
	s.portA = a
	if got := len(s.elementsOf("inet", "heard")); got < len(own)+1 || got > 2000 {
		t.Errorf("%d addresses are known", got)
	}
}

// TestFullOfAddresses: where the set holds all that it can, new addresses are
// not let in uncounted.
func TestFullOfAddresses(t *testing.T) {
	testenv.RequireRoot(t)
	s := newStage(t, false)
	s.apply()
	s.answered(s.portA, "fe80::7", s.solicit("fe80::7"))
	s.fillHeard()
	s.answered(s.portA, "fe80::7", s.solicit("fe80::7"))
	before := s.drops()
	s.portA.forget()
	s.portA.send(s.solicit("fe80::9"))
	testenv.Eventually(t, "the count of the new one", func() bool { return s.drops().Limited > before.Limited })
	if out := s.hv.Run("ip", "-6", "neigh", "show", "dev", "tap0"); strings.Contains(out, "fe80::9 ") {
		t.Errorf("the new one is remembered: %s", out)
	}
}

// fillHeard fills the set by hand, with addresses of nobody's. Some are in it
// before.
func (s *stage) fillHeard() {
	s.t.Helper()
	add := func(from, to int) error {
		var elements []string
		for i := from; i < to; i++ {
			elements = append(elements, fmt.Sprintf("nobody . fe80::%x", i))
		}
		nft := s.hv.Command("nft", "-f", "-")
		nft.Stdin = strings.NewReader("add element inet hostroute heard { " + strings.Join(elements, ", ") + " }")
		return nft.Run()
	}
	const apart = 64
	must(s.t, add(1, mostSources-apart))
	for i := mostSources - apart; add(i, i+1) == nil; i++ {
		if i > mostSources {
			s.t.Fatal("the set has no end")
		}
	}
}
