package kernel

import (
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf/conformance"
)

// TestConformance needs no VRF: the tables are used without devices.
func TestConformance(t *testing.T) {
	testenv.RequireRoot(t)
	conformance.Run(t, conformance.Setup{New: func(t *testing.T) conformance.Target { return newTarget(t, Options{}) }})
}

// TestConformanceFloor lets groups stand on a floor, as with VRF devices, where this
// kernel may have none.
func TestConformanceFloor(t *testing.T) {
	testenv.RequireRoot(t)
	conformance.Run(t, conformance.Setup{Floor: "f0", New: func(t *testing.T) conformance.Target { return newTarget(t, Options{}) }})
}

// TestConformanceShared has plain groups only, as on kernels that have no
// resilient ones.
func TestConformanceShared(t *testing.T) {
	testenv.RequireRoot(t)
	conformance.Run(t, conformance.Setup{Shared: true, New: func(t *testing.T) conformance.Target {
		return newTarget(t, Options{NoResilientGroups: true})
	}})
}

// TestConformancePlain keeps next hops in the routes, as on kernels that have
// no next-hop objects.
func TestConformancePlain(t *testing.T) {
	testenv.RequireRoot(t)
	conformance.Run(t, conformance.Setup{Plain: true, New: func(t *testing.T) conformance.Target {
		return newTarget(t, Options{NoNextHopObjects: true})
	}})
}

func TestConformanceVRF(t *testing.T) {
	testenv.RequireVRF(t)
	conformance.Run(t, conformance.Setup{VRF: true, Short: true, New: func(t *testing.T) conformance.Target { return newTarget(t, Options{}) }})
}
