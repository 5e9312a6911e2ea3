package config

import (
	"fmt"
	"strings"
)

// Error is one thing that is wrong with a configuration. [Parse] joins all that
// it finds (errors.Join).
type Error struct {
	File   string // set by Load
	Line   int    // 0: nowhere in particular
	Key    string // "bgp.reflectors[1].port"; empty: the file as a whole
	Value  string // as it is written in the file
	Reason string
}

// Error reads like `line 12: bgp.hold_time: "2s": must be 3s to 3600s`.
func (e *Error) Error() string {
	var parts []string
	if e.File != "" {
		parts = append(parts, e.File)
	}
	if e.Line > 0 {
		parts = append(parts, fmt.Sprintf("line %d", e.Line))
	}
	if e.Key != "" {
		parts = append(parts, e.Key)
	}
	if e.Value != "" {
		parts = append(parts, fmt.Sprintf("%q", e.Value))
	}
	return strings.Join(append(parts, e.Reason), ": ")
}
