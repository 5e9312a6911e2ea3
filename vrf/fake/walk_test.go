package fake_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/hostroute/hostroute/vrf/conformance"
	"github.com/hostroute/hostroute/vrf/fake"
)

func TestWalk(t *testing.T) {
	for name, plain := range map[string]bool{"objects": false, "plain": true} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				s := conformance.Setup{VRF: true, Plain: plain, New: func(*testing.T) conformance.Target {
					k := fake.New()
					k.NoObjects = plain
					return k
				}}
				choose := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(r, label) }
				conformance.Walk(t, s, choose, r.Fatalf, 1+choose("steps", 30))
			})
		})
	}
}
