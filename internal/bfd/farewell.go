package bfd

import "time"

// farewell is how a session tells a peer that may be up that it goes away on
// purpose. One packet may get lost, and the next one of a session that is not
// up would come after the peer's detection time: so it is repeated at the pace
// that was negotiated, until the peer has understood or would have noticed
// anyway.
type farewell struct {
	left     int           // packets at that pace
	interval time.Duration // the pace
	until    Instant       // when a peer that heard nothing has noticed
}

func (s *Session) startFarewell(now Instant) farewell {
	if s.remote == 0 || s.state == Down && s.remoteState != Up {
		return farewell{}
	}
	// An upper bound of the peer's detection time: it may know less of us.
	interval := max(s.timing.tx, s.timing.beforeTx, s.remoteMinRx)
	return farewell{
		left: int(s.params.Multiplier), interval: s.transmitInterval(),
		until: now.Add(time.Duration(s.params.Multiplier) * interval),
	}
}

// hear notes the peer's state: one that isn't up any more has understood.
func (f *farewell) hear(remote State) {
	if remote == Down || remote == AdminDown {
		*f = farewell{}
	}
}

func (f *farewell) count() {
	if f.left > 0 {
		f.left--
	}
}

// Gone tells whether a session that was shut may be forgotten: its peer knows
// (RFC 5880 section 6.8.16).
func (s *Session) Gone(now Instant) bool {
	return s.state == AdminDown && !s.urgent && now >= s.farewell.until
}

// GoneAt is when [Session.Gone] will be true unless it changes, or the peer
// knows sooner.
func (s *Session) GoneAt() Instant {
	if s.state != AdminDown || s.urgent {
		return Never
	}
	return s.farewell.until
}
