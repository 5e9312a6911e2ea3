package config

import (
	_ "embed"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

//go:embed reference.yaml
var reference string

// Reference is a complete configuration that explains every key, with its
// default, unit and range.
func Reference() string { return reference }

// Dump writes the configuration as it is in effect, defaults and passwords
// included. [Parse] reads it back.
func (c *Config) Dump(w io.Writer) error {
	y := yaml.NewEncoder(w)
	y.SetIndent(2)
	if err := y.Encode(c); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return y.Close()
}

// MarshalYAML writes Sync as the file has it.
func (e Embedded) MarshalYAML() (any, error) {
	sync := "always"
	if e.Sync > 0 {
		sync = e.Sync.String()
	}
	listen := ""
	if e.Listen.IsValid() {
		listen = e.Listen.String()
	}
	return struct{ Listen, Store, Sync string }{listen, e.Store, sync}, nil
}
