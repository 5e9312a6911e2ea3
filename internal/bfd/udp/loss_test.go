package udp

import (
	"testing"

	"github.com/hostroute/hostroute/internal/bfd"
)

// TestLossIsMeasured: what the filter drops of one family is lost, whatever the
// peer's jitter is like, and nothing of the other; within what chance and a busy
// machine make of a hundred packets.
func TestLossIsMeasured(t *testing.T) {
	p := params(100*ms, 100*ms, 30)
	for name, far := range map[string]func(*testing.T, *wire){
		"ours": func(t *testing.T, w *wire) { start(t, w.b, spec(v4, 1, p), spec(v6, 1, p)) },
		"BIRD": func(t *testing.T, w *wire) { startBIRD(t, w, p) },
		"FRR":  func(t *testing.T, w *wire) { startFRR(t, w, p) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t)
			far(t, w)
			a := start(t, w.a, spec(v4, 0, p), spec(v6, 0, p))
			a.paced(v4, 100*ms, 3000*ms)
			a.paced(v6, 100*ms, 3000*ms)
			w.a.Run("nft", "add table ip6 lossy; add chain ip6 lossy in { type filter hook prerouting priority 0; }; "+
				"add rule ip6 lossy in udp dport 3784 numgen random mod 100 < 30 drop")
			for _, c := range []struct {
				where     string
				low, high float64
			}{{v4, 0, 0.1}, {v6, 0.14, 0.5}} {
				var loss float64
				s := a.expect("enough packets to tell", c.where, func(s bfd.Status) (ok bool) {
					loss, ok = s.Loss.Fraction()
					return ok
				})
				if loss < c.low || loss > c.high || s.Falls > 0 {
					t.Errorf("%s: %.3f is lost, want %v to %v: %+v, %d falls", c.where, loss, c.low, c.high, s.Loss, s.Falls)
				}
				t.Logf("%s: %.3f", c.where, loss)
			}
		})
	}
}
