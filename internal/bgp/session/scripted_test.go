package session

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/hostroute/hostroute/internal/bgp"
)

// script is a peer that sends what it is told, good or not.
type script struct {
	t        *testing.T
	listener net.Listener
	conn     net.Conn

	mu   sync.Mutex
	got  []*packet.BGPMessage
	gone bool
}

// newScript listens on loopback; the speaker's configuration leads there.
func newScript(t *testing.T) (*script, Config) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &script{t: t, listener: l}
	address := l.Addr().(*net.TCPAddr).AddrPort()
	return s, Config{
		AS: 65000, RouterID: netip.MustParseAddr("10.0.0.1"), ConnectRetry: 50 * time.Millisecond,
		HoldTime: 30 * time.Second,
		Peers: []Peer{{
			Name: "script", VRF: "public", Plane: "a", Address: address.Addr(), Port: address.Port(),
			LocalV4: netip.MustParseAddr("100.64.0.1"), LocalV6: netip.MustParseAddr("2001:db8::1"), NoTTLSecurity: true,
		}},
	}
}

// accept takes the next connection and what it sends from then on.
func (s *script) accept() {
	s.t.Helper()
	conn, err := s.listener.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.conn, s.got, s.gone = conn, nil, false
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		s.collect(conn)
		close(ended)
	}()
	s.t.Cleanup(func() {
		conn.Close()
		<-ended
	})
}

func (s *script) collect(conn net.Conn) {
	for {
		header := make([]byte, 19)
		_, err := io.ReadFull(conn, header)
		body := make([]byte, max(19, binary.BigEndian.Uint16(header[16:]))-19)
		if err == nil {
			_, err = io.ReadFull(conn, body)
		}
		s.mu.Lock()
		if err != nil {
			s.gone = true
			s.mu.Unlock()
			conn.Close()
			return
		}
		m, err := packet.ParseBGPMessage(append(header, body...))
		if err != nil {
			s.t.Errorf("we sent % x: %v", body, err)
		}
		s.got = append(s.got, m)
		s.mu.Unlock()
	}
}

// established brings a session up.
func (s *script) established(caps ...packet.ParameterCapabilityInterface) {
	s.t.Helper()
	s.accept()
	s.send(s.open(65000, caps...), packet.NewBGPKeepAliveMessage())
}

func (s *script) open(as uint16, caps ...packet.ParameterCapabilityInterface) *packet.BGPMessage {
	caps = append(caps, packet.NewCapMultiProtocol(packet.RF_IPv4_UC), packet.NewCapMultiProtocol(packet.RF_IPv6_UC),
		packet.NewCapFourOctetASNumber(uint32(as)), packet.NewCapRouteRefresh())
	return packet.NewBGPOpenMessage(as, 30, "10.0.0.2", []packet.OptionParameterInterface{packet.NewOptionParameterCapability(caps)})
}

func (s *script) send(list ...*packet.BGPMessage) {
	s.t.Helper()
	for _, m := range list {
		b, err := m.Serialize()
		if err != nil {
			s.t.Fatal(err)
		}
		s.raw(b)
	}
}

func (s *script) raw(b []byte) {
	s.t.Helper()
	if _, err := s.conn.Write(b); err != nil {
		s.t.Fatal(err)
	}
}

// message frames a body.
func (s *script) message(kind byte, body ...byte) {
	s.t.Helper()
	b := append([]byte(strings.Repeat("\xff", 16)), byte((19+len(body))>>8), byte(19+len(body)), kind)
	s.raw(append(b, body...))
}

// await waits for a message that we are sent.
func (s *script) await(what string, ok func(*packet.BGPMessage) bool) {
	s.t.Helper()
	eventually(s.t, what, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, m := range s.got {
			if ok(m) {
				return true
			}
		}
		return false
	}, func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		text := ""
		for _, m := range s.got {
			text += fmt.Sprintf("%d %+v; ", m.Header.Type, m.Body)
		}
		return text
	})
}

func (s *script) awaitNotification(code, subcode uint8) {
	s.t.Helper()
	s.await(fmt.Sprintf("notification %d/%d", code, subcode), func(m *packet.BGPMessage) bool {
		n, ok := m.Body.(*packet.BGPNotification)
		return ok && n.ErrorCode == code && n.ErrorSubcode == subcode
	})
}

// route announces a prefix through 100.64.0.2.
func route(prefix string) *packet.BGPMessage {
	p := netip.MustParsePrefix(prefix)
	return packet.NewBGPUpdateMessage(nil, []packet.PathAttributeInterface{
		packet.NewPathAttributeOrigin(0), packet.NewPathAttributeAsPath(nil),
		packet.NewPathAttributeNextHop("100.64.0.2"), packet.NewPathAttributeLocalPref(100),
	}, []*packet.IPAddrPrefix{packet.NewIPAddrPrefix(uint8(p.Bits()), p.Addr().String())})
}

// UPDATE bodies for 198.51.100.0/24 (24, 198, 51, 100), wrong in some way.
var (
	nlri       = []byte{24, 198, 51, 100}
	attributes = []byte{
		0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 100, 64, 0, 2, 0x40, 5, 4, 0, 0, 0, 100,
	}
)

func updateBody(attributes ...[]byte) []byte {
	var all []byte
	for _, a := range attributes {
		all = append(all, a...)
	}
	return append(append([]byte{0, 0, byte(len(all) >> 8), byte(len(all))}, all...), nlri...)
}

func TestMessagesThatCostTheirRoutesOnly(t *testing.T) {
	for name, body := range map[string][]byte{
		"wrong ORIGIN flags":                updateBody([]byte{0xc0, 1, 1, 0}, attributes[4:]),
		"short NEXT_HOP":                    updateBody(attributes[:7], []byte{0x40, 3, 2, 1, 2}, attributes[14:]),
		"short IPv6 extended community":     updateBody(attributes, []byte{0xc0, 25, 3, 1, 2, 3}),
		"attribute longer than the message": updateBody(attributes, []byte{0xc0, 8, 200, 1, 2, 3, 4}),
		"AS_PATH that ends early":           updateBody(attributes[:4], []byte{0x40, 2, 3, 2, 9, 1}, attributes[7:]),
	} {
		t.Run(name, func(t *testing.T) {
			peer, cfg := newScript(t)
			fib := newMemoryFIB()
			s := start(t, cfg, fib)
			peer.established()
			peer.send(route("198.51.100.0/24"), route("192.0.2.0/24"))
			fib.expect(t, "198.51.100.0/24", "100.64.0.2@")
			peer.message(packet.BGP_MSG_UPDATE, body...)
			fib.expect(t, "198.51.100.0/24", "")
			fib.expect(t, "192.0.2.0/24", "100.64.0.2@")
			if st := s.Peers()[0]; st.State != Established || st.Established != 1 || st.Malformed != 1 || st.LastMalformed == "" {
				t.Errorf("status %+v", st)
			}
		})
	}
}

func TestAttributesThatAreDiscarded(t *testing.T) {
	peer, cfg := newScript(t)
	fib := newMemoryFIB()
	s := start(t, cfg, fib)
	peer.established()
	// AS4_PATH before a trailing AS_PATH (CVE-2026-41643), an aggregator of a
	// wrong size, ORIGIN twice.
	body := updateBody(attributes[:4], []byte{0xc0, 17, 6, 2, 1, 0, 0, 0, 9}, attributes[7:],
		[]byte{0xc0, 7, 1, 0}, []byte{0x40, 1, 1, 1}, attributes[4:7])
	peer.message(packet.BGP_MSG_UPDATE, body...)
	fib.expect(t, "198.51.100.0/24", "100.64.0.2@")
	if st := s.Peers()[0]; st.State != Established || st.Malformed != 1 {
		t.Errorf("status %+v", st)
	}
}

func TestMessagesThatEndTheSession(t *testing.T) {
	type ending struct {
		name          string
		send          func(*script)
		code, subcode uint8
		words         string
	}
	update := func(b ...byte) func(*script) {
		return func(s *script) { s.message(packet.BGP_MSG_UPDATE, b...) }
	}
	for _, c := range []ending{
		{"type 255", func(s *script) { s.message(255) }, 1, 3, "unknown type 255"},
		{"type 6", func(s *script) { s.message(6) }, 1, 3, "unknown type 6"},
		{"no marker", func(s *script) { s.raw(make([]byte, 19)) }, 1, 1, "without the marker"},
		{"length 18", func(s *script) { s.raw(append([]byte(strings.Repeat("\xff", 16)), 0, 18, 4)) }, 1, 2, "18 bytes"},
		{"length 65535", func(s *script) { s.raw(append([]byte(strings.Repeat("\xff", 16)), 255, 255, 2)) }, 1, 2, "65535 bytes"},
		{"keepalive with a body", func(s *script) { s.message(4, 0) }, 1, 2, "20 bytes"},
		{"second OPEN", func(s *script) { s.send(s.open(65000)) }, 5, 3, "unexpected message of type 1"},
		{"withdrawn length", update(0xff, 0xff, 0, 0), 3, 1, "withdrawn"},
		{"unknown well-known", update(updateBody(attributes, []byte{0x40, 99, 0})...), 3, 2, "well-known"},
		{"prefix length 77", update(append(updateBody(attributes), 77, 1, 1, 1, 1)...), 3, 10, "prefix length of 77"},
		{"next hop length", update(updateBody(attributes, []byte{0x80, 14, 6, 0, 2, 1, 1, 1, 0})...), 3, 9, "next hop of 1 bytes"},
		{"ROUTE-REFRESH of 5 bytes", func(s *script) { s.message(5, 0, 1, 0, 1, 0) }, 7, 1, "ROUTE-REFRESH of 5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			peer, cfg := newScript(t)
			fib := newMemoryFIB()
			s := start(t, cfg, fib)
			peer.established()
			peer.send(route("198.51.100.0/24"))
			fib.expect(t, "198.51.100.0/24", "100.64.0.2@")
			c.send(peer)
			peer.awaitNotification(c.code, c.subcode)
			fib.expect(t, "198.51.100.0/24", "")
			awaitError(t, s, 0, c.words)
			peer.established() // it comes back
			awaitState(t, s, 0, Established)
		})
	}
}

func TestOpensThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		name          string
		change        func(*packet.BGPOpen)
		code, subcode uint8
		words         string
	}{
		{"version", func(o *packet.BGPOpen) { o.Version = 3 }, 2, 1, "version 3"},
		{"AS", func(o *packet.BGPOpen) { o.OptParams = nil; o.MyAS = 65009 }, 2, 2, "the peer is AS 65009, configured is AS 65000"},
		{"router id", func(o *packet.BGPOpen) { o.ID = net.IPv4(10, 0, 0, 1) }, 2, 3, "router id 10.0.0.1"},
		{"no router id", func(o *packet.BGPOpen) { o.ID = net.IPv4zero }, 2, 3, "router id 0.0.0.0"},
		{"hold time", func(o *packet.BGPOpen) { o.HoldTime = 2 }, 2, 6, "hold time of 2 s"},
		{"families", func(o *packet.BGPOpen) {
			o.OptParams = []packet.OptionParameterInterface{packet.NewOptionParameterCapability(
				[]packet.ParameterCapabilityInterface{packet.NewCapMultiProtocol(packet.RF_EVPN)})}
		}, 2, 7, "neither IPv4 nor IPv6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			peer, cfg := newScript(t)
			s := start(t, cfg, newMemoryFIB())
			peer.accept()
			open := peer.open(65000)
			c.change(open.Body.(*packet.BGPOpen))
			peer.send(open)
			peer.awaitNotification(c.code, c.subcode)
			awaitError(t, s, 0, c.words)
		})
	}
}

func TestNotificationsAreReportedInWords(t *testing.T) {
	for want, n := range map[string]*packet.BGPMessage{
		"OPEN message error, bad peer AS (2/2)":                                packet.NewBGPNotificationMessage(2, 2, nil),
		"cease, administrative shutdown (6/2): \"back in an hour\"":            packet.NewBGPNotificationMessage(6, 2, append([]byte{15}, "back in an hour"...)),
		"cease, maximum number of prefixes reached (6/1)":                      packet.NewBGPNotificationMessage(6, 1, nil),
		"the peer closed the session: unknown error (99/1)":                    packet.NewBGPNotificationMessage(99, 1, nil),
		"hard reset (6/9) after cease, administrative shutdown (6/2): \"bye\"": packet.NewBGPNotificationMessage(6, 9, append([]byte{6, 2, 3}, "bye"...)),
		"hold timer expired (4/0)":                                             packet.NewBGPNotificationMessage(4, 0, nil),
		"the peer closed the session: cease, other configuration ch":           packet.NewBGPNotificationMessage(6, 6, nil),
	} {
		peer, cfg := newScript(t)
		s := start(t, cfg, newMemoryFIB())
		peer.accept()
		peer.send(n)
		awaitError(t, s, 0, want)
	}
}

func TestAnnouncementsArePackedAndSentOnce(t *testing.T) {
	peer, cfg := newScript(t)
	s := start(t, cfg, newMemoryFIB())
	var set []bgp.Announcement
	for i := range 3000 {
		set = append(set, announcement(fmt.Sprintf("10.%d.%d.1/32", i/250, i%250)),
			announcement(fmt.Sprintf("2001:db8:1:%x::1/128", i)))
	}
	peer.established()
	awaitState(t, s, 0, Established)
	peer.mu.Lock()
	for _, m := range peer.got {
		if m.Header.Type == packet.BGP_MSG_UPDATE {
			t.Error("an UPDATE, or End-of-RIB, before anything was said")
		}
	}
	peer.mu.Unlock()
	s.Announce(set)
	s.Announce(set)
	count := func() (updates, v4, v6, ends int) {
		peer.mu.Lock()
		defer peer.mu.Unlock()
		for _, m := range peer.got {
			u, ok := m.Body.(*packet.BGPUpdate)
			if !ok {
				continue
			}
			if eor, _ := u.IsEndOfRib(); eor {
				ends++
				continue
			}
			updates++
			v4 += len(u.NLRI)
			for _, a := range u.PathAttributes {
				if reach, ok := a.(*packet.PathAttributeMpReachNLRI); ok {
					v6 += len(reach.Value)
				}
			}
		}
		return
	}
	eventually(t, "all announcements, each once, and End-of-RIB", func() bool {
		_, v4, v6, ends := count()
		return v4 == 3000 && v6 == 3000 && ends == 2
	}, func() string { return fmt.Sprint(count()) })
	updates, _, _, _ := count()
	if updates > 18 {
		t.Errorf("%d messages for 6000 prefixes", updates)
	}
	if st := s.Peers()[0]; st.UpdatesOut != uint64(updates) || st.MessagesOut < uint64(updates)+2 {
		t.Errorf("%d updates were sent, %d counted, of %d messages", updates, st.UpdatesOut, st.MessagesOut)
	}
	s.Announce(set[2:])
	withdrawn := func(m *packet.BGPMessage) bool {
		u, ok := m.Body.(*packet.BGPUpdate)
		return ok && len(u.WithdrawnRoutes) == 1 && u.WithdrawnRoutes[0].String() == "10.0.0.1/32"
	}
	peer.await("a withdrawal of one prefix", withdrawn)
	if _, v4, v6, _ := count(); v4 != 3000 || v6 != 3000 {
		t.Errorf("%d and %d prefixes announced, want no more than before", v4, v6)
	}
}

func TestARestartSaysNothing(t *testing.T) {
	peer, cfg := newScript(t)
	s := start(t, cfg, newMemoryFIB())
	s.Announce([]bgp.Announcement{announcement("203.0.113.1/32")})
	peer.established()
	peer.await("End-of-RIB", func(m *packet.BGPMessage) bool {
		u, ok := m.Body.(*packet.BGPUpdate)
		if !ok {
			return false
		}
		eor, _ := u.IsEndOfRib()
		return eor
	})
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the connection", func() bool {
		peer.mu.Lock()
		defer peer.mu.Unlock()
		return peer.gone
	}, func() string { return "it is open" })
	for _, m := range peer.got {
		if u, ok := m.Body.(*packet.BGPUpdate); m.Header.Type == packet.BGP_MSG_NOTIFICATION || ok && len(u.WithdrawnRoutes) > 0 {
			t.Errorf("sent %+v", m.Body)
		}
	}
}
