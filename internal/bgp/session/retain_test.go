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
)

func TestWhatSurvivesAFall(t *testing.T) {
	for _, c := range []struct {
		err         error
		want, withN survival
	}{
		{errClosed, everything, everything},
		{errors.New("reading: connection reset by peer"), everything, everything},
		{errHold, lastResort, everything},
		{&notification{code: codeHold}, lastResort, everything},
		{&notification{code: codeCease, subcode: 4}, nothing, everything},
		{&notification{code: codeCease, subcode: ceaseHardReset}, nothing, nothing},
		{&notification{code: codeCease, subcode: ceaseHardReset, data: []byte{6, 2, 0}}, nothing, nothing},
		{&notification{code: codeCease, subcode: ceaseHardReset, data: []byte{6, 10}}, lastResort, lastResort},
		{&notification{code: codeCease, subcode: ceaseBFDDown}, lastResort, lastResort},
		{newFault(3, 1, nil, "bad"), nothing, everything},
		{peerDown{reason: "BFD says down"}, lastResort, lastResort},
		{ErrUplinkDown, nothing, nothing},
	} {
		for n, want := range map[bool]survival{false: c.want, true: c.withN} {
			if got := survives(fmt.Errorf("reading: %w", c.err), n); got != want {
				t.Errorf("%v, notifications %v: %d, want %d", c.err, n, got, want)
			}
		}
	}
}

func TestHowLongPathsAreKept(t *testing.T) {
	const day = 24 * time.Hour
	both := [2]bool{true, true}
	able := restartCapability{able: true, time: time.Minute, families: both}
	long := longLivedCapability{families: both, time: [2]time.Duration{day, day}}
	for _, c := range []struct {
		name        string
		left        survival
		n           negotiated
		grace, long time.Duration
	}{
		{"all", everything, negotiated{families: both, restart: able, longLived: long}, time.Minute, day},
		{"a dead path", lastResort, negotiated{families: both, restart: able, longLived: long}, 0, day},
		{"a dead path, no long-lived", lastResort, negotiated{families: both, restart: able}, 0, 0},
		{"a hard reset", nothing, negotiated{families: both, restart: able, longLived: long}, 0, 0},
		{"no restart", everything, negotiated{families: both, longLived: long}, 0, 0},
		{"no restart of this family", everything, negotiated{families: both, restart: restartCapability{able: true, time: time.Minute}, longLived: long}, 0, day},
		{"not spoken", everything, negotiated{restart: able, longLived: long}, 0, 0},
	} {
		if grace, long := c.n.keepFor(c.left, bgp.IPv6); grace != c.grace || long != c.long {
			t.Errorf("%s: %v and %v, want %v and %v", c.name, grace, long, c.grace, c.long)
		}
	}
}

// gracefulFor is what a peer says that restarts in so many seconds and asks for
// so many more.
func gracefulFor(restart, long uint16, forwarding bool) []packet.ParameterCapabilityInterface {
	v4, v6 := packet.RF_IPv4_UC, packet.RF_IPv6_UC
	caps := []packet.ParameterCapabilityInterface{packet.NewCapGracefulRestart(false, false, restart, []*packet.CapGracefulRestartTuple{
		packet.NewCapGracefulRestartTuple(v4, forwarding), packet.NewCapGracefulRestartTuple(v6, forwarding)})}
	if long > 0 {
		caps = append(caps, packet.NewCapLongLivedGracefulRestart([]*packet.CapLongLivedGracefulRestartTuple{
			packet.NewCapLongLivedGracefulRestartTuple(v4, forwarding, uint32(long)),
			packet.NewCapLongLivedGracefulRestartTuple(v6, forwarding, uint32(long))}))
	}
	return caps
}

// reflected is a route that the peer has from another router, 100.64.0.hop.
func reflected(prefix string, hop byte, communities ...uint32) *packet.BGPMessage {
	p := netip.MustParsePrefix(prefix)
	list := []packet.PathAttributeInterface{
		packet.NewPathAttributeOrigin(0), packet.NewPathAttributeAsPath(nil),
		packet.NewPathAttributeNextHop(fmt.Sprintf("100.64.0.%d", hop)), packet.NewPathAttributeLocalPref(100),
		packet.NewPathAttributeOriginatorId(fmt.Sprintf("10.0.1.%d", hop)), packet.NewPathAttributeClusterList([]string{"10.0.0.99"}),
	}
	if len(communities) > 0 {
		list = append(list, packet.NewPathAttributeCommunities(communities))
	}
	return packet.NewBGPUpdateMessage(nil, list, []*packet.IPAddrPrefix{packet.NewIPAddrPrefix(uint8(p.Bits()), p.Addr().String())})
}

// twoReflectors is a speaker with a reflector on each of two planes that tell
// the same route by different next hops, 100.64.0.10 and 100.64.0.11.
func twoReflectors(t *testing.T, change func(*Config)) (a, b *script, fib *memoryFIB, s *Speaker) {
	t.Helper()
	a, cfg := newScript(t)
	b, second := newScript(t)
	cfg.Peers = append(cfg.Peers, second.Peers...)
	cfg.Peers[0].Name, cfg.Peers[1].Name = "rr-a", "rr-b"
	cfg.Peers[1].Plane = "b"
	cfg.LongLivedStaleTime = DefaultLongLivedStaleTime
	if change != nil {
		change(&cfg)
	}
	fib = newMemoryFIB()
	return a, b, fib, start(t, cfg, fib)
}

func ends() []*packet.BGPMessage {
	return []*packet.BGPMessage{packet.NewEndOfRib(packet.RF_IPv4_UC), packet.NewEndOfRib(packet.RF_IPv6_UC)}
}

const shared = "198.51.100.0/24"

func awaitKept(t *testing.T, s *Speaker, peer int, state string, back bool, paths int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d %s paths, back %v", paths, state, back), func() bool {
		st := s.Peers()[peer]
		return len(st.Kept) == 1 && st.Kept[0].State == state && st.Kept[0].Back == back && st.Kept[0].Paths == paths
	}, func() string { return fmt.Sprintf("%+v", s.Peers()[peer]) })
}

// TestBothReflectorsGone is the case that all of this is for: nothing is
// withdrawn while nobody tells anything, what is told again replaces what was
// kept one by one, and the End-of-RIB drops the rest.
func TestBothReflectorsGone(t *testing.T) {
	t.Parallel()
	a, b, fib, s := twoReflectors(t, func(c *Config) { c.Deferral = 100 * time.Millisecond })
	gone := netip.MustParsePrefix("192.0.2.0/24")
	for i, peer := range []*script{a, b} {
		peer.established(gracefulFor(1, 1000, true)...)
		peer.send(reflected(shared, byte(10+i)), reflected(gone.String(), byte(10+i)))
		peer.send(ends()...)
	}
	fib.expect(t, shared, "100.64.0.10@ 100.64.0.11@")
	fib.expect(t, gone.String(), "100.64.0.10@ 100.64.0.11@")
	a.conn.Close()
	fib.expect(t, shared, "100.64.0.11@")
	b.conn.Close()
	awaitKept(t, s, 0, "long-lived", false, 2) // a second later
	awaitKept(t, s, 1, "long-lived", false, 2)
	fib.expect(t, shared, "100.64.0.10@ 100.64.0.11@")
	route, _ := s.Routes("public", gone)
	for _, p := range route.Paths {
		if !p.Stale || !p.LongLived || p.Communities[0] != bgp.CommunityLongLivedStale {
			t.Errorf("path %+v", p)
		}
	}

	b.established(gracefulFor(1, 1000, false)...) // lost its forwarding state, if it ever had any
	awaitKept(t, s, 1, "long-lived", true, 2)
	b.send(reflected(shared, 12))
	fib.expect(t, shared, "100.64.0.12@")
	fib.expect(t, gone.String(), "100.64.0.10@ 100.64.0.11@")
	b.send(ends()...)
	fib.expect(t, gone.String(), "100.64.0.10@") // the other one may still know better
	a.established(gracefulFor(1, 1000, true)...)
	a.send(ends()...)
	fib.expect(t, gone.String(), "")
	if n := fib.withdrawals(shared); n > 0 {
		t.Errorf("%d withdrawals of a route that was never gone", n)
	}
	for _, st := range s.Peers() {
		if len(st.Kept) > 0 || st.Falls != 1 || st.LastFall == "" || st.LongLivedStaleTime.IPv6 != 1000*time.Second || st.RestartTime != time.Second {
			t.Errorf("status %+v", st)
		}
	}
}

func TestLongLivedPathsEndWithTheirTime(t *testing.T) {
	t.Parallel()
	for name, timers := range map[string][2]uint16{"after a restart time": {1, 1}, "without one": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			a, _, fib, s := twoReflectors(t, nil)
			a.established(gracefulFor(timers[0], timers[1], true)...)
			a.send(reflected(shared, 10), reflected("192.0.2.0/24", 10, bgp.CommunityNoLongLived))
			fib.expect(t, shared, "100.64.0.10@")
			fib.expect(t, "192.0.2.0/24", "100.64.0.10@")
			a.listener.Close()
			a.conn.Close()
			awaitKept(t, s, 0, "long-lived", false, 1)
			fib.expect(t, "192.0.2.0/24", "")
			fib.expect(t, shared, "")
			eventually(t, "nothing kept", func() bool { return len(s.Peers()[0].Kept) == 0 }, func() string { return fmt.Sprintf("%+v", s.Peers()) })
		})
	}
}

// TestAPeerThatComesAndGoes never tells all: its paths are kept, and their time
// runs on.
func TestAPeerThatComesAndGoes(t *testing.T) {
	t.Parallel()
	a, _, fib, s := twoReflectors(t, nil)
	a.established(gracefulFor(0, 3000, true)...)
	a.send(reflected(shared, 10))
	fib.expect(t, shared, "100.64.0.10@")
	a.conn.Close()
	awaitKept(t, s, 0, "long-lived", false, 1)
	until := s.Peers()[0].Kept[0].Until
	a.established(gracefulFor(0, 3000, true)...)
	awaitKept(t, s, 0, "long-lived", true, 1)
	a.send(reflected("192.0.2.0/24", 10))
	fib.expect(t, "192.0.2.0/24", "100.64.0.10@")
	a.conn.Close()
	awaitKept(t, s, 0, "long-lived", false, 2)
	if got := s.Peers()[0].Kept[0].Until; !got.Equal(until) {
		t.Errorf("kept until %v, and %v after the second fall", until, got)
	}
	a.established(gracefulFor(0, 3000, true)...)
	a.send(ends()...)
	fib.expect(t, shared, "")
	fib.expect(t, "192.0.2.0/24", "")
}

// TestWhatANewOpenTakesAway covers what a peer may say when it comes back.
func TestWhatANewOpenTakesAway(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		caps      []packet.ParameterCapabilityInterface
		own, from string // what is left of its own route and of the one that it reflected
	}{
		{"forwarding state kept", gracefulFor(60, 3000, true), "100.64.0.2@", "100.64.0.10@"},
		{"forwarding state lost", gracefulFor(60, 3000, false), "", "100.64.0.10@"},
		{"long-lived no more, restarts still", gracefulFor(60, 0, true), "100.64.0.2@", "100.64.0.10@"},
		{"nothing any more", nil, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, _, fib, s := twoReflectors(t, nil)
			a.established(gracefulFor(0, 3000, true)...)
			a.send(reflected(shared, 10), route("192.0.2.0/24"))
			fib.expect(t, shared, "100.64.0.10@")
			fib.expect(t, "192.0.2.0/24", "100.64.0.2@")
			a.conn.Close()
			awaitKept(t, s, 0, "long-lived", false, 2)
			a.established(c.caps...)
			a.send(reflected("203.0.113.200/32", 10)) // behind it all
			fib.expect(t, "203.0.113.200/32", "100.64.0.10@")
			fib.expect(t, "192.0.2.0/24", c.own)
			fib.expect(t, shared, c.from)
		})
	}
}

// TestADeadPathIsTheLastResort: what BFD says takes a plane away at once where
// there is another one, and never takes the last one away.
func TestADeadPathIsTheLastResort(t *testing.T) {
	t.Parallel()
	a, b, fib, s := twoReflectors(t, func(c *Config) {
		c.Peers[0].Uplink, c.Peers[1].Uplink = "lo", "" // to tell them apart
		c.ConnectRetry = time.Hour
	})
	address := netip.MustParseAddr("127.0.0.1")
	for i, peer := range []*script{a, b} {
		peer.established(gracefulFor(600, 3000, true)...)
		peer.send(reflected(shared, byte(10+i)))
		peer.send(ends()...)
	}
	fib.expect(t, shared, "100.64.0.10@lo 100.64.0.11@")
	s.PeerDown("lo", address, "BFD says down", false)
	fib.expect(t, shared, "100.64.0.11@")
	awaitKept(t, s, 0, "long-lived", false, 1)
	if st := s.Peers()[0]; st.LastFall != "BFD says down" || st.Kept[0].Until.Before(time.Now().Add(time.Hour/2)) {
		t.Errorf("status %+v", st)
	}
	b.conn.Close() // may be restarting: better than what is known to be dead
	awaitKept(t, s, 1, "restarting", false, 1)
	fib.expect(t, shared, "100.64.0.11@")
	s.PeerDown("", address, "BFD says down", false) // dead, too, as it turns out
	awaitKept(t, s, 1, "long-lived", false, 1)
	fib.expect(t, shared, "100.64.0.10@lo 100.64.0.11@")
	if n := fib.withdrawals(shared); n > 0 {
		t.Errorf("%d withdrawals", n)
	}
}

func TestADeadPathLeavesNothingWithoutLongLivedRestart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ours   time.Duration
		theirs uint16
	}{"not offered": {0, 3000}, "not theirs": {time.Hour, 0}} {
		t.Run(name, func(t *testing.T) {
			a, _, fib, s := twoReflectors(t, func(cfg *Config) { cfg.LongLivedStaleTime = c.ours })
			a.established(gracefulFor(600, c.theirs, true)...)
			a.send(reflected(shared, 10))
			fib.expect(t, shared, "100.64.0.10@")
			s.PeerDown("", netip.MustParseAddr("127.0.0.1"), "BFD says down", false)
			fib.expect(t, shared, "")
		})
	}
}

func TestASilentPeerIsKeptAsTheLastResort(t *testing.T) {
	t.Parallel()
	a, b, fib, s := twoReflectors(t, func(c *Config) { c.HoldTime = 3 * time.Second })
	for i, peer := range []*script{a, b} {
		peer.established(gracefulFor(600, 3000, true)...)
		peer.send(reflected(shared, byte(10+i)))
	}
	fib.expect(t, shared, "100.64.0.10@ 100.64.0.11@")
	awaitKept(t, s, 0, "long-lived", false, 1)
	awaitKept(t, s, 1, "long-lived", false, 1)
	fib.expect(t, shared, "100.64.0.10@ 100.64.0.11@")
	if st := s.Peers()[0]; !strings.Contains(st.LastFall, "silent for longer than the hold time") || fib.withdrawals(shared) > 0 {
		t.Errorf("%d withdrawals, status %+v", fib.withdrawals(shared), st)
	}
}

func TestOurOpenAsksForWhatIsConfigured(t *testing.T) {
	t.Parallel()
	for asked, want := range map[time.Duration][]uint32{0: nil, time.Hour: {3600, 3600}, maxLongLived: {1<<24 - 1, 1<<24 - 1}} {
		peer, cfg := newScript(t)
		cfg.LongLivedStaleTime, cfg.Restarting = asked, true
		start(t, cfg, newMemoryFIB())
		peer.accept()
		peer.await("OPEN", func(m *packet.BGPMessage) bool { return m.Header.Type == packet.BGP_MSG_OPEN })
		var got []uint32
		peer.mu.Lock()
		for _, o := range peer.got[0].Body.(*packet.BGPOpen).OptParams {
			for _, c := range o.(*packet.OptionParameterCapability).Capability {
				if long, ok := c.(*packet.CapLongLivedGracefulRestart); ok {
					for _, tuple := range long.Tuples {
						got = append(got, tuple.RestartTime)
						if tuple.Flags != 0x80 {
							t.Errorf("flags %#x, and our forwarding state is kept", tuple.Flags)
						}
					}
				}
			}
		}
		peer.mu.Unlock()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("asked for %v, want %v", got, want)
		}
	}
}
