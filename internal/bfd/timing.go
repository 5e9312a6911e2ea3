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
	polling  bool    // packets carry the Poll bit until a Final comes
	settling bool    // the Final came; the next Poll sequence may not begin yet
	polledAt Instant // the first packet with the Poll bit of this sequence; 0: none was sent
	lastPoll Instant // the last one
	calmAt   Instant // while settling: when every packet with the Poll bit has been answered
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

// polled notes that a packet with the Poll bit was sent.
func (t *timing) polled(now Instant) {
	if t.polledAt == 0 {
		t.polledAt = now
	}
	t.lastPoll = now
}

// final ends the Poll sequence. A Final that comes before the first packet with
// the Poll bit answers the sequence before.
func (t *timing) final(now Instant) {
	if !t.polling || t.polledAt == 0 {
		return
	}
	t.polling, t.settling = false, true
	t.calmAt = t.lastPoll.Add(now.Sub(t.polledAt))
	t.polledAt = 0
	t.beforeTx, t.beforeRx = t.tx, t.rx
}

// plain notes a packet without Final bit and tells whether that allows the next
// Poll sequence: a round trip must have passed since the last packet with the
// Poll bit, and this packet be no answer to it (the second and third choice of
// RFC 5880 section 6.8.3, for with several packets with the Poll bit on their
// way neither alone keeps a late Final from ending the wrong sequence).
func (t *timing) plain(now Instant) bool {
	if !t.settling || now < t.calmAt {
		return false
	}
	t.settling = false
	return true
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

// hurries is how many packets more than one a second may go out ahead of their
// time because something changed. Without a limit two ends whose packets cross
// each other can answer every change with a change for ever.
const hurries = 3

// sendAt is when the next packet is due that isn't the answer to a poll.
func (s *Session) sendAt() Instant {
	if s.urgent {
		return min(s.regularAt(), max(s.sentAt, s.hurry-hurries*Instant(SlowTx)))
	}
	return s.regularAt()
}

func (s *Session) regularAt() Instant {
	switch {
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
	return min(s.detectAt(), s.sendAt(), s.lookAt())
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
		if s.urgent {
			s.hurry = max(s.hurry, now).Add(SlowTx)
		}
		if out.Poll {
			s.timing.polled(now)
		}
		s.sentAt, s.urgent, s.jitter = now, false, random
		s.farewell.count()
	}
	s.sent++
	return true
}
