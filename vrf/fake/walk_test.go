package fake_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/vrf/conformance"
	"github.com/hostroute/hostroute/vrf/fake"
)

func TestWalk(t *testing.T) {
	for name, s := range map[string]conformance.Setup{"objects": {}, "shared": {Shared: true}, "plain": {Plain: true}} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				s := conformance.Setup{VRF: true, Plain: s.Plain, Shared: s.Shared, New: func(*testing.T) conformance.Target {
					k := fake.New()
					k.NoObjects, k.NoResilient = s.Plain, s.Shared
					return k
				}}
				choose := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(r, label) }
				conformance.Walk(t, s, choose, r.Fatalf, 1+choose("steps", 30))
			})
		})
	}
}
