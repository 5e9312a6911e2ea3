package session

import (
	"fmt"
	"sync"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/hostroute/hostroute/internal/bgp"
)

// toldSteps counts what it is told.
type toldSteps struct {
	mu                             sync.Mutex
	decided, settled, walked, sent int
	negative                       bool
}

func (s *toldSteps) count(n *int, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
	s.negative = s.negative || took < 0
}

func (s *toldSteps) Decided(took time.Duration) { s.count(&s.decided, took) }
func (s *toldSteps) Settled(took time.Duration) { s.count(&s.settled, took) }
func (s *toldSteps) Walked(took time.Duration)  { s.count(&s.walked, took) }
func (s *toldSteps) Sent(took time.Duration)    { s.count(&s.sent, took) }

func (s *toldSteps) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("decided %d, sent %d, negative %t", s.decided, s.sent, s.negative)
}

// TestStepsAreToldOncePerMessage: UPDATEs that are decided, bursts that are settled,
// and of announcements those that were made while the peer was there: neither what it
// is told when it comes nor what it asks for again.
func TestStepsAreToldOncePerMessage(t *testing.T) {
	peer, cfg := newScript(t)
	told := &toldSteps{}
	cfg.Steps = told
	fib := newMemoryFIB()
	s := start(t, cfg, fib)
	s.Announce([]bgp.Announcement{announcement("203.0.113.1/32")})
	peer.established()
	reached := func(n int, prefix string) func(*packet.BGPMessage) bool {
		return func(m *packet.BGPMessage) bool {
			u, ok := m.Body.(*packet.BGPUpdate)
			if ok && len(u.NLRI) == 1 && u.NLRI[0].String() == prefix {
				n--
			}
			return n == 0
		}
	}
	peer.await("what was said before it came", reached(1, "203.0.113.1/32"))
	s.Announce([]bgp.Announcement{announcement("203.0.113.1/32"), announcement("203.0.113.2/32")})
	peer.await("what was said since", reached(1, "203.0.113.2/32"))
	peer.send(packet.NewBGPRouteRefreshMessage(1, 0, 1))
	s.Refresh("")
	peer.send(route("198.51.100.1/32"), route("198.51.100.2/32"))
	fib.expect(t, "198.51.100.1/32", "100.64.0.2@")
	eventually(t, "two decisions and one announcement", func() bool {
		return told.String() == "decided 2, sent 1, negative false"
	}, told.String)
	eventually(t, "a burst that is settled", func() bool {
		told.mu.Lock()
		defer told.mu.Unlock()
		return told.settled > 0
	}, told.String)
}
