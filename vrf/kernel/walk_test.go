package kernel

import (
	"math/rand/v2"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf/conformance"
)

// TestWalk takes a few of the walks that the fake takes by the hundred, so
// that the fake's manners are seen to be the kernel's.
func TestWalk(t *testing.T) {
	testenv.RequireRoot(t)
	for name, s := range map[string]conformance.Setup{"objects": {}, "shared": {Shared: true}, "plain": {Plain: true}} {
		t.Run(name, func(t *testing.T) { walk(t, s, 4, 40) })
	}
}

func TestWalkVRF(t *testing.T) {
	testenv.RequireVRF(t)
	walk(t, conformance.Setup{VRF: true}, 1, 20) // an emulated machine is slow
}

func walk(t *testing.T, s conformance.Setup, seeds uint64, steps int) {
	s.New = func(t *testing.T) conformance.Target {
		return newTarget(t, Options{NoNextHopObjects: s.Plain, NoResilientGroups: s.Shared})
	}
	for seed := range seeds {
		random := rand.New(rand.NewPCG(seed, 1))
		conformance.Walk(t, s, func(_ string, n int) int { return random.IntN(n) }, t.Fatalf, steps)
	}
}
