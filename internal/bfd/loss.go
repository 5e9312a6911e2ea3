package bfd

import "time"

// The window of a session's loss: a minute that the session is up, or as long as
// so many packets take where that is more.
const (
	LossWindow  = time.Minute
	lossPackets = 120
	// LossEvidence is the least number of expected packets that a [Loss] is told
	// of. A path that loses 1 % seems to lose 5 % of so many three times in a
	// thousand; one that loses 10 % seems to lose less than 5 % twice in a hundred,
	// and six times in a thousand of a full window at 300 ms.
	LossEvidence = 100
	lossParts    = 12
)

// Loss is what the path from the peer loses, as far as this end can tell: of
// the packets that the peer sends, those that never arrived. What is lost towards
// the peer only the peer knows.
type Loss struct {
	Lost     uint32        // packets, of
	Expected uint32        // so many
	Window   time.Duration // in this much time that the session was up
	// Fast is set when the peer sends faster than was agreed: then nobody can tell
	// how many of its packets are lost.
	Fast bool
}

// Fraction is the share that is lost, 0 to 1; false: nothing can be told.
func (l Loss) Fraction() (float64, bool) {
	if l.Fast || l.Expected < LossEvidence {
		return 0, false
	}
	return float64(l.Lost) / float64(l.Expected), true
}

// meter estimates the loss of the path from the peer by the gaps between its
// packets. With T agreed upon, a peer sends after three quarters of T to T (RFC
// 5880 section 6.8.7), so that n intervals take 0.75 nT to nT: up to three they
// don't overlap, and the number of packets that are missing in a gap is sure,
// whatever the jitter is like; with more it is right on the average.
//
// A packet that was held up makes a long gap and a short one after it; that the
// short one has no room for an interval takes back what the long one seemed to
// have lost, and never more.
type meter struct {
	open    bool    // a gap began
	begin   Instant // of the gap
	look    Instant // while a gap is open: when this end wants to be awake again
	stopped Instant // when this end came too late last
	owed    int32   // packets that seemed lost in the last long gap
	seen    Instant // when something was counted last
	part    int
	parts   [lossParts]lossPart
}

// lossPart is a part of the window.
type lossPart struct {
	received, lost int32
	time           time.Duration
	single, short  int32 // gaps of one interval at most, and those of them that are too short
}

// pace is the longest interval that the peer may leave between two packets.
func (s *Session) pace() time.Duration {
	if s.remoteMult == 0 {
		return 0
	}
	return s.detection() / time.Duration(s.remoteMult)
}

// lookAt is when the session wants to be awake, only to know later that it was:
// a packet is missing then.
func (s *Session) lookAt() Instant {
	if !s.meter.open || s.state != Up {
		return Never
	}
	return s.meter.look
}

// awake notices that this end itself comes too late to say anything about the
// path, because the process was stopped, or the whole host.
func (s *Session) awake(now Instant) {
	m, pace := &s.meter, s.pace()
	if now < s.lookAt() {
		return
	}
	if now.Sub(m.look) > pace/8 {
		m.open, m.stopped = false, now
		return
	}
	m.look = now.Add(pace)
}

// measure takes a packet, before what it says counts. A Final goes out beside
// the packets that are due, and while intervals change none is sure. Packets that
// waited for this end come all at once.
func (s *Session) measure(p *Packet, now Instant) {
	s.awake(now)
	m, pace := &s.meter, s.pace()
	switch {
	case p.Final || m.stopped == now && now != 0:
		return
	case s.state != Up || pace == 0:
		m.open = false
	case p.Poll || s.timing.polling || s.timing.settling || !m.open:
		m.start(now)
	default:
		m.take(now, pace, s.remoteMult)
	}
	m.look = now.Add(pace + pace/8)
}

// silent counts the packets whose absence took the session down.
func (m *meter) silent(now Instant, pace time.Duration, multiplier uint8) {
	if m.open {
		m.add(lossPart{lost: int32(multiplier), time: now.Sub(m.begin)}, now, pace)
	}
	m.open = false
}

// start begins a gap. What was counted before a long absence says nothing about
// the path as it is now.
func (m *meter) start(now Instant) {
	if now.Sub(m.seen) > LossWindow && m.seen != 0 {
		*m = meter{}
	}
	m.open, m.begin, m.owed = true, now, 0
}

// take counts a packet and the gap that it ends.
func (m *meter) take(now Instant, pace time.Duration, multiplier uint8) {
	gap := now.Sub(m.begin)
	m.begin = now
	part := lossPart{received: 1, time: gap}
	switch n := intervals(gap, pace, multiplier); {
	case n > 1:
		m.owed = n - 1
		part.lost = m.owed
	case n == 0 && m.owed > 0:
		m.owed--
		part.lost = -1
	default:
		m.owed = 0
		part.single = 1
		if gap*100 < pace*72 {
			part.short = 1
		}
	}
	m.add(part, now, pace)
}

// intervals is how many a gap is likely to be: the limits are in the middle
// between the longest n and the shortest n+1.
func intervals(gap, pace time.Duration, multiplier uint8) int32 {
	if multiplier == 1 { // 75 to 90 %
		return int32((40*gap + 18*pace) / (33 * pace))
	}
	return int32((8*gap + 4*pace) / (7 * pace))
}

func (m *meter) add(a lossPart, now Instant, pace time.Duration) {
	p := &m.parts[m.part]
	if p.time >= max(LossWindow, lossPackets*pace)/lossParts {
		m.part = (m.part + 1) % lossParts
		p = &m.parts[m.part]
		*p = lossPart{}
	}
	p.received += a.received
	p.lost += a.lost
	p.time += a.time
	p.single += a.single
	p.short += a.short
	m.seen = now
}

// loss sums up the window.
func (m *meter) loss() (l Loss) {
	var sum lossPart
	for i := range m.parts {
		p := &m.parts[i]
		sum.received += p.received
		sum.lost += p.lost
		sum.time += p.time
		sum.single += p.single
		sum.short += p.short
	}
	l.Lost = uint32(max(sum.lost, 0))
	l.Expected = uint32(sum.received) + l.Lost
	l.Window = sum.time
	// None is shorter than three quarters of what was agreed, but for those after
	// packets that were held up.
	l.Fast = sum.short*5 > sum.single*2
	return l
}
