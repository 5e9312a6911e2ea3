package bfd

import "time"

// SlowTx is the least interval of a session that is not up (RFC 5880 section
// 6.8.3).
const SlowTx = time.Second

// Session is one end of a session (RFC 5880 section 6.8.1), always in the
// active role. It is driven by [Session.Receive] with each packet of the peer
// and by [Session.Advance] when [Session.Deadline] has come. It is a plain
// value, to be used by one goroutine at a time.
type Session struct {
	params Params
	state  State
	diag   Diagnostic
	local  uint32

	// What the peer said last; remote is 0 while it isn't heard.
	remote         uint32
	remoteState    State
	remoteDiag     Diagnostic
	remoteMinTx    time.Duration
	remoteMinRx    time.Duration
	remoteMult     uint8
	remoteDemand   bool
	remoteControlI bool

	timing timing
	meter  meter

	heard    Instant // the last packet of the peer that counted
	sentAt   Instant // the last packet of ours that was due
	urgent   bool    // the next packet differs from the last one and is due now
	hurry    Instant // so much later than now as packets went out ahead of their time, a second for each
	final    bool    // a poll of the peer waits for its answer
	jitter   uint32  // the share of the jitter's range that is taken off until the next packet
	farewell farewell

	unproven bool // resumed, and the peer hasn't said yet that it is up
	failed   bool
	since    Instant
	fell     Fall
	falls    uint32
	revision uint32
	sent     uint64
	received uint64
}

// NewSession starts a session in state Down; its first packet is due at once.
// The discriminator must be unique among the sessions of this system.
func NewSession(discriminator uint32, p Params, now Instant) Session {
	s := Session{
		params: p, state: Down, remoteState: Down, local: discriminator,
		remoteMinRx: time.Microsecond, heard: now, sentAt: now, since: now, urgent: true,
	}
	s.timing.reset(s.wantedTx(), p.MinRx)
	return s
}

// Configure changes the parameters. While the session is up that takes a Poll
// sequence; nothing is lost.
func (s *Session) Configure(p Params) {
	if s.params == p {
		return
	}
	s.urgent = s.urgent || s.params.Multiplier != p.Multiplier
	s.params = p
	s.retime()
}

// SetAdminDown shuts the session, or opens it again (RFC 5880 section 6.8.16).
// The peer is told, repeatedly until it has understood.
func (s *Session) SetAdminDown(shut bool, now Instant) {
	switch {
	case shut && s.state != AdminDown:
		s.farewell = s.startFarewell(now)
		s.diag = Administrative
		s.enter(AdminDown, now)
		s.failed = false
	case !shut && s.state == AdminDown:
		s.farewell = farewell{}
		s.diag = NoDiagnostic
		s.enter(Down, now)
	}
}

// Receive takes a packet that [Decode] let through and that [Table.Lookup] found
// to be this session's (RFC 5880 section 6.8.6). The error is a [Drop].
func (s *Session) Receive(p *Packet, now Instant) error {
	if s.state == Up && p.YourDiscriminator == 0 && p.MyDiscriminator != s.remote {
		return DropStranger
	}
	s.received++
	s.measure(p, now)
	s.heard = now
	s.note(p)
	s.unproven = s.unproven && p.State != Up
	if p.Final {
		s.timing.final(now)
	}
	if s.state == AdminDown {
		s.farewell.hear(p.State)
	} else {
		s.react(p.State, now)
		s.final = s.final || p.Poll
	}
	if !p.Final && s.timing.plain(now) {
		s.retime()
	}
	return nil
}

// note remembers what the peer says. Words that come out in a [Report] are a
// new revision of it.
func (s *Session) note(p *Packet) {
	if s.remoteState != p.State || s.remoteDiag != p.Diagnostic || s.remoteMinTx != p.DesiredMinTx ||
		s.remoteMinRx != p.RequiredMinRx || s.remoteMult != p.Multiplier || s.remoteControlI != p.ControlIndependent {
		s.revision++
	}
	s.remote, s.remoteState, s.remoteDiag = p.MyDiscriminator, p.State, p.Diagnostic
	s.remoteMinTx, s.remoteMinRx, s.remoteMult = p.DesiredMinTx, p.RequiredMinRx, p.Multiplier
	s.remoteDemand, s.remoteControlI = p.Demand, p.ControlIndependent
}

// react is the state machine (RFC 5880 section 6.2).
func (s *Session) react(remote State, now Instant) {
	switch {
	case remote == AdminDown:
		if s.state != Down {
			s.fall(NeighborDown, now)
		}
		if s.failed {
			s.failed = false
			s.revision++
		}
	case s.state == Down && remote == Down:
		s.enter(Init, now)
	case s.state == Down && remote == Init, s.state == Init && (remote == Init || remote == Up):
		s.diag = NoDiagnostic
		s.failed = false
		s.enter(Up, now)
	case s.state == Up && remote == Down:
		s.fall(NeighborDown, now)
	}
}

// fall takes the session down. Only the end of one that was up is a failure.
func (s *Session) fall(d Diagnostic, now Instant) {
	s.diag = d
	if s.state == Up {
		s.fell = Fall{d, s.remoteDiag, s.remoteState, s.detection()}
		s.falls++
		s.failed = s.remoteState != AdminDown && !s.unproven
	}
	s.unproven = false
	s.enter(Down, now)
}

// enter changes the state. The peer is told at once and not with the next
// packet that would be due (RFC 5880 section 6.8.7).
func (s *Session) enter(to State, now Instant) {
	s.state, s.since = to, now
	s.revision++
	s.urgent = true
	s.retime()
}

// expire notices that the peer hasn't been heard for the detection time (RFC
// 5880 section 6.8.4).
func (s *Session) expire(now Instant) {
	s.awake(now)
	if now < s.detectAt() {
		return
	}
	if s.state == Up {
		s.meter.silent(now, s.pace(), s.remoteMult)
	}
	if s.state == Init || s.state == Up {
		s.fall(TimeExpired, now)
	}
	s.remote, s.remoteState, s.remoteDiag = 0, Down, NoDiagnostic
	s.remoteMinTx, s.remoteMinRx, s.remoteMult = 0, time.Microsecond, 0
	s.remoteDemand, s.remoteControlI, s.final = false, false, false
	s.timing.reset(s.wantedTx(), s.params.MinRx)
	s.revision++
}

// Revision changes with everything in a [Report] but the counters.
func (s *Session) Revision() uint32 { return s.revision }

// Discriminator is the local one.
func (s *Session) Discriminator() uint32 { return s.local }
