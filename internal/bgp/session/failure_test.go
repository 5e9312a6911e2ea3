package session

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/vrf"
)

func TestGTSMRefusesALowTTL(t *testing.T) {
	needNamespace(t, "bird", "birdc")
	t.Parallel()
	b := startBIRD(t, newRouter(t), "multihop 5; ttl security off;")
	cfg := b.router.config(func(c *Config, _ *Peer) { c.HoldTime, c.openWait = 3*time.Second, time.Second })
	fib := newMemoryFIB()
	s := start(t, cfg, fib)
	awaitError(t, s, 0, "hops to live")
	if n := s.Peers()[0].Established; n != 0 {
		t.Errorf("established %d times", n)
	}
	b.configure("direct; ttl security on;")
	b.ctl("configure")
	awaitState(t, s, 0, Established)

	b.configure("multihop 5; ttl security off;")
	b.ctl("configure")
	off := cfg
	off.Peers[0].NoTTLSecurity = true
	awaitState(t, start(t, off, newMemoryFIB()), 0, Established)
}

func TestPasswords(t *testing.T) {
	needNamespace(t, "bird", "birdc")
	t.Parallel()
	b := startBIRD(t, newRouter(t), `direct; ttl security on; password "s3cret";`)
	wrong := b.router.config(func(c *Config, p *Peer) { p.Password, c.HoldTime = "another", 3*time.Second })
	s := start(t, wrong, newMemoryFIB())
	awaitError(t, s, 0, "no answer")
	if n := s.Peers()[0].Established; n != 0 {
		t.Errorf("established %d times with a wrong password", n)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg := b.router.config(func(_ *Config, p *Peer) { p.Password = "s3cret" })
	s = start(t, cfg, newMemoryFIB())
	awaitState(t, s, 0, Established)
	if list := s.Leave(t.Context()); !list[0].Confirmed {
		t.Fatalf("left: %+v", list)
	}
	writeFile(t, b.dir+"/bird.conf", strings.Replace(b.text, "neighbor "+b.v4(1)+" as", "neighbor "+b.v6(1)+" as", 1))
	b.ctl("configure")
	cfg.Peers[0].Address = netip.MustParseAddr(b.v6(2))
	awaitState(t, start(t, cfg, newMemoryFIB()), 0, Established)
}

func TestAWrongASIsReportedInWords(t *testing.T) {
	needNamespace(t, "bird", "birdc")
	t.Parallel()
	b := startBIRD(t, newRouter(t), "direct; ttl security on;")
	ours := b.router.config(func(_ *Config, p *Peer) { p.AS = 65001 })
	awaitError(t, start(t, ours, newMemoryFIB()), 0, "the peer is AS 65000, configured is AS 65001")
	theirs := b.router.config(func(c *Config, p *Peer) { c.AS, p.AS = 65001, 65000 })
	awaitError(t, start(t, theirs, newMemoryFIB()), 0, "the peer closed the session: OPEN message error, bad peer AS (2/2)")
}

func TestAnEBGPPeerSeesOurAS(t *testing.T) {
	needNamespace(t, "bird", "birdc")
	t.Parallel()
	b := startBIRD(t, newRouter(t), "direct; ttl security on;")
	writeFile(t, b.dir+"/bird.conf", strings.NewReplacer("as 65000;\n\tpassive", "as 4200000001;\n\tpassive", "rr client; rr cluster id 10.0.0.99;", "").Replace(b.text))
	b.ctl("configure")
	fib := newMemoryFIB()
	s := start(t, b.router.config(func(c *Config, p *Peer) { c.AS, p.AS = 4200000001, 65000 }), fib)
	s.Announce([]bgp.Announcement{announcement("203.0.113.1/32")})
	b.expect("show route all for 203.0.113.1", has("BGP.as_path: 4200000001", "BGP.next_hop: "+b.v4(1)))
	fib.expect(t, "198.51.100.0/24", b.v4(2)+"@"+b.uplink)
	if route, _ := s.Routes("public", netip.MustParsePrefix("198.51.100.0/24")); route.Paths[0].ASPath != "65000" {
		t.Errorf("route %+v", route)
	}
}

func TestASilentPeerFalls(t *testing.T) {
	t.Parallel()
	peer, cfg := newScript(t)
	cfg.HoldTime = 3 * time.Second
	fib := newMemoryFIB()
	s := start(t, cfg, fib)
	peer.established()
	peer.send(route("198.51.100.0/24"))
	fib.expect(t, "198.51.100.0/24", "100.64.0.2@")
	if hold := s.Peers()[0].HoldTime; hold != 3*time.Second {
		t.Errorf("hold time %v", hold)
	}
	peer.awaitNotification(4, 0)
	awaitError(t, s, 0, "silent for longer than the hold time")
	fib.expect(t, "198.51.100.0/24", "")
	alive := 0
	for _, m := range peer.got {
		if m.Header.Type == packet.BGP_MSG_KEEPALIVE {
			alive++
		}
	}
	if alive < 2 { // the one that confirms, and at least one while it was silent
		t.Errorf("%d KEEPALIVEs", alive)
	}
}

func TestAnUplinkThatLosesItsCarrier(t *testing.T) {
	needNamespace(t, "bird", "birdc")
	t.Parallel()
	b := startBIRD(t, newRouter(t), "direct; ttl security on;")
	fib := newMemoryFIB()
	s := start(t, b.router.config(), fib)
	s.Announce(nil)
	fib.expect(t, "198.51.100.0/24", b.v4(2)+"@"+b.uplink)
	s.UplinkChanged(b.uplink, false)
	fib.expect(t, "198.51.100.0/24", "")
	awaitError(t, s, 0, "the uplink is down")
	awaitState(t, s, 0, Idle)
	s.UplinkChanged(b.uplink, true)
	awaitState(t, s, 0, Established)
	fib.expect(t, "198.51.100.0/24", b.v4(2)+"@"+b.uplink)
	s.PeerDown(b.uplink, netip.MustParseAddr(b.v4(2)), "BFD says down", false)
	awaitError(t, s, 0, "BFD says down")
	awaitState(t, s, 0, Established)
}

func TestAnUplinkThatIsNotThere(t *testing.T) {
	needNamespace(t)
	t.Parallel()
	_, cfg := newScript(t)
	cfg.Peers[0].Uplink = "hrb-none"
	awaitError(t, start(t, cfg, newMemoryFIB()), 0, "binding to uplink hrb-none: no such device")
}

func TestTwoPlanesGiveTwoNextHops(t *testing.T) {
	needNamespace(t, "bird", "birdc")
	t.Parallel()
	a, b := startBIRD(t, newRouter(t), "direct; ttl security on;"), startBIRD(t, newRouter(t), "direct; ttl security on;")
	cfg := a.router.config()
	second := b.router.peer()
	second.Name, second.Plane = "rr-b", "b"
	cfg.Peers = append(cfg.Peers, second)
	fib := newMemoryFIB()
	s := start(t, cfg, fib)
	s.Announce(nil)
	viaA, viaB := a.v4(2)+"@"+a.uplink, b.v4(2)+"@"+b.uplink
	fib.expect(t, "198.51.100.0/24", viaA+" "+viaB)
	s.UplinkChanged(b.uplink, false)
	fib.expect(t, "198.51.100.0/24", viaA)
	s.UplinkChanged(b.uplink, true)
	fib.expect(t, "198.51.100.0/24", viaA+" "+viaB)
	a.stop() // keeps its paths as stale, and the other plane is better
	fib.expect(t, "198.51.100.0/24", viaB)
	b.stop() // now both are stale
	fib.expect(t, "198.51.100.0/24", viaA+" "+viaB)
}

func TestWhatTheFIBRefusesIsOfferedAgain(t *testing.T) {
	peer, cfg := newScript(t)
	fib := newMemoryFIB()
	bad, broken := netip.MustParsePrefix("192.0.2.66/32"), true
	fib.refuse = func(changes []vrf.Change) error {
		for _, c := range changes {
			if c.Prefix == bad && broken {
				return errors.New("no buffer space")
			}
		}
		return nil
	}
	s := start(t, cfg, fib)
	peer.established()
	for i := range 100 {
		peer.send(route(fmt.Sprintf("192.0.2.%d/32", i)))
	}
	for i := range 100 {
		if i != 66 {
			fib.expect(t, fmt.Sprintf("192.0.2.%d/32", i), "100.64.0.2@")
		}
	}
	eventually(t, "one failed route", func() bool { return s.Tables()[0].Failed == 1 && s.Tables()[0].WriteErrors > 1 },
		func() string { return fmt.Sprintf("%+v", s.Tables()) })
	if st := s.Tables()[0]; st.LastError != "no buffer space" || st.Prefixes != (Prefixes{100, 0}) {
		t.Errorf("status %+v", st)
	}
	fib.mu.Lock()
	broken = false
	fib.mu.Unlock()
	fib.expect(t, bad.String(), "100.64.0.2@")
}

func TestAFIBThatTakesNothingIsNotAskedAtFullSpeed(t *testing.T) {
	peer, cfg := newScript(t)
	fib := newMemoryFIB()
	calls, broken := 0, true
	fib.refuse = func([]vrf.Change) error {
		if calls++; broken {
			return errors.New("no such table")
		}
		return nil
	}
	s := start(t, cfg, fib)
	peer.established()
	for i := range 4000 {
		peer.send(route(fmt.Sprintf("10.0.%d.%d/32", i/250, i%250)))
	}
	eventually(t, "all routes known", func() bool { return s.Peers()[0].Received.IPv4 == 4000 }, func() string { return fmt.Sprint(s.Tables()) })
	eventually(t, "a second round", func() bool { return s.Tables()[0].WriteErrors > patience }, func() string { return fmt.Sprint(s.Tables()) })
	fib.mu.Lock()
	if calls > 200 {
		t.Errorf("asked %d times", calls)
	}
	broken = false
	fib.mu.Unlock()
	eventually(t, "all routes written", func() bool { st := s.Tables()[0]; return st.Failed == 0 && st.Pending == 0 },
		func() string { return fmt.Sprint(s.Tables()) })
	fib.expect(t, "10.0.15.249/32", "100.64.0.2@")
}

func TestSyncedWaitsForTheFIB(t *testing.T) {
	peer, cfg := newScript(t)
	fib := newMemoryFIB()
	held := make(chan struct{})
	fib.refuse = func([]vrf.Change) error { <-held; return nil }
	s := start(t, cfg, fib)
	peer.established()
	peer.send(route("198.51.100.0/24"), packet.NewEndOfRib(packet.RF_IPv4_UC), packet.NewEndOfRib(packet.RF_IPv6_UC))
	eventually(t, "End-of-RIB", func() bool { return s.Peers()[0].Complete }, func() string { return fmt.Sprint(s.Peers()) })
	select {
	case <-s.Synced():
		t.Fatal("synced with a route unwritten")
	default:
	}
	close(held)
	<-s.Synced()
	if got := fib.get("public", "198.51.100.0/24"); got != "100.64.0.2@" {
		t.Errorf("route %q", got)
	}
}

func TestAPeerWithoutEndOfRIBIsDoneWithAKeepalive(t *testing.T) {
	peer, cfg := newScript(t)
	cfg.SyncDeadline = time.Hour
	fib := newMemoryFIB()
	s := start(t, cfg, fib)
	peer.established()
	peer.send(route("198.51.100.0/24"), packet.NewBGPKeepAliveMessage())
	<-s.Synced()
	if got := fib.get("public", "198.51.100.0/24"); got != "100.64.0.2@" || !s.Peers()[0].Complete {
		t.Errorf("route %q, status %+v", got, s.Peers()[0])
	}
}

func TestSyncedGivesUpOnAPeerThatIsNotThere(t *testing.T) {
	_, cfg := newScript(t)
	cfg.SyncDeadline = time.Millisecond
	<-start(t, cfg, newMemoryFIB()).Synced()
}

func TestConfigurationsThatCanNotWork(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"router id": func(c *Config) { c.RouterID = netip.IPv6Unspecified() },
		"AS 0":      func(c *Config) { c.AS = 0 },
		"hold time": func(c *Config) { c.HoldTime = time.Second },
		"restart":   func(c *Config) { c.RestartTime = 2 * time.Hour },
		"VRF":       func(c *Config) { c.Peers[0].VRF = "" },
		"password":  func(c *Config) { c.Peers[0].Password = strings.Repeat("x", 81) },
	} {
		cfg := Config{AS: 65000, RouterID: netip.MustParseAddr("10.0.0.1"), Peers: []Peer{{VRF: "public", Address: netip.MustParseAddr("100.64.0.2")}}}
		change(&cfg)
		if err := New(cfg, newMemoryFIB(), discard).Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %s", err, want)
		}
	}
}
