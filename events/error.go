package events

import (
	"fmt"
	"strings"
	"time"
)

// Code classifies an [Error] for programs; the text is for people.
type Code string

// The codes of an [Error].
const (
	CodeInvalid  Code = "invalid"   // the event alone is wrong
	CodeUnknown  Code = "unknown"   // it names something that doesn't exist
	CodeExists   Code = "exists"    // it makes something that is there already
	CodeTaken    Code = "taken"     // somebody else holds what it claims
	CodeRefused  Code = "refused"   // a rule of the log forbids it now
	CodeTooLarge Code = "too-large" // it doesn't fit into one atomic batch
)

// Error says why an event is refused: which field, which value, what is wrong
// with it and, where there is one, the way out.
type Error struct {
	Code   Code   `json:"code"`
	Type   Type   `json:"type,omitempty"`
	Field  string `json:"field,omitempty"`
	Value  string `json:"value,omitempty"`
	Reason string `json:"reason"`
	// Held says, where a prefix is refused for it, who holds that.
	Held *Held `json:"held,omitempty"`
}

// Held is who holds a prefix, and since when: the sequence of the event that
// gave it, and the time at which the log stored that.
type Held struct {
	VM       string    `json:"vm"`
	Sequence uint64    `json:"sequence"`
	Since    time.Time `json:"since,omitzero"`
}

// Error reads like "IPAssigned: prefix "203.0.113.7/24": host bits are set".
func (e *Error) Error() string {
	var b strings.Builder
	if e.Type != "" {
		b.WriteString(string(e.Type) + ": ")
	}
	b.WriteString(e.Field)
	if e.Field != "" && e.Value != "" {
		b.WriteByte(' ')
	}
	if e.Value != "" {
		fmt.Fprintf(&b, "%q", e.Value)
	}
	if e.Field != "" || e.Value != "" {
		b.WriteString(": ")
	}
	b.WriteString(e.Reason)
	return b.String()
}

// invalid makes the error of a field that is wrong by itself.
func invalid(field, value, format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Field: shorten(field), Value: shorten(value), Reason: shorten(fmt.Sprintf(format, args...))}
}

// shorten cuts what a publisher sent to a length that an answer can carry.
func shorten(s string) string {
	const most = 512
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
