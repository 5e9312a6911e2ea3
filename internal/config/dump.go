package config

import (
	_ "embed"
	"fmt"
	"io"
	"net/netip"

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
	return struct{ Listen, Store, Sync string }{text(e.Listen), e.Store, sync}, nil
}

// MarshalYAML writes whether there is a device as the file has it.
func (v VRF) MarshalYAML() (any, error) {
	return struct {
		Name   string
		Table  uint32
		Device bool
	}{v.Name, v.Table, !v.NoDevice}, nil
}

// MarshalYAML writes Listen as the file has it.
func (m Metrics) MarshalYAML() (any, error) {
	return struct {
		Listen string
		VRF    string `yaml:"vrf,omitempty"`
	}{text(m.Listen), m.VRF}, nil
}

// text is an address to listen on as the file has it: "" for none.
func text(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
