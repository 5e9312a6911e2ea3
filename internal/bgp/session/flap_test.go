package session

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/hostroute/hostroute/internal/bgp"
)

// TestFlappingSessionsEndRight has three sessions come and go, in every way,
// while everything else is asked of the speaker at once. What stands in the
// FIB in the end must be what the last connections told.
func TestFlappingSessionsEndRight(t *testing.T) {
	t.Parallel()
	var scripts []*script
	var cfg Config
	for i := range 3 {
		s, c := newScript(t)
		c.Peers[0].Name = fmt.Sprint("rr", i)
		c.Peers[0].Uplink = "" // bound to nothing, one plane
		scripts = append(scripts, s)
		c.Peers = append(cfg.Peers, c.Peers...)
		cfg = c
	}
	cfg.LongLivedStaleTime = DefaultLongLivedStaleTime
	fib := newMemoryFIB()
	s := start(t, cfg, fib)
	stop := pester(s)
	random := rand.New(rand.NewPCG(1, 2))
	graceful := []packet.ParameterCapabilityInterface{
		packet.NewCapGracefulRestart(false, true, 60, []*packet.CapGracefulRestartTuple{packet.NewCapGracefulRestartTuple(packet.RF_IPv4_UC, true)}),
		packet.NewCapLongLivedGracefulRestart([]*packet.CapLongLivedGracefulRestartTuple{
			packet.NewCapLongLivedGracefulRestartTuple(packet.RF_IPv4_UC, true, 3600)}),
	}
	for range 8 {
		for _, peer := range scripts {
			peer.established(graceful...)
			for range 20 {
				peer.send(route(fmt.Sprintf("10.0.0.%d/32", random.IntN(64))))
			}
			switch random.IntN(6) {
			case 0:
				peer.message(255) // ends with a NOTIFICATION
			case 1:
				peer.send(packet.NewBGPNotificationMessage(6, 9, nil), packet.NewEndOfRib(packet.RF_IPv4_UC))
			case 2:
				peer.send(packet.NewEndOfRib(packet.RF_IPv4_UC))
			case 3:
				peer.send(packet.NewBGPNotificationMessage(6, ceaseBFDDown, nil))
			}
			peer.conn.Close()
		}
	}
	for i, peer := range scripts {
		peer.established(graceful...)
		for host := range 10 {
			peer.send(route(fmt.Sprintf("10.0.0.%d/32", 10*i+host)))
		}
		peer.send(packet.NewEndOfRib(packet.RF_IPv4_UC), packet.NewEndOfRib(packet.RF_IPv6_UC))
	}
	stop()
	eventually(t, "what was told last, and nothing else", func() bool {
		fib.mu.Lock()
		defer fib.mu.Unlock()
		for host := range 64 {
			p := netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/32", host))
			if _, ok := fib.routes["public"][p]; ok != (host < 30) {
				return false
			}
		}
		return true
	}, func() string { return fib.String() })
	eventually(t, "counts", func() bool {
		total := 0
		for _, p := range s.Peers() {
			total += p.Received.IPv4
		}
		return total == 30 && s.Tables()[0].Prefixes == Prefixes{30, 0} && s.Tables()[0].Pending == 0
	}, func() string { return fmt.Sprint(s.Tables(), s.Peers()) })
}

// pester asks everything of a speaker until it is stopped.
func pester(s *Speaker) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	for _, ask := range []func(){
		func() { s.Peers() },
		func() { s.EachRoute("public", func(bgp.Route) bool { return true }) },
		func() { s.Announce([]bgp.Announcement{announcement("203.0.113.1/32"), announcement("2001:db8::/32")}) },
		func() { s.Announce(nil); s.Refresh("") },
		func() { s.Match("public", netip.MustParseAddr("10.0.0.7")); s.Tables() },
		func() { s.UplinkChanged("another", false); s.PeerDown("another", netip.Addr{}, "BFD", true) },
	} {
		asking.Go(func() {
			for ctx.Err() == nil {
				ask()
			}
		})
	}
	return func() {
		cancel()
		asking.Wait()
	}
}
