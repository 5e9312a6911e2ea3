package bfd

import "fmt"

// State is the state of a session (RFC 5880 section 4.1).
type State uint8

// The states, with their numbers on the wire.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

// String is the state as people and the agent's protocol write it.
func (s State) String() string {
	switch s {
	case AdminDown:
		return "admin-down"
	case Down:
		return "down"
	case Init:
		return "init"
	case Up:
		return "up"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Diagnostic is the reason of the last change of a session's state (RFC 5880
// section 4.1).
type Diagnostic uint8

// The diagnostics that sessions here give; peers may give others.
const (
	NoDiagnostic   Diagnostic = 0
	TimeExpired    Diagnostic = 1
	NeighborDown   Diagnostic = 3
	Administrative Diagnostic = 7
)

var diagnostics = [...]string{
	"no diagnostic", "control detection time expired", "echo function failed", "neighbor signaled session down",
	"forwarding plane reset", "path down", "concatenated path down", "administratively down",
	"reverse concatenated path down", "misconnectivity defect",
}

// String is the diagnostic in the words of the IANA registry.
func (d Diagnostic) String() string {
	if int(d) < len(diagnostics) {
		return diagnostics[d]
	}
	return fmt.Sprintf("diagnostic %d", uint8(d))
}
