package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

// TestLocal: of the hypervisor a guest sees its gateways, and no service on any
// address; the edge, which is no guest, is not touched.
func TestLocal(t *testing.T) {
	testenv.RequireRoot(t)
	local(t, newStage(t, false))
}

func TestLocalVRF(t *testing.T) {
	testenv.RequireVRF(t)
	local(t, newStage(t, true))
}

func local(t *testing.T, s *stage) {
	s.apply()
	s.guestStack()
	for _, gateway := range []string{"169.254.0.1", "203.0.113.1", "fe80::1%eth0"} {
		s.a.Run("ping", "-c1", "-W5", gateway)
	}
	s.a.Run("ping", "-c1", "-W5", "-s", "3000", "fe80::1%eth0") // in fragments
	s.a.Run("ping", "-c1", "-W5", "-s", "3000", "169.254.0.1")
	for _, other := range []string{"100.64.0.1", "fd64::1", "100.64.0.2"} {
		if err := s.a.Command("ping", "-c1", "-W1", other).Run(); err == nil {
			t.Errorf("the guest reaches %s", other)
		}
	}
	s.pingGuest()
	s.a.Run("ping", "-c1", "-W5", internet)
	s.a.Run("ping", "-c1", "-W5", internet6)
	s.edge.Run("ping", "-c1", "-W5", "100.64.0.1")
	port := s.listen()
	for _, host := range []string{"169.254.0.1", "203.0.113.1", "100.64.0.1", "fe80::1%eth0", "fd64::1"} {
		if err := dialFrom(s.a, host, port, 200*time.Millisecond); err == nil {
			t.Errorf("the guest reaches the service on %s", host)
		}
	}
	for _, host := range []string{"100.64.0.1", "fd64::1"} {
		must(t, dialFrom(s.edge, host, port, 10*time.Second))
	}
	if d := s.drops(); d.Refused == 0 || d.Spoofed > 0 {
		t.Errorf("counted %+v, want refused ones", d)
	}
}

// pingGuest is what an operator does at the hypervisor. To a global address an
// IPv6 ping has to name the gateway as its source: the kernel would take the
// uplink's, which no guest may reach.
func (s *stage) pingGuest() {
	s.t.Helper()
	for _, args := range [][]string{
		{vmA}, {"-s", "3000", vmA}, {"-I", "203.0.113.1", vmA},
		{"-I", "fe80::1%tap0", vmA6}, {"-I", "fe80::1%tap0", "-s", "3000", vmA6},
	} {
		command := append([]string{"ping", "-c1", "-W5"}, args...)
		if !s.host.VRFs[0].NoDevice {
			command = append([]string{"ip", "vrf", "exec", s.host.VRFs[0].Name}, command...)
		}
		s.hv.Run(command[0], command[1:]...)
	}
}

// guestStack gives guest a its addresses, so that it can speak for itself.
func (s *stage) guestStack() {
	s.a.IP("addr add 203.0.113.7/32 dev eth0", "addr add 2001:db8::7/128 dev eth0 nodad", "route add 169.254.0.1 dev eth0", "route add default via 169.254.0.1", "route add default via fe80::1 dev eth0")
}

// listen opens a service on every address of the hypervisor, in its VRF if
// there is a device.
func (s *stage) listen() int {
	s.t.Helper()
	var l net.Listener
	must(s.t, s.hv.Do(func() (err error) {
		config := net.ListenConfig{Control: s.bindToVRF}
		l, err = config.Listen(context.Background(), "tcp", "[::]:0")
		return err
	}))
	s.t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

func dialFrom(ns *testenv.Netns, host string, port int, limit time.Duration) error {
	return ns.Do(func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(host, fmt.Sprint(port)), limit)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// arpReply tells whether the hypervisor answers the guest's ARP request for an
// address.
func (s *stage) arpReply(senderMAC [6]byte, sender, target string) bool {
	s.t.Helper()
	s.portA.forget()
	s.portA.send(ether(s.portA.mac, [6]byte{255, 255, 255, 255, 255, 255}, unix.ETH_P_ARP, arp(1, senderMAC, sender, target)))
	// A request that is answered for sure comes after it.
	s.portA.send(ether(s.portA.mac, [6]byte{255, 255, 255, 255, 255, 255}, unix.ETH_P_ARP, arp(1, s.portA.mac, vmA, "169.254.0.1")))
	reply := func(of string) string { return string(arp(2, vrf.TapMAC, of, vmA)[:18]) }
	testenv.Eventually(s.t, "the answer of the gateway", func() bool { return s.portA.saw(reply("169.254.0.1")) })
	return s.portA.saw(reply(target))
}

// TestARP: the proxy answers at once, for others and for the gateway; what a
// guest says of others' addresses is not heard; who probes for the gateway's
// address learns of the conflict (RFC 5227), and who probes for its own
// doesn't.
func TestARP(t *testing.T) {
	testenv.RequireRoot(t)
	arpBehaviour(t, newStage(t, false))
}

func TestARPVRF(t *testing.T) {
	testenv.RequireVRF(t)
	arpBehaviour(t, newStage(t, true))
}

func arpBehaviour(t *testing.T, s *stage) {
	s.apply()
	for _, c := range []struct {
		name           string
		mac            [6]byte
		sender, target string
		answered       bool
		spoofed        uint64
	}{
		{"the gateway", s.portA.mac, vmA, "203.0.113.1", true, 0},
		{"a neighbour", s.portA.mac, vmA, vmB, true, 0},
		{"somebody on the internet", s.portA.mac, vmA, "198.51.100.9", true, 0},
		{"a probe for the gateway", s.portA.mac, "0.0.0.0", "203.0.113.1", true, 0},
		{"a probe for its own", s.portA.mac, "0.0.0.0", vmA, false, 0},
		{"a probe for a neighbour's", s.portA.mac, "0.0.0.0", vmB, false, 0},
		{"as the other guest", s.portA.mac, vmB, "203.0.113.1", false, 1},
		{"as the gateway", s.portA.mac, "203.0.113.1", vmB, false, 1},
		{"with another sender MAC", s.portB.mac, vmA, "203.0.113.1", false, 1},
	} {
		before := s.drops()
		if got := s.arpReply(c.mac, c.sender, c.target); got != c.answered {
			t.Errorf("%s: answered: %v, want %v", c.name, got, c.answered)
		}
		if got := s.drops().Spoofed - before.Spoofed; got != c.spoofed {
			t.Errorf("%s: counted as spoofed %d times, want %d", c.name, got, c.spoofed)
		}
	}
}

// TestDuplicates has a Linux guest detect duplicates: its own address is free,
// the gateway's is taken.
func TestDuplicates(t *testing.T) {
	testenv.RequireRoot(t)
	s := newStage(t, false)
	s.apply()
	s.a.Sysctl("net.ipv6.conf.eth0.accept_dad=1", "net.ipv6.conf.eth0.dad_transmits=1")
	s.a.IP("addr add 2001:db8::7/128 dev eth0", "addr add fe80::1/64 dev eth0")
	state := func(address string) string {
		for line := range strings.Lines(s.a.Run("ip", "-6", "-o", "addr", "show", "dev", "eth0")) {
			if strings.Contains(line, " "+address+"/") {
				return line
			}
		}
		return ""
	}
	testenv.Eventually(t, "the end of detection for its own address", func() bool {
		own := state(vmA6)
		return own != "" && !strings.Contains(own, "tentative")
	})
	if own := state(vmA6); strings.Contains(own, "dadfailed") {
		t.Errorf("the guest's own address is %s", own)
	}
	testenv.Eventually(t, "the conflict over the gateway's", func() bool { return strings.Contains(state("fe80::1"), "dadfailed") })
	if out := s.hv.Run("ip", "-6", "addr", "show", "dev", "tap0"); strings.Contains(out, "dadfailed") {
		t.Errorf("the gateway lost its address: %s", out)
	}
}

// TestLimits: what is beyond the rate is counted, and other taps' buckets stay
// full.
func TestLimits(t *testing.T) {
	testenv.RequireRoot(t)
	s := newStage(t, false)
	s.apply()
	flood := map[string]struct {
		burst int
		frame []byte
	}{
		"DHCP":                   {dhcpBurst, s.v4(ipv4("0.0.0.0", "255.255.255.255", unix.IPPROTO_UDP, 0, udp(68, 67, "x")))},
		"router solicitation":    {rsBurst, s.v6(ipv6("fe80::7", "ff02::2", unix.IPPROTO_ICMPV6, icmpMessage(133, "")))},
		"neighbour solicitation": {ndBurst, s.v6(ipv6("fe80::7", "ff02::1:ff00:1", unix.IPPROTO_ICMPV6, icmpMessage(135, "0123456789abcdef")))},
		"ARP":                    {arpBurst, ether(s.portA.mac, vrf.TapMAC, unix.ETH_P_ARP, arp(1, s.portA.mac, vmA, "169.254.0.1"))},
	}
	for name, f := range flood {
		before := s.drops()
		for range 20 * f.burst {
			s.portA.send(f.frame)
		}
		after := s.drops()
		if limited := after.Limited - before.Limited; limited < uint64(f.burst) || limited > uint64(19*f.burst) {
			t.Errorf("%s: %d of %d were too many", name, limited, 20*f.burst)
		}
		if after.Spoofed != before.Spoofed || after.Refused != before.Refused {
			t.Errorf("%s: counted %+v, was %+v", name, after, before)
		}
	}
	all, err := s.k.Drops(t.Context())
	must(t, err)
	if all["tap1"].Limited != 0 {
		t.Errorf("tap1 has %+v", all["tap1"])
	}
}

// bindToVRF binds a socket to the VRF device, where there is one.
func (s *stage) bindToVRF(_, _ string, c syscall.RawConn) error {
	if s.host.VRFs[0].NoDevice {
		return nil
	}
	var bindErr error
	err := c.Control(func(fd uintptr) { bindErr = unix.BindToDevice(int(fd), s.host.VRFs[0].Name) })
	return errors.Join(err, bindErr)
}
