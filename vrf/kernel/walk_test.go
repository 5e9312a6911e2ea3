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
	walk(t, false)
}

func TestWalkVRF(t *testing.T) {
	testenv.RequireVRF(t)
	walk(t, true)
}

func walk(t *testing.T, vrfs bool) {
	for name, plain := range map[string]bool{"objects": false, "plain": true} {
		t.Run(name, func(t *testing.T) {
			s := conformance.Setup{VRF: vrfs, Plain: plain, New: func(t *testing.T) conformance.Target {
				return newTarget(t, Options{NoNextHopObjects: plain})
			}}
			for seed := range uint64(4) {
				random := rand.New(rand.NewPCG(seed, 1))
				conformance.Walk(t, s, func(_ string, n int) int { return random.IntN(n) }, t.Fatalf, 40)
			}
		})
	}
}
