package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hostroute/hostroute/internal/bgp"
)

// State is where a session stands (RFC 4271 section 8.2.2). We only dial, so
// there is no Active.
type State string

// The states of a session.
const (
	Idle        State = "idle"
	Connect     State = "connect"
	OpenSent    State = "open sent"
	OpenConfirm State = "open confirm"
	Established State = "established"
)

// peer is one session over all of its connections. Its goroutine dials, reads
// and applies; a second one ends in time what was kept of a connection that
// fell, and while the session is established a third one writes.
type peer struct {
	s      *Speaker
	cfg    Peer
	log    *slog.Logger
	rib    *rib
	source int // in the RIB

	left      chan struct{} // closed when the peer knows that we left for good
	delivered chan struct{} // closed at the first complete End-of-RIB
	kick      chan struct{} // something changed that a pause waits for
	dead      chan struct{} // somebody knows that the peer is
	counters  counters

	// Of the peer's goroutine alone.
	wasUp bool      // established before in this run
	ended [2]bool   // End-of-RIB received in this connection
	once  sync.Once // for delivered

	keeping sync.Mutex    // held over a decision about what is kept, and its walk; before mu
	changed chan struct{} // what is kept did

	mu       sync.Mutex
	kept     [2]retention
	buried   bool // somebody knew the peer to be dead since its session was last established
	down     bool // the uplink has no carrier
	unsound  bool // the uplink loses packets
	restart  bool // our next OPEN has the R bit
	cancel   context.CancelCauseFunc
	writer   *writer // while established
	neg      *negotiated
	local    netip.Addr
	state    State
	since    time.Time
	lastErr  reason
	lastFall reason // of a session that was established
}

func newPeer(s *Speaker, c Peer) *peer {
	return &peer{
		s: s, cfg: c, log: s.log.With("peer", c.Name, "vrf", c.VRF, "uplink", c.Uplink),
		left: make(chan struct{}), delivered: make(chan struct{}), kick: make(chan struct{}, 1), dead: make(chan struct{}, 1), changed: make(chan struct{}, 1),
		restart: s.cfg.Restarting, state: Idle, since: time.Now(),
	}
}

// run keeps the session up until ctx ends.
func (p *peer) run(ctx context.Context) {
	for ctx.Err() == nil {
		if p.uplinkDown() {
			p.forget(bgp.IPv4) // kept ones lead out of it, too
			p.forget(bgp.IPv6)
			p.pause(ctx, 0)
			continue
		}
		err := p.connection(ctx)
		p.setState(Idle)
		if errors.Is(err, errLeft) {
			close(p.left)
			return
		}
		if ctx.Err() != nil {
			return
		}
		p.failed(err)
		p.pause(ctx, p.s.cfg.ConnectRetry)
	}
}

// pause waits before the next attempt: about as long as told, or with 0 for a
// kick.
func (p *peer) pause(ctx context.Context, long time.Duration) {
	var retry <-chan time.Time
	if long > 0 {
		retry = time.After(long - rand.N(long/4+1))
	}
	select {
	case <-ctx.Done():
	case <-retry:
	case <-p.kick:
	}
}

// connection dials and speaks until the connection is gone.
func (p *peer) connection(parent context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	p.setCancel(cancel)
	defer p.setCancel(nil)

	p.setState(Connect)
	conn, err := dial(ctx, &p.cfg, p.s.cfg.HoldTime)
	if err != nil {
		return because(ctx, p.explain(err))
	}
	defer conn.Close()
	// A read must not outlive the reason to read.
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()

	in := newReceiver(ctx, conn)
	neg, err := p.handshake(conn, in)
	if err == nil {
		err = p.established(ctx, conn, in, neg)
	}
	err = because(ctx, err)
	var f *fault
	if errors.As(err, &f) {
		notify(conn, f.Code, f.Subcode, f.Data)
	} else if errors.Is(err, errHold) {
		notify(conn, codeHold, 0, nil)
	}
	return err
}

// explain adds to the silence of a peer what may be behind it.
func (p *peer) explain(err error) error {
	var timeout net.Error
	silent := errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, errHold)
	if silent && !p.cfg.NoTTLSecurity {
		return fmt.Errorf("%w: no answer, or none with 255 hops to live (TTL security)", err)
	}
	return err
}

// because gives the reason for which ctx ended, if it did.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// failed notes why a connection ended, or why there was none. The same reason
// over and over is worth one line.
func (p *peer) failed(err error) {
	text := err.Error()
	p.mu.Lock()
	repeated := p.lastErr.text == text
	p.lastErr = reason{text, time.Now()}
	p.mu.Unlock()
	p.counters.failures.Add(1)
	if repeated {
		p.log.Debug("session failed again", "error", err)
		return
	}
	p.log.Warn("session failed", "error", err)
}

func (p *peer) setState(s State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != s {
		p.state, p.since = s, time.Now()
	}
}

func (p *peer) setCancel(c context.CancelCauseFunc) {
	p.mu.Lock()
	p.cancel = c
	down := p.down
	p.mu.Unlock()
	if down && c != nil {
		c(ErrUplinkDown)
	}
}

// kill ends the connection, if there is one.
func (p *peer) kill(reason error) {
	p.mu.Lock()
	cancel := p.cancel
	p.mu.Unlock()
	if cancel != nil {
		cancel(reason)
	}
}

// bury ends the connection of a peer that is known to be dead, and what it may
// have left to be used before the last resort.
func (p *peer) bury(why peerDown) {
	p.mu.Lock()
	p.buried = true
	p.mu.Unlock()
	p.kill(why)
	select {
	case p.dead <- struct{}{}:
	default:
	}
}

func (p *peer) uplink(up bool) {
	p.mu.Lock()
	p.down = !up
	p.mu.Unlock()
	if !up {
		p.kill(ErrUplinkDown)
	}
	p.wakeUp()
}

// discourage has what is announced told with another preference.
func (p *peer) discourage(unsound bool) {
	p.mu.Lock()
	p.unsound = unsound
	p.mu.Unlock()
	p.poke()
}

// lossy tells whether the peer is to be told a preference of one less than wanted.
func (p *peer) lossy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unsound
}

// wakeUp ends a pause.
func (p *peer) wakeUp() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

func (p *peer) uplinkDown() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down
}

// poke has the writer look at the announcements.
func (p *peer) poke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writer != nil {
		p.writer.poke()
	}
}

// refresh asks the peer for its routes again, if it can do that.
func (p *peer) refresh() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writer == nil || !p.neg.refresh {
		return
	}
	for _, f := range bgp.Families {
		if p.neg.families[f] {
			p.writer.request(&p.writer.ask, f)
		}
	}
}

// announcedAll notes that the peer knows everything of ours: from here on
// there is nothing of a previous run that it would have to keep for us.
func (p *peer) announcedAll() {
	p.mu.Lock()
	p.restart = false
	p.mu.Unlock()
}

func (p *peer) restarting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.restart
}

// ownHops gives the next hops of what we announce: the configured addresses of
// the uplink, or else that of the connection for its family. A family without
// one is not announced.
func (p *peer) ownHops(conn net.Conn, neg *negotiated) (hops [2]netip.Addr) {
	v4, v6 := p.cfg.LocalV4, p.cfg.LocalV6
	if a, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		local := a.AddrPort().Addr().Unmap().WithZone("")
		if local.Is4() && !v4.IsValid() {
			v4 = local
		} else if local.Is6() && !local.IsLinkLocalUnicast() && !v6.IsValid() {
			v6 = local
		}
	}
	if !v4.IsValid() && neg.extended {
		v4 = v6
	}
	for f, hop := range [2]netip.Addr{v4, v6} {
		if neg.families[f] {
			hops[f] = hop
		}
	}
	return hops
}
