package ndproxy

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/ipv6"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// configure gives the guest n its address with the length of the shared prefix,
// by duplicate address detection.
func (w *world) configure(n int) {
	w.t.Helper()
	g := w.guests[n]
	g.IP("addr add " + guestAddr(n) + "/64 dev eth0")
	testenv.Eventually(w.t, "the address of the guest to be its own", func() bool {
		out := g.Run("ip", "-6", "addr", "show", "dev", "eth0", "-tentative")
		if contains(g.Run("ip", "-6", "addr", "show", "dev", "eth0"), "dadfailed") {
			w.t.Fatal("the guest believes that its address is somebody else's")
		}
		return contains(out, guestAddr(n)) && contains(out, "fe80:")
	})
}

// TestGuestsOfASharedPrefixReachEachOther has the kernel as guests.
func TestGuestsOfASharedPrefixReachEachOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	s := w.run()
	w.configure(1)
	w.configure(2)
	w.guests[1].Run("ping", "-6", "-c", "2", "-i", "0.2", "-W", "5", guestAddr(2))
	w.guests[2].Run("ping", "-6", "-c", "1", "-W", "5", guestAddr(1))
	w.guests[1].Run("ping", "-6", "-c", "1", "-W", "5", gateway)
	if out := w.guests[1].Run("ip", "-6", "neigh", "show", guestAddr(2), "dev", "eth0"); !contains(out, "lladdr "+tapMAC) {
		t.Errorf("the neighbour of the guest: %q", out)
	}
	st := s.Status()["tap1"]
	if st.Answers == 0 || st.LastTarget != netip.MustParseAddr(guestAddr(2)) || time.Since(st.LastAnswer) > time.Minute || st.Ignored[ipv6.IgnoredDAD] == 0 || st.Ignored[ipv6.IgnoredGateway] == 0 {
		t.Errorf("the status: %+v", st)
	}
}

// TestWhatNdisc6Sees lets a program from elsewhere ask.
func TestWhatNdisc6Sees(t *testing.T) {
	testenv.RequireTool(t, "ndisc6")
	t.Parallel()
	w := newWorld(t, 1)
	w.run()
	w.configure(1)
	heard := w.wire(1)
	const target = "2001:db8:cb00:7100::42"
	for _, source := range [][]string{nil, {"-s", guestAddr(1)}} {
		out := w.guests[1].Run("ndisc6", append(source, "-n", "-1", target, "eth0")...)
		if !contains(out, "EE:EE:EE:EE:EE:01") || !contains(out, "from "+target) {
			t.Errorf("ndisc6 sees:\n%s", out)
		}
	}
	for _, f := range heard.all() {
		if netip.AddrFrom16([16]byte(f[22:38])) != netip.MustParseAddr(target) || f[58] != 0xe0 {
			t.Errorf("an answer comes from %v with the flags %x", netip.AddrFrom16([16]byte(f[22:38])), f[58])
		}
	}
	for _, silent := range []string{guestAddr(1), "2001:db8:cb00:7200::42", "fe80::42"} {
		if out, err := w.guests[1].Command("ndisc6", "-n", "-r", "1", "-w", "200", silent, "eth0").CombinedOutput(); err == nil {
			t.Errorf("somebody answered for %s:\n%s", silent, out)
		}
	}
}

// TestWhatIsIgnored sends what must get no answer, then what must, so that the
// answer to that tells that there was none before.
func TestWhatIsIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	s := w.run()
	guest := w.wire(1)
	w.guests[1].IP("addr add " + guestAddr(1) + "/64 dev eth0 nodad")
	own, other, marker := guestAddr(1), "2001:db8:cb00:7100::9", "2001:db8:cb00:7100::ffff"
	tagged := func(tags ...uint16) []byte {
		f := solicitation(1, own, other, "")
		out := append([]byte(nil), f[:12]...)
		for i, tag := range tags {
			protocol := uint16(0x8100)
			if i == 0 && len(tags) > 1 {
				protocol = 0x88a8
			}
			out = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(out, protocol), tag)
		}
		return append(out, f[12:]...)
	}
	forwarded := solicitation(1, own, other, "")
	forwarded[21] = 254
	wrong := solicitation(1, own, other, "")
	wrong[57]++
	toOther := solicitation(1, own, other, "")
	copy(toOther, []byte{2, 0, 0, 0, 9, 9})
	seen := map[ipv6.Ignored]uint64{}
	for what, c := range map[string]struct {
		frame  []byte
		counts ipv6.Ignored // nothing: the filter drops it
	}{
		"duplicate address detection": {solicitation(1, "::", other, ""), ipv6.IgnoredDAD},
		"own":                         {solicitation(1, "fe80::5", own, ""), ipv6.IgnoredOwn},
		"spoofed":                     {solicitation(1, "2001:db8:cb00:7100::8", other, ""), ipv6.IgnoredForeignSource},
		"spoofed hardware":            {solicitation(2, own, other, ""), ipv6.IgnoredForeignSource},
		"elsewhere":                   {solicitation(1, own, "2001:db8::9", ""), ipv6.IgnoredForeignTarget},
		"wrong checksum":              {wrong, ipv6.IgnoredInvalid},
		"wrong group":                 {solicitation(1, own, other, "ff02::1"), ipv6.IgnoredInvalid},
		"forwarded":                   {forwarded, ""},
		"to another":                  {toOther, ""},
		"VLAN":                        {tagged(5), ""},
		"VLAN 0":                      {tagged(0), ""},
		"VLAN 0 with priority":        {tagged(7 << 13), ""},
		"QinQ":                        {tagged(5, 6), ""},
		"QinQ of zeros":               {tagged(0, 0), ""},
	} {
		before := len(guest.all())
		guest.send(c.frame)
		guest.send(solicitation(1, own, marker, ""))
		testenv.Eventually(t, "the answer after "+what, func() bool { return len(guest.all()) > before })
		for _, f := range guest.all()[before:] {
			if target := netip.AddrFrom16([16]byte(f[62:78])); target != netip.MustParseAddr(marker) {
				t.Errorf("%s was answered, for %v", what, target)
			}
		}
		if c.counts != "" {
			seen[c.counts]++
		}
	}
	guest.send(solicitation(1, own, other, other)) // a probe
	testenv.Eventually(t, "the answer to a probe", func() bool { return s.Status()["tap1"].LastTarget == netip.MustParseAddr(other) })
	st := s.Status()["tap1"]
	for why, n := range seen {
		if why != ipv6.IgnoredDAD && st.Ignored[why] != n { // the guest's kernel does that as well
			t.Errorf("%d ignored because of %s, want %d", st.Ignored[why], why, n)
		}
	}
}

// TestAFloodIsTheFloodersOwn asks at one tap while another asks in vain for more.
func TestAFloodIsTheFloodersOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	s := w.run()
	one, two := w.wire(1), w.wire(2)
	for n := 1; n <= 2; n++ {
		w.guests[n].IP("addr add " + guestAddr(n) + "/64 dev eth0 nodad")
	}
	const other = "2001:db8:cb00:7100::9"
	flood, question := solicitation(1, guestAddr(1), other, ""), solicitation(2, guestAddr(2), other, "")
	testenv.Eventually(t, "the flood to be at its limit", func() bool {
		for range 1000 {
			one.send(flood)
		}
		return s.Status()["tap1"].Limited > 5
	})
	for i := range 20 {
		for range 200 {
			one.send(flood)
		}
		two.send(question)
		testenv.Eventually(t, "the answer to the other guest", func() bool { return len(two.all()) > i })
	}
	if st := s.Status(); st["tap2"].Limited != 0 || st["tap2"].Answers != 20 || st["tap1"].Panics != 0 {
		t.Errorf("the status: %+v", st)
	}
}

// TestATapThatBounces goes down and up, and is replaced by another of its name.
func TestATapThatBounces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	s := w.run()
	asks := func(what string) {
		w.guests[1].IP("addr replace "+guestAddr(1)+"/64 dev eth0 nodad", "link set eth0 up")
		guest := w.wire(1)
		testenv.Eventually(t, what, func() bool {
			guest.send(solicitation(1, guestAddr(1), "2001:db8:cb00:7100::9", ""))
			return len(guest.all()) > 0
		})
	}
	asks("an answer")
	w.hv.IP("link set tap1 down", "link set tap1 up")
	asks("an answer after a bounce")
	old := w.port(1)
	w.hv.IP("link del tap1")
	w.plug(1)
	if w.port(1) == old {
		t.Fatal("the new device has the index of the old one")
	}
	s.Set(w.services())
	w.ready()
	asks("an answer on the new device")
	s.Set(nil)
	testenv.Eventually(t, "nothing to be served", func() bool { return len(s.Status()) == 0 && len(w.sockets()) == 0 })
}

// TestATapInAVRF is on a kernel that has it.
func TestATapInAVRF(t *testing.T) {
	testenv.RequireVRF(t)
	w := newWorld(t, 2)
	w.hv.IP("link add public type vrf table 90", "link set public up")
	for n := 1; n <= 2; n++ {
		w.hv.IP("link set "+w.tap(n)+" master public", "addr replace fe80::1/64 dev "+w.tap(n)+" nodad",
			"addr replace "+gateway+"/128 dev "+w.tap(n)+" nodad", "route replace "+guestAddr(n)+"/128 dev "+w.tap(n)+" table 90")
	}
	w.run()
	w.configure(1)
	w.configure(2)
	w.guests[1].Run("ping", "-6", "-c", "2", "-W", "5", guestAddr(2))
}
