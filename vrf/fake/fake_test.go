package fake_test

import (
	"testing"

	"github.com/hostroute/hostroute/vrf/conformance"
	"github.com/hostroute/hostroute/vrf/fake"
)

func TestConformance(t *testing.T) {
	for name, s := range map[string]conformance.Setup{
		"VRF":                 {VRF: true, New: func(*testing.T) conformance.Target { return fake.New() }},
		"tables only":         {New: func(*testing.T) conformance.Target { return fake.New() }},
		"tables with a floor": {Floor: "f0", New: func(*testing.T) conformance.Target { return fake.New() }},
		"no resilient groups": {Shared: true, New: func(*testing.T) conformance.Target { k := fake.New(); k.NoResilient = true; return k }},
		"no next-hop objects": {VRF: true, Plain: true, New: func(*testing.T) conformance.Target { k := fake.New(); k.NoObjects = true; return k }},
	} {
		t.Run(name, func(t *testing.T) { conformance.Run(t, s) })
	}
}
