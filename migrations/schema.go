package migrations

import (
	"encoding/json"
	"fmt"
	"strings"
)

// SchemaChange is a new version of an event type. It is a pure function from
// the data of version From to that of From+1, for one type.
type SchemaChange struct {
	Type string
	From int
	// Up reads From and writes From+1. It keeps the order of the fields and the
	// bytes of every value that it doesn't touch, and writes what it makes as
	// the code of that version would: what was canonical JSON stays so. What it
	// can't read is an [*UpcastError].
	Up func(json.RawMessage) (json.RawMessage, error)
	// Register is the kind of register that embeds the data of this type, as the
	// second token of its subject; "" where none does. The same function reads
	// the register, since it has the same fields. Where several types write it, a
	// change of it is one of each of those types.
	Register string
}

// schemaChanges lists all there ever were, in the order of their versions. One
// that has been released stays for as long as there are logs.
func schemaChanges() []SchemaChange {
	return []SchemaChange{
		{Type: "NetworkDefined", From: 1, Up: networkDefined1, Register: "net"},
	}
}

// UpcastError is data that isn't of the version that it says it is. Field is
// the path inside the data, "" for all of it.
type UpcastError struct {
	Type    string
	Version int
	Field   string
	Reason  string
}

func (e *UpcastError) Error() string {
	at := "data"
	if e.Field != "" {
		at += "." + e.Field
	}
	return fmt.Sprintf("%s version %d: %s: %s", e.Type, e.Version, at, e.Reason)
}

// Version is the newest schema version of an event type, the one that this
// code writes: 1 where the type was never changed.
func Version(eventType string) int {
	version := 1
	for _, c := range schemaChanges() {
		if c.Type == eventType {
			version = c.From + 1
		}
	}
	return version
}

// Upcast gives data of an older version as the newest version has it. Versions
// that aren't known are refused.
func Upcast(eventType string, version int, data json.RawMessage) (json.RawMessage, error) {
	newest := Version(eventType)
	if err := known(eventType, version, newest); err != nil {
		return nil, err
	}
	return climb(data, version, func(c SchemaChange) bool { return c.Type == eventType })
}

// UpcastState gives what a message of an older version of an event says of a
// register, as the newest version has it. The subject is the register's; a null,
// and a register that has nothing to do with the change, stay as they are.
func UpcastState(eventType string, version int, subject string, state json.RawMessage) (json.RawMessage, error) {
	newest := Version(eventType)
	if err := known(eventType, version, newest); err != nil {
		return nil, err
	}
	return climb(state, version, func(c SchemaChange) bool { return c.Type == eventType && c.Register == kindOf(subject) })
}

// RegisterVersion is the newest version of the register under a subject: that of
// the event type that it embeds.
func RegisterVersion(subject string) int {
	version, kind := 1, kindOf(subject)
	for _, c := range schemaChanges() {
		if c.Register == kind {
			version = max(version, c.From+1)
		}
	}
	return version
}

// UpcastRegister gives a register that was kept by an older version, outside of
// the log, as the newest version has it.
func UpcastRegister(subject string, version int, state json.RawMessage) (json.RawMessage, error) {
	if err := known("register "+subject, version, RegisterVersion(subject)); err != nil {
		return nil, err
	}
	return climb(state, version, func(c SchemaChange) bool { return c.Register == kindOf(subject) })
}

// kindOf is the kind of register that a subject is of: its second token.
func kindOf(subject string) string {
	_, rest, _ := strings.Cut(subject, ".")
	kind, _, _ := strings.Cut(rest, ".")
	return kind
}

func known(what string, version, newest int) error {
	switch {
	case version == newest:
		return nil
	case version < 1:
		return &UpcastError{Type: what, Version: version, Reason: "versions begin with 1"}
	case version > newest:
		return &UpcastError{Type: what, Version: version, Reason: fmt.Sprintf("known here are versions up to %d; a newer release wrote it", newest)}
	}
	return nil
}

// climb applies the chosen changes from a version on.
func climb(data json.RawMessage, version int, chosen func(SchemaChange) bool) (json.RawMessage, error) {
	if string(data) == "null" {
		return data, nil
	}
	for _, c := range schemaChanges() {
		if !chosen(c) || c.From < version {
			continue
		}
		up, err := c.Up(data)
		if err != nil {
			return nil, err
		}
		data = up
	}
	return data, nil
}
