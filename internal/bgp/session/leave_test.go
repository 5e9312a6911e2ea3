package session

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/hostroute/hostroute/internal/bgp"
)

// notified tells a Cease for good.
func notified(code uint8) func(*packet.BGPMessage) bool {
	return func(m *packet.BGPMessage) bool {
		n, ok := m.Body.(*packet.BGPNotification)
		return ok && n.ErrorCode == codeCease && n.ErrorSubcode == code
	}
}

func announces(m *packet.BGPMessage) bool {
	u, ok := m.Body.(*packet.BGPUpdate)
	return ok && len(u.NLRI) == 1
}

func withdraws(m *packet.BGPMessage) bool {
	u, ok := m.Body.(*packet.BGPUpdate)
	return ok && len(u.WithdrawnRoutes) == 1
}

func endOfRIB(m *packet.BGPMessage) bool {
	u, ok := m.Body.(*packet.BGPUpdate)
	if !ok {
		return false
	}
	end, _ := u.IsEndOfRib()
	return end
}

// leave has a speaker leave, and gives what came of it when it has.
func leave(ctx context.Context, s *Speaker) <-chan []Departure {
	done := make(chan []Departure, 1)
	go func() { done <- s.Leave(ctx) }()
	return done
}

func TestLeavingForGoodWithdrawsAndSaysSo(t *testing.T) {
	t.Parallel()
	for n, want := range map[bool]uint8{false: ceaseShutdown, true: ceaseHardReset} {
		peer, cfg := newScript(t)
		fib := newMemoryFIB()
		s := start(t, cfg, fib)
		s.Announce([]bgp.Announcement{announcement("203.0.113.1/32")})
		peer.established(packet.NewCapGracefulRestart(false, n, 60, nil))
		peer.send(route("198.51.100.0/24"))
		fib.expect(t, "198.51.100.0/24", "100.64.0.2@")
		peer.await("the announcement", announces)
		done := leave(t.Context(), s)
		peer.await("the reason", notified(want)) // and the script closes then
		if list := <-done; len(list) != 1 || !list[0].Confirmed || list[0].Reason != "" || list[0].Name != "script" {
			t.Errorf("departure %+v", list)
		}
		peer.mu.Lock()
		last := peer.got[len(peer.got)-2:]
		if !withdraws(last[0]) || !notified(want)(last[1]) {
			t.Errorf("the last messages are %+v and %+v", last[0].Body, last[1].Body)
		}
		peer.mu.Unlock()
		if n := fib.withdrawals("198.51.100.0/24"); n > 0 {
			t.Error("what was learned went with the session")
		}
	}
}

// TestLeavingAPeerThatDoesNotAnswer: it was told, its host has it, and it never
// says so. The others don't wait for it.
func TestLeavingAPeerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	a, b, _, s := twoReflectors(t, nil)
	s.Announce([]bgp.Announcement{announcement("203.0.113.1/32")})
	silent, err := a.listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() // reads nothing: it never sees the end
	for _, m := range []*packet.BGPMessage{a.open(65000), packet.NewBGPKeepAliveMessage()} {
		raw, err := m.Serialize()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := silent.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	b.established()
	b.await("the announcement", announces)
	awaitState(t, s, 0, Established)
	ctx, cancel := context.WithCancel(t.Context())
	done := leave(ctx, s)
	b.await("the reason", notified(ceaseShutdown))
	const has = "its host has everything, and it doesn't close the session"
	eventually(t, "the end of the second session, and the first one's host to have all", func() bool {
		select {
		case <-s.peers[1].left:
			return s.peers[0].departure().Reason == has
		default:
			return false
		}
	}, func() string { return fmt.Sprintf("%+v", s.Peers()) })
	select {
	case list := <-done:
		t.Fatalf("left without an answer: %+v", list)
	default:
	}
	cancel()
	list := <-done
	if list[0].Confirmed || list[0].Reason != has || !list[1].Confirmed {
		t.Errorf("departures %+v", list)
	}
}

// TestLeavingAPeerThatKeepsOurRoutes has no session when it begins: the peer
// has to be told anyway.
func TestLeavingAPeerThatKeepsOurRoutes(t *testing.T) {
	t.Parallel()
	peer, cfg := newScript(t)
	cfg.ConnectRetry = time.Hour
	s := start(t, cfg, newMemoryFIB())
	s.Announce([]bgp.Announcement{announcement("203.0.113.1/32")})
	peer.established(gracefulFor(600, 0, true)...)
	peer.await("the announcement", announces)
	peer.conn.Close()
	awaitError(t, s, 0, "the peer closed the connection")
	done := leave(t.Context(), s)
	peer.established(gracefulFor(600, 0, true)...)
	peer.await("End-of-RIB", endOfRIB)
	peer.await("the reason", notified(ceaseShutdown))
	if list := <-done; !list[0].Confirmed {
		t.Errorf("departures %+v", list)
	}
	for _, m := range peer.got {
		if announces(m) {
			t.Errorf("announced on the way out: %+v", m.Body)
		}
	}
}

func TestLeavingAPeerThatIsNotThere(t *testing.T) {
	t.Parallel()
	peer, cfg := newScript(t)
	peer.listener.Close()
	s := start(t, cfg, newMemoryFIB())
	awaitError(t, s, 0, "connection refused")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if list := s.Leave(ctx); list[0].Confirmed || !strings.Contains(list[0].Reason, "connection refused") {
		t.Errorf("departures %+v", list)
	}
	if list := New(cfg, newMemoryFIB(), discard).Leave(ctx); list[0].Confirmed || list[0].Reason != "no session" {
		t.Errorf("departures of one that never ran %+v", list)
	}
}

// TestLeavingBeforeAnythingWasSaid: nobody has told yet what to announce, and the
// peer may have something of a former run.
func TestLeavingBeforeAnythingWasSaid(t *testing.T) {
	t.Parallel()
	peer, cfg := newScript(t)
	cfg.Restarting = true
	s := New(cfg, newMemoryFIB(), discard)
	done := leave(t.Context(), s)
	ran := make(chan error, 1)
	go func() { ran <- s.Run(t.Context()) }()
	peer.established(gracefulFor(600, 0, true)...)
	peer.await("End-of-RIB", endOfRIB)
	peer.await("the reason", notified(ceaseShutdown))
	if list := <-done; !list[0].Confirmed {
		t.Errorf("departures %+v", list)
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// TestADeadReflectorHoldsUpNothing is about a restart with one of two
// reflectors dead: the other one is told everything at once, and what it tells
// is written when the deferral is over.
func TestADeadReflectorHoldsUpNothing(t *testing.T) {
	t.Parallel()
	a, b, fib, s := twoReflectors(t, func(c *Config) {
		c.Restarting, c.Deferral = true, 100*time.Millisecond
	})
	a.listener.Close()
	s.Announce([]bgp.Announcement{announcement("203.0.113.1/32")})
	b.established(gracefulFor(600, 3000, true)...)
	b.await("the announcement", announces)
	b.await("End-of-RIB", endOfRIB)
	b.send(reflected(shared, 11))
	b.send(ends()...)
	fib.expect(t, shared, "100.64.0.11@")
	if st := s.Peers(); st[0].Established != 0 || !st[1].Complete {
		t.Errorf("status %+v", st)
	}
}

// TestAPeerIsToldThatItsPathIsDead has BFD say so: whoever would keep what it
// learned here is told not to, but only where that costs nobody anything.
func TestAPeerIsToldThatItsPathIsDead(t *testing.T) {
	t.Parallel()
	for n, want := range map[bool]uint8{false: ceaseBFDDown, true: ceaseHardReset} {
		for _, tell := range []bool{true, false} {
			peer, cfg := newScript(t)
			s := start(t, cfg, newMemoryFIB())
			peer.established(packet.NewCapGracefulRestart(false, n, 60, nil))
			awaitState(t, s, 0, Established)
			s.PeerDown(cfg.Peers[0].Uplink, cfg.Peers[0].Address, "BFD says down", tell)
			if tell {
				peer.await("the reason", notified(want))
				continue
			}
			awaitError(t, s, 0, "BFD says down")
			peer.established(packet.NewCapGracefulRestart(false, n, 60, nil)) // it is dialled again
			peer.mu.Lock()
			if slices.ContainsFunc(peer.got, func(m *packet.BGPMessage) bool { return m.Header.Type == packet.BGP_MSG_NOTIFICATION }) {
				t.Error("the peer was told, and shouldn't be")
			}
			peer.mu.Unlock()
		}
	}
}
