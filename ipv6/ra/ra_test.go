package ra

import (
	"encoding/binary"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/ipv6"
)

// TestAGuestConfiguresItself has the kernel as guest, with privacy addresses.
func TestAGuestConfiguresItself(t *testing.T) {
	t.Parallel()
	hv := newHypervisor(t)
	configuresItself(t, hv, newGuest(t, hv, "tap1"))
}

// TestAGuestConfiguresItselfInAVRF is the same on a tap that belongs to a VRF.
func TestAGuestConfiguresItselfInAVRF(t *testing.T) {
	testenv.RequireVRF(t)
	hv := newHypervisor(t)
	hv.IP("link add public type vrf table 90", "link set public up")
	guest := testenv.NewNetns(t)
	hv.IP(
		"link add tap1 address ee:ee:ee:ee:ee:01 type veth peer name eth0 netns "+guest.Name,
		"link set tap1 addrgenmode none master public up", "addr add fe80::1/64 dev tap1 nodad",
	)
	configuresItself(t, hv, guest)
}

func configuresItself(t *testing.T, hv, guest *testenv.Netns) {
	guest.Sysctl("net.ipv6.conf.eth0.use_tempaddr=2", "net.ipv6.conf.eth0.accept_ra_rt_info_max_plen=64")
	s, _ := run(t, hv)
	service := slaac("2001:db8:cb00:7101::/64")
	service.Router.MTU, service.Router.Preference = 1400, ipv6.PreferenceHigh
	service.Router.Routes = []netip.Prefix{netip.MustParsePrefix("2001:db8:ff00::/40")}
	s.Set(map[fleet.Port]ipv6.Service{port(t, hv, "tap1"): service})
	guest.IP("link set eth0 up")
	testenv.Eventually(t, "an address of its own and a temporary one", func() bool {
		out := guest.Run("ip", "-6", "addr", "show", "dev", "eth0", "scope", "global", "-tentative")
		return contains(out, "2001:db8:cb00:7101:", "mngtmpaddr", "temporary") && regexp.MustCompile(`valid_lft (7200|71\d\d)sec preferred_lft (3600|35\d\d)sec`).MatchString(out)
	})
	routes := guest.Run("ip", "-6", "route", "show", "proto", "ra")
	if !regexp.MustCompile(`default via fe80::1 .*expires 1[78]\d\dsec.*mtu 1400.*hoplimit 64.*pref high`).MatchString(routes) {
		t.Errorf("the default route of the guest isn't as advertised: %s", routes)
	}
	if !regexp.MustCompile(`2001:db8:ff00::/40 via fe80::1 .*expires 1[78]\d\dsec.*pref high`).MatchString(routes) {
		t.Errorf("the guest lacks the route that was advertised: %s", routes)
	}
	if strings.Contains(guest.Run("ip", "-6", "route"), "2001:db8:cb00:7101::/64 ") {
		t.Error("the guest believes a prefix on-link that was advertised without L")
	}
	if neighbour := guest.Run("ip", "-6", "neigh", "show", "fe80::1", "dev", "eth0"); !contains(neighbour, "ee:ee:ee:ee:ee:01", "router") {
		t.Errorf("the guest knows of its router: %q", neighbour)
	}
	st := s.Status()["tap1"]
	if st.Solicitations == 0 || !st.LastSolicitor.IsLinkLocalUnicast() || st.LastSolicitation.IsZero() || st.LastAdvertisement.Before(st.LastSolicitation) || st.Advertisements < 2 {
		t.Errorf("the status of the tap: %+v", st)
	}
}

// TestWhatRdisc6Sees lets a program from elsewhere read the advertisements.
func TestWhatRdisc6Sees(t *testing.T) {
	testenv.RequireTool(t, "rdisc6")
	t.Parallel()
	hv := newHypervisor(t)
	guest := newGuest(t, hv, "tap1")
	guest.IP("link set eth0 addrgenmode none up", "addr add fe80::5/64 dev eth0 nodad")
	s, _ := run(t, hv)
	at := port(t, hv, "tap1")
	all := ipv6.Router{
		Managed: true, Other: true, Preference: ipv6.PreferenceLow, Lifetime: 900 * time.Second, Interval: 300 * time.Second, MTU: 1280,
		Prefixes: []ipv6.OnLink{
			{Prefix: netip.MustParsePrefix("2001:db8:1::/64"), OnLink: true, Valid: 600 * time.Second, Preferred: 300 * time.Second},
			{Prefix: netip.MustParsePrefix("2001:db8:2::/64"), Autonomous: true, Valid: 86400 * time.Second, Preferred: 100 * time.Second},
		},
		Routes: []netip.Prefix{netip.MustParsePrefix("2001:db8:3::/48")},
		DNS:    []netip.Addr{netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr("2001:db8::54")},
		Search: []string{"a.example.net", "example.org"},
	}
	for name, c := range map[string]struct {
		router ipv6.Router
		want   []string
	}{
		"all": {all, []string{
			`Hop limit +: +64 `, `Stateful address conf\. +: +Yes`, `Stateful other conf\. +: +Yes`, `Router preference +: +low`, `Router lifetime +: +900 `,
			`Source link-layer address: +EE:EE:EE:EE:EE:01`, `MTU +: +1280 `,
			`Prefix +: 2001:db8:1::/64\n +On-link +: +Yes\n +Autonomous address conf\.: +No\n +Valid time +: +600 .*\n +Pref\. time +: +300 `,
			`Prefix +: 2001:db8:2::/64\n +On-link +: +No\n +Autonomous address conf\.: +Yes\n +Valid time +: +86400 .*\n +Pref\. time +: +100 `,
			`Route +: 2001:db8:3::/48\n +Route preference +: +low\n +Route lifetime +: +900 `,
			`Recursive DNS server +: +2001:db8::53\n +Recursive DNS server +: +2001:db8::54\n +DNS servers? lifetimes? +: +900 `,
			`DNS search list +: +a\.example\.net example\.org *\n +DNS search list lifetime: +900`,
			`from fe80::1`,
		}},
		"least": {ipv6.Router{}, []string{`Stateful address conf\. +: +No`, `Stateful other conf\. +: +No`, `Router preference +: +medium`, `Router lifetime +: +0 `}},
	} {
		s.Set(map[fleet.Port]ipv6.Service{at: {VM: name, Router: c.router}})
		var out string
		testenv.Eventually(t, "an answer to rdisc6 with "+name, func() bool {
			raw, err := guest.Command("rdisc6", "-n", "-1", "-w", "3000", "eth0").CombinedOutput()
			out = string(raw)
			return err == nil && regexp.MustCompile(c.want[len(c.want)-1]).MatchString(out)
		})
		for _, want := range c.want {
			if !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("%s: rdisc6 doesn't see %q in:\n%s", name, want, out)
			}
		}
	}
}

// TestGoodbyeIsForThoseWhoAreLeft: a process that ends leaves routes alone.
func TestGoodbyeIsForThoseWhoAreLeft(t *testing.T) {
	t.Parallel()
	hv := newHypervisor(t)
	guest := newGuest(t, hv, "tap1")
	guest.IP("link set eth0 addrgenmode none up")
	heard := listenAt(t, guest)
	services := map[fleet.Port]ipv6.Service{port(t, hv, "tap1"): slaac("2001:db8:1::/64")}
	first, stop := run(t, hv)
	first.Set(services)
	testenv.Eventually(t, "the first advertisement", func() bool { return len(heard.all()) > 0 })
	stop()
	before := len(heard.all())
	second, _ := run(t, hv)
	second.Set(services)
	testenv.Eventually(t, "the first advertisement of the next process", func() bool { return len(heard.all()) > before })
	for _, ra := range heard.all() {
		if ra.RouterLifetime != 1800*time.Second {
			t.Errorf("across a restart the guest was told a lifetime of %v", ra.RouterLifetime)
		}
	}
	second.Set(nil)
	last := heard.all()[0]
	testenv.Eventually(t, "the last advertisement", func() bool {
		all := heard.all()
		last = all[len(all)-1]
		return last.RouterLifetime == 0
	})
	var told *ndp.PrefixInformation
	for _, o := range last.Options {
		if p, ok := o.(*ndp.PrefixInformation); ok {
			told = p
		}
	}
	if last.to != allNodes || told == nil || told.PreferredLifetime != 0 || told.ValidLifetime != 7200*time.Second {
		t.Errorf("the last advertisement to %v says %+v, %+v", last.to, last.RouterAdvertisement, told)
	}
}

// TestAGuestThatLeavesHearsNoGoodbye: it would be without a default route where
// it arrives. The goodbye would come before the next process is heard.
func TestAGuestThatLeavesHearsNoGoodbye(t *testing.T) {
	t.Parallel()
	hv := newHypervisor(t)
	guest := newGuest(t, hv, "tap1")
	guest.IP("link set eth0 addrgenmode none up")
	heard := listenAt(t, guest)
	services := map[fleet.Port]ipv6.Service{port(t, hv, "tap1"): slaac("2001:db8:1::/64")}
	first, stop := runWith(t, Options{Log: quiet, In: hv.Do, Stays: func(fleet.Port) bool { return false }})
	first.Set(services)
	testenv.Eventually(t, "the first advertisement", func() bool { return len(heard.all()) > 0 })
	first.Set(nil)
	testenv.Eventually(t, "the tap dropped", func() bool { return len(first.Status()) == 0 })
	stop()
	before := len(heard.all())
	second, _ := run(t, hv)
	second.Set(services)
	testenv.Eventually(t, "the first advertisement of the next process", func() bool { return len(heard.all()) > before })
	for _, ra := range heard.all() {
		if ra.RouterLifetime == 0 {
			t.Error("a guest that leaves was told that it has no router")
		}
	}
}

// TestTapsHaveNothingToDoWithEachOther also floods one of them.
func TestTapsHaveNothingToDoWithEachOther(t *testing.T) {
	t.Parallel()
	hv := newHypervisor(t)
	one, two := newGuest(t, hv, "tap1"), newGuest(t, hv, "tap2")
	one.IP("link set eth0 addrgenmode none up", "addr add fe80::5/64 dev eth0 nodad")
	two.Sysctl("net.ipv6.conf.eth0.router_solicitations=0")
	two.IP("link set eth0 addrgenmode none up")
	heardByOne, heardByTwo := listenAt(t, one), listenAt(t, two)
	s, _ := run(t, hv)
	s.Set(map[fleet.Port]ipv6.Service{port(t, hv, "tap1"): slaac("2001:db8:1::/64"), port(t, hv, "tap2"): slaac("2001:db8:2::/64")})
	testenv.Eventually(t, "both to have begun", func() bool { return len(heardByOne.all()) > 0 && len(heardByTwo.all()) > 0 })

	flood := sender6(t, one)
	solicitation := routerSolicitation(netip.MustParseAddr("fe80::5"), 255)
	testenv.Eventually(t, "the flood to be at its limit", func() bool {
		for range 100 {
			flood(solicitation)
		}
		return s.Status()["tap1"].Limited > 5
	})
	before := len(heardByTwo.all())
	sender6(t, two)(routerSolicitation(netip.MustParseAddr("fe80::6"), 255))
	two.IP("addr add fe80::6/64 dev eth0 nodad")
	testenv.Eventually(t, "the answer to the other guest", func() bool {
		flood(solicitation)
		return len(heardByTwo.all()) > before
	})
	if st := s.Status(); st["tap2"].Solicitations != 1 || st["tap2"].Limited != 0 || st["tap1"].Solicitations < 20 {
		t.Errorf("the status: %+v", st)
	}
	check := func(e *ear, own string) {
		for _, ra := range e.all() {
			for _, o := range ra.Options {
				if p, ok := o.(*ndp.PrefixInformation); ok && p.Prefix != netip.MustParseAddr(own) {
					t.Errorf("the guest of %s was told of %v", own, p.Prefix)
				}
			}
		}
	}
	check(heardByOne, "2001:db8:1::")
	check(heardByTwo, "2001:db8:2::")
}

// sender6 sends frames from a guest.
func sender6(t *testing.T, guest *testenv.Netns) func(frame []byte) {
	var conn *packet.Conn
	err := guest.Do(func() error {
		device, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err = packet.Listen(device, packet.Raw, 0, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return func(frame []byte) {
		if _, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
			t.Fatal(err)
		}
	}
}

// routerSolicitation is one as a frame.
func routerSolicitation(source netip.Addr, hopLimit byte, options ...ndp.Option) []byte {
	to := netip.MustParseAddr("ff02::2")
	message, err := ndp.MarshalMessageChecksum(&ndp.RouterSolicitation{Options: options}, source, to)
	if err != nil {
		panic(err)
	}
	f := []byte{0x33, 0x33, 0, 0, 0, 2, 2, 0, 0, 0, 1, 1, unix.ETH_P_IPV6 >> 8, unix.ETH_P_IPV6 & 0xff, 0x60, 0, 0, 0}
	f = append(binary.BigEndian.AppendUint16(f, uint16(len(message))), 58, hopLimit)
	return append(append(append(f, source.AsSlice()...), to.AsSlice()...), message...)
}

func TestWhoIsAnswered(t *testing.T) {
	t.Parallel()
	hv := newHypervisor(t)
	guest := newGuest(t, hv, "tap1")
	guest.IP("link set eth0 addrgenmode none up")
	heard := listenAt(t, guest)
	s, _ := run(t, hv)
	s.Set(map[fleet.Port]ipv6.Service{port(t, hv, "tap1"): slaac("2001:db8:1::/64")})
	to := func(who string) (n int) {
		for _, ra := range heard.all() {
			if ra.to == netip.MustParseAddr(who) {
				n++
			}
		}
		return n
	}
	testenv.Eventually(t, "the first advertisement", func() bool { return to("ff02::1") > 0 })
	send := sender6(t, guest)
	hardware := &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: net.HardwareAddr{2, 0, 0, 0, 1, 1}}
	broken := routerSolicitation(netip.MustParseAddr("fe80::5"), 255)
	broken[57]++ // the checksum
	send(broken)
	send(routerSolicitation(netip.MustParseAddr("fe80::5"), 64, hardware))
	send(routerSolicitation(netip.IPv6Unspecified(), 255, hardware))
	testenv.Eventually(t, "the invalid ones to be counted", func() bool { return s.Status()["tap1"].Invalid == 2 })
	send(routerSolicitation(netip.MustParseAddr("fe80::5"), 255, hardware)) // the kernel learns the address from it
	testenv.Eventually(t, "the answer to a host", func() bool { return to("fe80::5") > 0 })
	before := to("ff02::1")
	send(routerSolicitation(netip.IPv6Unspecified(), 255))
	testenv.Eventually(t, "the answer to all", func() bool { return to("ff02::1") > before })
	arrived := len(heard.all())
	if st := s.Status()["tap1"]; st.Solicitations != 2 || st.Invalid != 2 || to("fe80::5") != 1 || int(st.Advertisements) < arrived || st.LastSolicitor != netip.IPv6Unspecified() {
		t.Errorf("the status: %+v", st)
	}
}

// TestWhatLeavesTheServiceLeavesTheGuest has the kernel as guest.
func TestWhatLeavesTheServiceLeavesTheGuest(t *testing.T) {
	t.Parallel()
	hv := newHypervisor(t)
	guest := newGuest(t, hv, "tap1")
	guest.Sysctl("net.ipv6.conf.eth0.accept_ra_rt_info_max_plen=64", "net.ipv6.conf.eth0.accept_dad=0")
	s, _ := run(t, hv)
	at := port(t, hv, "tap1")
	service := slaac("2001:db8:1::/64")
	service.Router.Prefixes[0].OnLink = true
	service.Router.Routes = []netip.Prefix{netip.MustParsePrefix("2001:db8:ff00::/40")}
	s.Set(map[fleet.Port]ipv6.Service{at: service})
	guest.IP("link set eth0 up")
	routes := func() string { return guest.Run("ip", "-6", "route", "show") }
	testenv.Eventually(t, "address, prefix and route", func() bool {
		return contains(routes(), "2001:db8:1::/64", "2001:db8:ff00::/40") && contains(guest.Run("ip", "-6", "addr"), "2001:db8:1:")
	})
	s.Set(map[fleet.Port]ipv6.Service{at: slaac("2001:db8:2::/64")})
	testenv.Eventually(t, "a new address, the old one deprecated, prefix and route gone", func() bool {
		out := guest.Run("ip", "-6", "addr")
		return contains(out, "2001:db8:2:") && regexp.MustCompile(`2001:db8:1:\S+ scope global deprecated`).MatchString(out) &&
			!strings.Contains(routes(), "2001:db8:1::/64") && !strings.Contains(routes(), "2001:db8:ff00::/40")
	})
	if !contains(routes(), "default via fe80::1") {
		t.Errorf("the default route is gone: %s", routes())
	}
}

// TestATapThatComesLate has first no address, then another device of its name.
func TestATapThatComesLate(t *testing.T) {
	t.Parallel()
	hv := newHypervisor(t)
	guest := newGuest(t, hv, "tap1")
	guest.IP("link set eth0 addrgenmode none up")
	hv.IP("addr del fe80::1/64 dev tap1")
	heard := listenAt(t, guest)
	s, _ := run(t, hv)
	old := port(t, hv, "tap1")
	s.Set(map[fleet.Port]ipv6.Service{old: slaac("2001:db8:1::/64")})
	testenv.Eventually(t, "a failure to be counted", func() bool { return s.Status()["tap1"].Failed > 0 })
	hv.IP("addr add fe80::1/64 dev tap1 nodad")
	testenv.Eventually(t, "the first advertisement", func() bool { return len(heard.all()) > 0 })

	hv.IP("link set tap1 down", "link set tap1 up", "addr add fe80::1/64 dev tap1 nodad")
	before := len(heard.all())
	testenv.Eventually(t, "an answer after a bounce", func() bool {
		sender6(t, guest)(routerSolicitation(netip.MustParseAddr("fe80::5"), 255))
		guest.IP("addr replace fe80::5/64 dev eth0 nodad")
		return len(heard.all()) > before
	})

	hv.IP("link del tap1")
	plug(hv, "tap1", guest)
	guest.IP("link set eth0 addrgenmode none up")
	heard = listenAt(t, guest)
	now := port(t, hv, "tap1")
	if now.Index == old.Index {
		t.Fatal("the new device has the index of the old one")
	}
	s.Set(map[fleet.Port]ipv6.Service{now: slaac("2001:db8:1::/64")})
	testenv.Eventually(t, "the first advertisement of the new device", func() bool { return len(heard.all()) > 0 })
	if st := s.Status()["tap1"]; st.Error != "" || st.Failed != 0 {
		t.Errorf("the status of the new device: %+v", st)
	}
	s.Set(map[fleet.Port]ipv6.Service{{Name: "tap1", Index: old.Index}: slaac("2001:db8:1::/64")})
	testenv.Eventually(t, "the error of a device that is gone", func() bool { return s.Status()["tap1"].Error != "" })
}
