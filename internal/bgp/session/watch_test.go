package session

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/vrf"
)

// home announces a prefix through 100.64.0.2 as a home of that preference does,
// reflected from 10.0.0.9.
func home(prefix string, preference uint32) *packet.BGPMessage {
	m := route(prefix)
	u := m.Body.(*packet.BGPUpdate)
	u.PathAttributes[3] = packet.NewPathAttributeLocalPref(preference)
	u.PathAttributes = append(u.PathAttributes, packet.NewPathAttributeOriginatorId("10.0.0.9"))
	return m
}

func TestWatchedPathsWakeTheAgent(t *testing.T) {
	peer, cfg := newScript(t)
	fib := newMemoryFIB()
	fib.refuse = func([]vrf.Change) error { return errors.New("not now") }
	s := start(t, cfg, fib)
	watched := netip.MustParsePrefix("203.0.113.7/32")
	s.Watch(map[string][]netip.Prefix{"public": {watched}})
	peer.established()
	awaitState(t, s, 0, Established)
	// awaits waits for signals until the path is what it has to be, and fails
	// where no signal comes: nobody looks without one.
	awaits := func(what string, want Path, present bool) {
		t.Helper()
		var got Path
		var ok bool
		eventually(t, what, func() bool {
			select {
			case <-s.Watched():
				got, ok = s.Path("public", watched)
			default:
			}
			return ok == present && got == want
		}, func() string { return fmt.Sprintf("%+v, %v", got, ok) })
	}
	from := netip.MustParseAddr("10.0.0.9")
	peer.send(route("198.51.100.0/24"), home(watched.String(), 1100))
	awaits("a path that the FIB has not taken", Path{bgp.Best{Preference: 1100, Highest: 1100, Originator: from}, false}, true)
	fib.mu.Lock()
	fib.refuse = nil
	fib.mu.Unlock()
	awaits("that it has taken it", Path{bgp.Best{Preference: 1100, Highest: 1100, Originator: from, Settled: true}, true}, true)
	peer.send(home(watched.String(), 2100))
	awaits("a newer home with the same next hop", Path{bgp.Best{Preference: 2100, Highest: 2100, Originator: from, Settled: true}, true}, true)
	peer.send(packet.NewBGPUpdateMessage([]*packet.IPAddrPrefix{packet.NewIPAddrPrefix(32, "203.0.113.7")}, nil, nil))
	awaits("that it is gone", Path{}, false)
	peer.send(route("198.51.100.0/25"))
	fib.expect(t, "198.51.100.0/25", "100.64.0.2@")
	select {
	case <-s.Watched(): // that the FIB took that, too, which was in an earlier batch
	default:
	}
	peer.send(route("198.51.100.0/26"))
	fib.expect(t, "198.51.100.0/26", "100.64.0.2@")
	if _, ok := s.Path("public", watched); ok || len(s.Watched()) > 0 {
		t.Error("a signal for a prefix that nobody watches")
	}
}

// TestHushedSessionsSayNothing: after Hush a session that comes up says nothing
// before the next Announce, as at the start.
func TestHushedSessionsSayNothing(t *testing.T) {
	peer, cfg := newScript(t)
	s := start(t, cfg, newMemoryFIB())
	set := []bgp.Announcement{announcement("203.0.113.1/32")}
	said := func(m *packet.BGPMessage) bool { return m.Header.Type == packet.BGP_MSG_UPDATE }
	s.Announce(set)
	peer.established()
	peer.await("what is announced", said)
	s.Hush()
	peer.mu.Lock()
	peer.conn.Close()
	peer.mu.Unlock()
	peer.established()
	awaitState(t, s, 0, Established)
	peer.send(route("198.51.100.0/24")) // what the speaker does with this comes after what it says at first
	eventually(t, "the route of the peer", func() bool { return s.Peers()[0].Received.IPv4 == 1 }, func() string { return fmt.Sprintf("%+v", s.Peers()[0]) })
	peer.mu.Lock()
	for _, m := range peer.got {
		if said(m) {
			t.Errorf("it said %+v", m.Body)
		}
	}
	peer.mu.Unlock()
	s.Announce(set)
	peer.await("the same again, when it was asked for", said)
}
