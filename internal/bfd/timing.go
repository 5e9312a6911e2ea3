package bfd

import (
	"math/bits"
	"time"
)

// timing is what this end has announced of its intervals, and how far the peer
// has taken note (RFC 5880 section 6.8.3).
type timing struct {
	tx, rx   time.Duration // announced in every packet
	beforeTx time.Duration // announced before the Poll sequence under way; else as tx and rx
	beforeRx time.Duration
	polling  bool // packets carry the Poll bit until a Final comes
	settling bool // the Final came; a packet without it must come before the next Poll sequence
}

// reset announces intervals without asking for a confirmation: there is nobody
// who could give it.
func (t *timing) reset(tx, rx time.Duration) {
	*t = timing{tx: tx, rx: rx, beforeTx: tx, beforeRx: rx}
}

// change announces new intervals, in a Poll sequence. Only what a session that
// is up was doing before may have to go on until the Final.
func (t *timing) change(tx, rx time.Duration, up bool) {
	before := *t
	t.reset(tx, rx)
	t.polling = true
	if up {
		t.beforeTx, t.beforeRx = before.tx, before.rx
	}
}

// final ends the Poll sequence.
func (t *timing) final() {
	if t.polling {
		t.polling, t.settling = false, true
		t.beforeTx, t.beforeRx = t.tx, t.rx
	}
}

// plain notes a packet without Final bit and tells whether that allows the next
// Poll sequence.
func (t *timing) plain() bool {
	settled := t.settling
	t.settling = false
	return settled
}

// wantedTx is bfd.DesiredMinTxInterval as parameters and state want it.
func (s *Session) wantedTx() time.Duration {
	if s.state == Up {
		return s.params.MinTx
	}
	return max(s.params.MinTx, SlowTx)
}

// retime brings what is announced in line with what is wanted. While up, one
// change is settled before the next one begins.
func (s *Session) retime() {
	tx, rx := s.wantedTx(), s.params.MinRx
	if tx == s.timing.tx && rx == s.timing.rx {
		return
	}
	if s.state == Up && (s.timing.polling || s.timing.settling) {
		return
	}
	if s.remote == 0 {
		s.timing.reset(tx, rx)
	} else {
		s.timing.change(tx, rx, s.state == Up)
	}
	s.urgent = true
	s.revision++
}

// transmitInterval is the negotiated one, before jitter (RFC 5880 section
// 6.8.2). A longer one counts from the Final on: until then the peer expects
// the old one.
func (s *Session) transmitInterval() time.Duration {
	if s.farewell.left > 0 {
		return s.farewell.interval
	}
	tx := s.timing.tx
	if s.timing.polling && s.state == Up {
		tx = min(tx, s.timing.beforeTx)
	}
	return max(tx, s.remoteMinRx)
}

// detection is the detection time (RFC 5880 section 6.8.4), 0 while the peer
// isn't heard. A shorter one counts from the Final on: until then the peer may
// send at the old pace.
func (s *Session) detection() time.Duration {
	rx := s.timing.rx
	if s.timing.polling && s.state == Up {
		rx = max(rx, s.timing.beforeRx)
	}
	return time.Duration(s.remoteMult) * max(rx, s.remoteMinTx)
}

func (s *Session) detectAt() Instant {
	if s.remote == 0 {
		return Never
	}
	return s.heard.Add(s.detection())
}

// sendAt is when the next packet is due that isn't the answer to a poll.
func (s *Session) sendAt() Instant {
	switch {
	case s.urgent:
		return s.sentAt
	case s.remoteMinRx == 0: // the peer wants none
		return Never
	case s.remoteDemand && s.state == Up && s.remoteState == Up && !s.timing.polling: // section 6.8.7
		return Never
	}
	return s.sentAt.Add(s.shorten(s.transmitInterval()))
}

// shorten takes the jitter off an interval: 0 to 25 %, and 10 to 25 % where a
// single late packet is a loss of the session (RFC 5880 section 6.8.7).
func (s *Session) shorten(interval time.Duration) time.Duration {
	span := interval / 4
	if s.params.Multiplier == 1 {
		interval = interval * 9 / 10
		span = span * 3 / 5
	}
	taken, _ := bits.Mul64(uint64(span), uint64(s.jitter)<<32)
	return interval - time.Duration(taken)
}

// Deadline is when [Session.Advance] must be called next, unless a packet comes
// before. It is in the past when something is due already.
func (s *Session) Deadline() Instant {
	if s.final {
		return s.heard
	}
	return min(s.detectAt(), s.sendAt())
}

// Advance notices what is due, and makes the packet that is to be sent now, if
// there is one; it is to be called until there is none. Random is any number,
// which jitters the time of the packet after this one.
func (s *Session) Advance(now Instant, random uint32, out *Packet) bool {
	s.expire(now)
	due := now >= s.sendAt()
	if !due && !s.final {
		return false
	}
	*out = Packet{
		Diagnostic: s.diag, State: s.state, ControlIndependent: true, Multiplier: s.params.Multiplier,
		Poll: s.timing.polling && !s.final, Final: s.final, // never both, section 6.5
		MyDiscriminator: s.local, YourDiscriminator: s.remote,
		DesiredMinTx: s.timing.tx, RequiredMinRx: s.timing.rx,
	}
	if s.final {
		s.final = false // and the packet that may be due goes out besides
	} else {
		s.sentAt, s.urgent, s.jitter = now, false, random
		s.farewell.count()
	}
	s.sent++
	return true
}
