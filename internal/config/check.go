package config

import (
	"fmt"
	"strings"
)

// CheckAgent reports what an agent needs and the configuration lacks.
func (c *Config) CheckAgent() error {
	if c.Hypervisor == "" {
		return &Error{Key: "hypervisor", Reason: "missing; an agent needs the name under which the log knows this host"}
	}
	return nil
}

// CheckLog reports what the log service needs and the configuration lacks.
func (c *Config) CheckLog() error {
	if c.Log.Embedded != nil && !c.Log.Embedded.Listen.IsValid() {
		return &Error{Key: "log.embedded.listen",
			Reason: "is \"\", so that nobody could reach the log service; give ADDRESS:PORT"}
	}
	return nil
}

// list writes values for people.
func list[T any](values []T) string {
	if len(values) == 0 {
		return "none"
	}
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}
