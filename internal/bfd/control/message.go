package control

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/hostroute/hostroute/internal/bfd"
)

// Version is that of the protocol.
const Version = 1

// The types of messages.
const (
	typeSet      = "set"
	typeSessions = "sessions"
	typeChange   = "change"
	typeError    = "error"
)

// maxLine is the longest line that either side takes: some ten thousand
// sessions.
const maxLine = 8 << 20

// request is what a client sends.
type request struct {
	Version  int      `json:"v"`
	Type     string   `json:"type"`
	Sessions []Wanted `json:"sessions"`
}

// answer is what the server sends.
type answer struct {
	Version  int      `json:"v"`
	Type     string   `json:"type"`
	Sessions []Status `json:"sessions,omitempty"`
	Error    string   `json:"error,omitempty"`
}

// Duration is a time span, in JSON as Go writes it ("300ms").
type Duration time.Duration

// MarshalText writes the duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads the duration.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is no duration; write it like 300ms", b)
	}
	*d = Duration(v)
	return nil
}

// Wanted is a session as the client asks for it.
type Wanted struct {
	Name       string     `json:"name"`
	Interface  string     `json:"interface"`
	Local      netip.Addr `json:"local"`
	Remote     netip.Addr `json:"remote"`
	MinTx      Duration   `json:"min_tx"`
	MinRx      Duration   `json:"min_rx"`
	Multiplier uint8      `json:"multiplier"`
	AdminDown  bool       `json:"admin_down,omitempty"`
}

func wanted(s bfd.Spec) Wanted {
	return Wanted{
		Name: s.Name, Interface: s.Interface, Local: s.Local, Remote: s.Remote,
		MinTx: Duration(s.MinTx), MinRx: Duration(s.MinRx), Multiplier: s.Multiplier, AdminDown: s.AdminDown,
	}
}

func (w Wanted) spec() bfd.Spec {
	return bfd.Spec{
		Name: w.Name, Key: bfd.Key{Interface: w.Interface, Local: w.Local.WithZone(""), Remote: w.Remote.WithZone("")},
		Params:    bfd.Params{MinTx: time.Duration(w.MinTx), MinRx: time.Duration(w.MinRx), Multiplier: w.Multiplier},
		AdminDown: w.AdminDown,
	}
}

// Status is a session as the server reports it.
type Status struct {
	Wanted
	State string `json:"state"` // "admin-down", "down", "init", "up"
	// Failed is what routing must act on: the session was up and fell, and nobody
	// shut it on purpose (RFC 5882).
	Failed           bool      `json:"failed"`
	Reason           string    `json:"reason,omitempty"`  // why it isn't up, in words
	Trouble          string    `json:"trouble,omitempty"` // what keeps it from sending
	Since            time.Time `json:"since"`             // of the state
	Diagnostic       string    `json:"diagnostic"`
	RemoteState      string    `json:"remote_state"`
	RemoteDiagnostic string    `json:"remote_diagnostic"`

	TransmitInterval  Duration `json:"transmit_interval"` // negotiated
	DetectionTime     Duration `json:"detection_time"`    // 0s while the peer isn't heard
	RemoteMinTx       Duration `json:"remote_min_tx"`
	RemoteMinRx       Duration `json:"remote_min_rx"`
	RemoteMultiplier  uint8    `json:"remote_multiplier"`
	RemoteIndependent bool     `json:"remote_independent"` // the peer's C bit (RFC 5882 section 4.3)

	Falls    uint32 `json:"falls"` // from up
	Sent     uint64 `json:"sent"`  // packets
	Received uint64 `json:"received"`

	// Loss is the share of the peer's packets that never arrived, 0 to 1, in
	// LossWindow that the session was up; absent while too little is known, or
	// where LossUnknown says why it can't be.
	Loss        *float64 `json:"loss,omitempty"`
	LossWindow  Duration `json:"loss_window,omitempty"`
	LossUnknown string   `json:"loss_unknown,omitempty"`

	LastFall     string     `json:"last_fall,omitempty"` // why it fell last, in words
	LastFallTime *time.Time `json:"last_fall_time,omitempty"`
	// LastFallDirection is "receiving" or "sending": which direction of the path
	// failed, seen from here.
	LastFallDirection string `json:"last_fall_direction,omitempty"`

	Serial   uint64 `json:"serial"`   // another one: the session was made anew
	Revision uint64 `json:"revision"` // another one: more than counters changed
}

// Up tells whether the session is up.
func (s Status) Up() bool { return s.State == bfd.Up.String() }

func status(s bfd.Status) Status {
	st := Status{
		Wanted: wanted(s.Spec), State: s.State.String(), Failed: s.Failed, Reason: s.Reason(), Trouble: s.Trouble,
		Since: s.Since, Diagnostic: s.Diagnostic.String(),
		RemoteState: s.RemoteState.String(), RemoteDiagnostic: s.RemoteDiag.String(),
		TransmitInterval: Duration(s.TransmitInterval), DetectionTime: Duration(s.DetectionTime),
		RemoteMinTx: Duration(s.RemoteMinTx), RemoteMinRx: Duration(s.RemoteMinRx), RemoteMultiplier: s.RemoteMultiplier,
		RemoteIndependent: s.RemoteIndependent, Falls: s.Falls, Sent: s.Sent, Received: s.Received,
		Serial: s.Serial, Revision: s.Revision,
	}
	if f, ok := s.Loss.Fraction(); ok {
		f = math.Round(f*1e4) / 1e4
		st.Loss, st.LossWindow = &f, Duration(s.Loss.Window.Round(time.Second))
	} else if s.Loss.Fast {
		st.LossUnknown = "the peer sends faster than was agreed"
	}
	if words := s.Fell.Words(); words != "" {
		st.LastFall, st.LastFallTime, st.LastFallDirection = words, &s.FellAt, s.Fell.Direction()
	}
	return st
}

// mark is what a change is told by.
type mark struct{ serial, revision uint64 }

func (s Status) mark() mark { return mark{s.Serial, s.Revision} }

// parse reads a request.
func parse(line []byte) ([]bfd.Spec, error) {
	var r request
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	if r.Version != Version {
		return nil, fmt.Errorf("version %d of the protocol isn't spoken here, only version %d", r.Version, Version)
	}
	if r.Type != typeSet {
		return nil, fmt.Errorf("type %q: there is only %q", r.Type, typeSet)
	}
	if r.Sessions == nil {
		return nil, fmt.Errorf("a set without \"sessions\"; [] shuts all of them")
	}
	specs := make([]bfd.Spec, 0, len(r.Sessions))
	for _, w := range r.Sessions {
		specs = append(specs, w.spec())
	}
	return specs, nil
}
