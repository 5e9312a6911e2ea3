package bfd

// Resume continues a session that a former process of this host left up, with
// its discriminators: when that is quick, the peer notices nothing. What is in
// the report may be old, so the peer is polled at once, and until it has said
// that it is up the end of the session is no failure: the path may have been fine
// all the time that nobody watched it.
func Resume(former Report, p Params, now Instant) Session {
	s := NewSession(former.LocalDiscriminator, p, now)
	s.state, s.remoteState = Up, Up
	s.remote = former.RemoteDiscriminator
	s.remoteMinTx, s.remoteMinRx, s.remoteMult = former.RemoteMinTx, former.RemoteMinRx, former.RemoteMultiplier
	s.remoteControlI, s.falls, s.fell = former.RemoteIndependent, former.Falls, former.Fell
	s.timing.reset(p.MinTx, p.MinRx)
	s.timing.polling = true
	s.unproven = true
	return s
}

// Resumable tells whether a report is that of a session to be resumed.
func (r Report) Resumable() bool {
	return r.State == Up && r.LocalDiscriminator != 0 && r.RemoteDiscriminator != 0 && r.RemoteMultiplier != 0
}
