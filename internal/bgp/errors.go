package bgp

import "fmt"

// Codes of NOTIFICATION messages (RFC 4271 section 4.5) that a decoder gives.
const (
	CodeHeader = 1
	CodeOpen   = 2
	CodeUpdate = 3
)

// Subcodes of [CodeUpdate] (RFC 4271 section 6.3).
const (
	SubcodeMalformedAttributes   = 1
	SubcodeUnrecognizedWellKnown = 2
	SubcodeOptionalAttribute     = 9
	SubcodeInvalidNetwork        = 10
)

// MessageError is an error in a message of the peer that its session can't
// survive: Code, Subcode and Data are what the NOTIFICATION has to say.
type MessageError struct {
	Code, Subcode uint8
	Data          []byte
	Reason        string
}

// Error says what was wrong with the message.
func (e *MessageError) Error() string {
	return fmt.Sprintf("%s (%d/%d)", e.Reason, e.Code, e.Subcode)
}

func updateError(subcode uint8, format string, args ...any) *MessageError {
	return &MessageError{Code: CodeUpdate, Subcode: subcode, Reason: fmt.Sprintf(format, args...)}
}
