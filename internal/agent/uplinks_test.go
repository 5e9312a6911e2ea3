package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostroute/hostroute/internal/bfd"
	"github.com/hostroute/hostroute/internal/bfd/control"
	"github.com/hostroute/hostroute/internal/bgp/session"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/internal/testenv"
)

// pathBed is a watch of twoPlanes, told of sessions by hand, in virtual time.
type pathBed struct {
	*pathWatch
	t        *testing.T
	log      *pathLog
	carriers map[string]bool // false: lost
	state    map[string]control.Status
}

// twoPlanes has two watched reflectors on plane a, and on plane b one that is
// watched and one that isn't.
const twoPlanes = `
hypervisor: hv1
log: {embedded: {listen: ""}}
uplinks:
  - {interface: a0, plane: a, vrf: public, addresses: [100.64.0.11/24]}
  - {interface: b0, plane: b, vrf: public, addresses: [100.64.2.11/24]}
bgp:
  as: 65000
  router_id: 198.51.100.11
  reflectors:
    - {vrf: public, plane: a, address: 100.64.0.1}
    - {vrf: public, plane: a, address: 100.64.0.2}
    - {vrf: public, plane: b, address: 100.64.2.1}
    - {vrf: public, plane: b, address: 100.64.2.2, bfd: false}
`

func parsed(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, err := config.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func newPathBed(t *testing.T) *pathBed {
	t.Helper()
	b := &pathBed{t: t, log: &pathLog{}, carriers: map[string]bool{"a0": true, "b0": true}, state: map[string]control.Status{}}
	b.pathWatch = newPathWatch(t.Context(), parsed(t, twoPlanes), b.log, b.log.uplink, slog.New(slog.DiscardHandler))
	b.carrier = func(name string) (bool, error) { return b.carriers[name], nil }
	b.counters = func() control.State {
		s := control.State{Connected: true}
		for _, one := range b.state {
			s.Sessions = append(s.Sessions, one)
		}
		return s
	}
	for i, address := range []string{"100.64.0.1", "100.64.0.2", "100.64.2.1", "100.64.2.2"} {
		p := session.PeerStatus{
			Name: address, VRF: "public", Plane: []string{"a", "a", "b", "b"}[i], Uplink: []string{"a0", "a0", "b0", "b0"}[i],
			Address: netip.MustParseAddr(address), State: session.Established, Since: time.Now(), HoldTime: 9 * time.Second,
		}
		b.log.peers = append(b.log.peers, p)
	}
	for i := range b.specs {
		b.says(i, "up")
	}
	b.passes(2 * time.Second)
	return b
}

// says has BFD's process tell of a session.
func (b *pathBed) says(i int, state string) {
	spec := b.specs[i]
	s := b.state[spec.Name]
	s.Name, s.Interface, s.Remote, s.State = spec.Name, spec.Interface, spec.Remote, state
	s.Failed, s.Reason = state == "down", "silence"
	if s.Failed {
		s.Falls++
	}
	s.Revision++
	b.state[spec.Name] = s
	b.changed(b.t.Context(), s)
}

// loses has BFD's process count losses.
func (b *pathBed) loses(i int, loss float64) {
	s := b.state[b.specs[i].Name]
	s.Loss = &loss
	b.state[s.Name] = s
}

// passes lets time pass, with a look each second.
func (b *pathBed) passes(d time.Duration) {
	for ; d > 0; d -= lookInterval {
		<-time.After(lookInterval) // of the bubble
		b.look(b.t.Context())
	}
}

func (b *pathBed) want(what string, told ...string) {
	b.t.Helper()
	if got := b.log.take(); !slices.Equal(got, told) {
		b.t.Errorf("%s: told %q, want %q", what, got, told)
	}
}

// TestAReflectorOfSeveralIsNoPlane: the death of one takes nothing but its own
// session, and its loss or flapping nothing at all while the other is sound.
func TestAReflectorOfSeveralIsNoPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPathBed(t)
		b.want("all up")
		b.says(0, "down")
		b.want("one dies", "peer 100.64.0.1 over a0 down: BFD: silence, and is told")
		b.says(0, "up")
		b.loses(0, 0.5)
		b.passes(3 * time.Second)
		b.want("one is lossy")
		b.loses(1, 0.5)
		b.passes(3 * time.Second)
		b.want("the other, too", "uplink a0 lost true", "uplink a0 unsound true")
		b.loses(0, 0)
		b.passes(3 * time.Second)
		b.want("the first is sound", "uplink a0 lost false", "uplink a0 unsound false")
		b.says(0, "down")
		b.want("and dies: what works is lossy", "uplink a0 lost true", "uplink a0 unsound true", "peer 100.64.0.1 over a0 down: BFD: silence, and is told")
		b.says(1, "down")
		b.want("as does the other", "uplink a0 unsound false", "peer 100.64.0.2 over a0 down: BFD: silence, and is told")
	})
}

// TestAReflectorWithoutBFDVouchesForNothing: it never was up.
func TestAReflectorWithoutBFDVouchesForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPathBed(t)
		b.says(1, "init")
		b.loses(0, 0.5)
		b.passes(time.Second)
		b.want("the other is lossy", "uplink a0 lost true", "uplink a0 unsound true")
		b.loses(0, 0)
		b.passes(time.Second)
		b.want("the other is sound", "uplink a0 lost false", "uplink a0 unsound false")
	})
}

// TestTheLastUplinkOfAVRFIsUsedHoweverBad: none sound is no reason to use none.
func TestTheLastUplinkOfAVRFIsUsedHoweverBad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPathBed(t)
		b.loses(0, 0.3)
		b.loses(1, 0.3)
		b.passes(time.Second)
		b.want("plane a is lossy", "uplink a0 lost true", "uplink a0 unsound true")
		b.says(2, "down")
		b.want("plane b is lost", "uplink a0 lost false", "uplink b0 lost true", "peer 100.64.2.1 over b0 down: BFD: silence")
		b.says(2, "up")
		b.want("plane b is back", "uplink b0 lost false", "uplink a0 lost true")
		b.carriers["b0"] = false
		b.passes(time.Second)
		b.want("plane b has no carrier", "uplink a0 lost false")
		b.carriers["b0"] = true
		b.passes(time.Second)
		b.want("plane b has it again", "uplink a0 lost true")
		b.log.peers[2].State, b.log.peers[3].State = session.Connect, session.Connect
		b.passes(time.Second)
		b.want("nobody tells routes over plane b", "uplink a0 lost false")
		b.log.peers[2].State = session.Established
		b.loses(2, 0.4)
		b.passes(time.Second)
		b.want("plane b is lossy, too", "uplink b0 unsound true")
	})
}

// TestAPathThatFlapsIsHeld: used again at once twice, later then, and at once
// when there is nothing else.
func TestAPathThatFlapsIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPathBed(t)
		fall := []string{"uplink b0 lost true", "peer 100.64.2.1 over b0 down: BFD: silence, and is told"}
		for range 2 {
			b.says(2, "down")
			b.want("it falls", fall...)
			b.says(2, "up")
			b.want("it is back", "uplink b0 lost false")
		}
		b.says(2, "down")
		b.want("it falls again", fall...)
		b.says(2, "up")
		b.want("it is back, and held", "uplink b0 unsound true")
		st, until := b.uplinkStatus("b0"), time.Now().Add(bfd.FirstHold)
		if st.HeldUntil == nil || !st.HeldUntil.Equal(until) || st.Used || !st.Unsound || st.Falls != 3 || st.VRF != "public" {
			t.Errorf("status %+v, held until %v, want %v", st, st.HeldUntil, until)
		}
		b.passes(9 * time.Second)
		b.want("it is held")
		b.passes(2 * time.Second)
		b.want("it is used", "uplink b0 lost false", "uplink b0 unsound false")
		if st := b.uplinkStatus("b0"); st.HeldUntil != nil || !st.Used || st.Unsound || st.Falls != 3 {
			t.Errorf("status %+v", st)
		}
		b.says(2, "down")
		b.says(2, "up")
		b.log.take()
		b.says(0, "down")
		b.says(1, "down")
		b.want("nothing else is left", "peer 100.64.0.1 over a0 down: BFD: silence", "uplink b0 lost false", "uplink a0 lost true", "peer 100.64.0.2 over a0 down: BFD: silence")
		b.passes(bfd.UnsteadyWindow)
		b.log.take()
		b.says(2, "down")
		b.log.take()
		b.says(2, "up")
		b.want("all is forgotten", "uplink b0 lost false")
	})
}

// TestFallsThatWereMissedCount: the agent was away from BFD's process.
func TestFallsThatWereMissedCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPathBed(t)
		for range 3 {
			s := b.state[b.specs[2].Name]
			s.Falls++
			b.state[s.Name] = s
			b.says(2, "up")
		}
		b.passes(time.Second)
		b.want("it is held", "uplink b0 lost true", "uplink b0 unsound true")
	})
}

// TestAReflectorThatIsNotWatchedTestifies: only by what both directions carry,
// after the silence began.
func TestAReflectorThatIsNotWatchedTestifies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPathBed(t)
		fall := []string{"uplink b0 lost true", "peer 100.64.2.1 over b0 down: BFD: silence, and is told"}
		b.says(2, "down")
		b.want("the watched one falls", fall...)
		other := &b.log.peers[3]
		for range 8 { // one direction may still work, until the hold time is over
			other.MessagesIn++
			b.passes(time.Second)
		}
		b.want("the other is heard")
		b.passes(4 * time.Second)
		b.want("and no more")
		other.MessagesIn++
		b.passes(time.Second)
		b.want("it is heard after a hold time", "uplink b0 lost false")
		other.State = session.Connect
		b.passes(time.Second)
		b.want("its session ends", "uplink b0 lost true")
		other.State, other.Since = session.Established, time.Now()
		b.passes(time.Second)
		b.want("it has a new one", "uplink b0 lost false")
		b.says(2, "up")
		b.passes(time.Second)
		b.want("the watched one is back")
		b.says(2, "down")
		b.want("and falls: what was seen before is no evidence", fall...)
	})
}

// memory is an engine that does nothing but what it is told.
type memory struct {
	mu       sync.Mutex
	sessions []bfd.Status
	set      uint64
	changes  chan struct{}
}

func (m *memory) Set(specs []bfd.Spec) error {
	m.change(func() {
		m.sessions = nil
		for _, s := range specs {
			m.sessions = append(m.sessions, bfd.Status{Spec: s, Report: bfd.Report{State: bfd.Up}})
		}
		m.set++
	})
	return bfd.CheckAll(specs)
}

func (m *memory) Snapshot() ([]bfd.Status, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.sessions), m.set
}

func (m *memory) Changed() <-chan struct{} { return m.changes }

func (m *memory) change(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	select {
	case m.changes <- struct{}{}:
	default:
	}
}

func (m *memory) enter(i int, s bfd.State) {
	m.change(func() {
		m.sessions[i].State, m.sessions[i].Failed = s, s == bfd.Down
		m.sessions[i].Revision++
	})
}

// TestSeveralReflectorsOverTheSocket is what above is by hand, with the server
// of BFD's process.
func TestSeveralReflectorsOverTheSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "hrpath") // short, for the limit of socket paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ctx, cancel := context.WithCancel(t.Context())
	path := filepath.Join(dir, "bfd.sock")
	listener, err := control.Listen(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	engine, told := &memory{changes: make(chan struct{}, 1)}, &pathLog{}
	server := &control.Server{Engine: engine, Log: quiet}
	cfg := parsed(t, twoPlanes)
	cfg.BFD.Socket = path
	w := newPathWatch(ctx, cfg, told, told.uplink, quiet)
	w.carrier = func(string) (bool, error) { return true, nil }
	var tasks sync.WaitGroup
	for _, run := range []func() error{func() error { return server.Run(ctx, listener) }, func() error { return w.Run(ctx) }} {
		tasks.Go(func() {
			if err := run(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); tasks.Wait() })
	testenv.Eventually(t, "the sessions", func() bool { s, _ := w.state(); return len(s.Sessions) == 3 })
	for _, step := range []struct {
		i     int
		state bfd.State
		want  string
	}{
		{0, bfd.Down, "peer 100.64.0.1 over a0 down: BFD: " + (bfd.Report{State: bfd.Down, Failed: true}).Reason()},
		{1, bfd.Down, "uplink a0 lost true"},
		{0, bfd.Up, "uplink a0 lost false"},
		{2, bfd.Down, "uplink b0 lost true"},
		{2, bfd.Up, "uplink b0 lost false"},
	} {
		engine.enter(step.i, step.state)
		var all []string
		testenv.Eventually(t, fmt.Sprintf("%q", step.want), func() bool {
			all = append(all, told.take()...)
			return slices.Contains(all, step.want)
		})
	}
}

// TestAReflectorThatForgotIsReminded: BGP is back and BFD isn't, time and again
// and ever less often.
func TestAReflectorThatForgotIsReminded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPathBed(t)
		b.says(0, "down")
		b.log.take()
		reminded := func(want int) {
			t.Helper()
			got := 0
			for _, told := range b.log.take() {
				if strings.HasPrefix(told, "peer 100.64.0.1 over a0 down: BFD stays down while BGP works") {
					got++
					b.log.peers[0].Since = time.Now()
				}
			}
			if got != want {
				t.Errorf("it is reminded %d times, want %d", got, want)
			}
		}
		b.log.peers[0].Since = time.Now()
		b.passes(firstPatience - time.Second)
		reminded(0)
		b.passes(3 * time.Second)
		reminded(1)
		b.passes(2*firstPatience - 2*time.Second)
		reminded(0)
		b.passes(4 * time.Second)
		reminded(1)
		b.log.peers[0].State = session.Idle // it isn't the reflector's memory
		b.passes(time.Hour)
		reminded(0)
		b.log.peers[0].State, b.log.peers[0].Since = session.Established, time.Now()
		b.says(0, "up")
		b.passes(time.Hour)
		reminded(0)
	})
}
