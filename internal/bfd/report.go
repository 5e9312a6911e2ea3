package bfd

import (
	"fmt"
	"net/netip"
	"time"
)

// Report is what a session knows of itself.
type Report struct {
	State       State
	Diagnostic  Diagnostic // why the state changed last, as the peer is told
	RemoteState State
	RemoteDiag  Diagnostic
	Heard       bool // the peer has been heard within the detection time

	// Failed is what a routing protocol must act on (RFC 5882): the session was
	// up and fell, and not because somebody shut it on purpose. A session that
	// has never been up hasn't failed, and one whose peer says AdminDown
	// hasn't either.
	Failed bool

	TransmitInterval time.Duration // negotiated, before jitter
	DetectionTime    time.Duration // 0 while the peer isn't heard
	RemoteMinTx      time.Duration
	RemoteMinRx      time.Duration
	RemoteMultiplier uint8
	// RemoteIndependent is the peer's C bit: its BFD outlives its control plane,
	// so that the end of the session is never that of the control plane alone
	// (RFC 5882 section 4.3).
	RemoteIndependent   bool
	LocalDiscriminator  uint32
	RemoteDiscriminator uint32

	Falls    uint32 // from up, for whatever reason
	Sent     uint64 // packets
	Received uint64 // that counted
	Loss     Loss
	fell     fall
}

// Report describes the session.
func (s *Session) Report() Report {
	return Report{
		State: s.state, Diagnostic: s.diag, RemoteState: s.remoteState, RemoteDiag: s.remoteDiag,
		Heard: s.remote != 0, Failed: s.failed,
		TransmitInterval: s.transmitInterval(), DetectionTime: s.detection(),
		RemoteMinTx: s.remoteMinTx, RemoteMinRx: s.remoteMinRx, RemoteMultiplier: s.remoteMult,
		RemoteIndependent: s.remoteControlI, LocalDiscriminator: s.local, RemoteDiscriminator: s.remote,
		Falls: s.falls, Sent: s.sent, Received: s.received, Loss: s.meter.loss(), fell: s.fell,
	}
}

// Since is when the session came into its state.
func (s *Session) Since() Instant { return s.since }

// Reason says in words why the session is not up, and is empty when it is.
func (r Report) Reason() string {
	switch {
	case r.State == Up:
		return ""
	case r.State == AdminDown:
		return "shut on this side"
	case r.RemoteState == AdminDown:
		return "the peer has shut it"
	case r.Failed:
		return r.fell.words()
	case !r.Heard:
		return "the peer isn't heard: does it run BFD?"
	}
	return "coming up"
}

// LastFall says in words what took the session down last, and is empty when
// nothing has.
func (r Report) LastFall() string {
	if r.fell.at == 0 {
		return ""
	}
	return r.fell.words()
}

// words tells what took a session down.
func (f fall) words() string {
	switch {
	case f.diag == TimeExpired:
		return fmt.Sprintf("nothing was heard of the peer for %v", f.detection)
	case f.remoteDiag == TimeExpired:
		return "the peer doesn't hear this side any more"
	case f.remoteDiag == NoDiagnostic:
		return "the peer went down without saying why"
	}
	return "the peer went down: " + f.remoteDiag.String()
}

// Status is a session as it is told to others.
type Status struct {
	Spec
	Report
	// Serial and Revision together change with everything but the counters; the
	// serial alone when a session was made anew.
	Serial   uint64
	Revision uint64
	Since    time.Time // on the wall clock
	Fell     time.Time // when it went down last from up; zero: never
	Source   uint16    // port that it sends from; 0 while it can't
	Trouble  string    // what keeps it from sending, in words; else empty
}

// Zoned is an address as a socket wants it: a link-local one with its interface.
func Zoned(a netip.Addr, zone string) netip.Addr {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return a.WithZone(zone)
	}
	return a
}
