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
	Fell     Fall // the last one
}

// Report describes the session.
func (s *Session) Report() Report {
	return Report{
		State: s.state, Diagnostic: s.diag, RemoteState: s.remoteState, RemoteDiag: s.remoteDiag,
		Heard: s.remote != 0, Failed: s.failed,
		TransmitInterval: s.transmitInterval(), DetectionTime: s.detection(),
		RemoteMinTx: s.remoteMinTx, RemoteMinRx: s.remoteMinRx, RemoteMultiplier: s.remoteMult,
		RemoteIndependent: s.remoteControlI, LocalDiscriminator: s.local, RemoteDiscriminator: s.remote,
		Falls: s.falls, Sent: s.sent, Received: s.received, Loss: s.meter.loss(), Fell: s.fell,
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
		return r.Fell.Words()
	case !r.Heard:
		return "the peer isn't heard: does it run BFD?"
	}
	return "coming up"
}

// Fall is what was known when a session went down from up. The zero value is
// none.
type Fall struct {
	Diagnostic       Diagnostic // of this side
	RemoteDiagnostic Diagnostic
	RemoteState      State
	Detection        time.Duration // the detection time
}

// The directions of a path, as seen from this side.
const (
	Receiving = "receiving"
	Sending   = "sending"
)

// Direction is the one that failed for sure; empty where nobody knows. What is
// deaf says so to nobody: whether the other direction works too is open.
func (f Fall) Direction() string {
	switch {
	case f.Diagnostic == TimeExpired:
		return Receiving
	case f.RemoteDiagnostic == TimeExpired:
		return Sending
	}
	return ""
}

// Words tells what took the session down, and is empty where nothing has.
func (f Fall) Words() string {
	switch {
	case f == Fall{}:
		return ""
	case f.Diagnostic == TimeExpired:
		return fmt.Sprintf("nothing was heard of the peer for %v", f.Detection)
	case f.RemoteState == AdminDown:
		return "the peer has shut it"
	case f.RemoteDiagnostic == TimeExpired:
		return "the peer doesn't hear this side any more"
	case f.RemoteDiagnostic == NoDiagnostic:
		return "the peer went down without saying why"
	}
	return "the peer went down: " + f.RemoteDiagnostic.String()
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
	FellAt   time.Time // when it went down last from up; zero: never
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
