package conformance

import (
	"slices"
	"testing"

	"github.com/hostroute/hostroute/vrf"
)

// verifiedInTurns: routes are learned and withdrawn between the turns of a
// comparison that finds damage, and then one that finds none writes nothing.
func verifiedInTurns(t *testing.T, b *bench) {
	counter := &counting{Dataplane: b.Target}
	b.fib = b.newFIBOver(counter)
	changes := sample()
	b.apply(t, changes)
	b.behind(t,
		vrf.RouteWrite{Prefix: changes[4].Prefix, Table: 90, Verb: vrf.Delete},
		vrf.RouteWrite{Prefix: changes[5].Prefix, Table: 90, Verb: vrf.Delete},
		vrf.RouteWrite{Prefix: changes[600].Prefix, Table: 90, Verb: vrf.Replace, Hops: b.wrong(t, "100.64.1.77")},
		vrf.RouteWrite{Prefix: changes[601].Prefix, Table: 90, Verb: vrf.Replace, Hops: b.wrong(t, "fd64:1::77")},
		vrf.RouteWrite{Prefix: prefix("192.0.2.250/32"), Table: 90, Verb: vrf.Add, Hops: b.wrong(t, "100.64.1.77")})
	turns := 0
	err := b.fib.VerifyInTurns(t.Context(), func(step func()) {
		if n := 10 + 2*(turns%290); turns%7 == 0 { // 582 of them at the end
			changes[n].NextHops, changes[n+1].NextHops = ecmp(9), ecmp6(9)
			b.apply(t, changes[n:n+2])
		}
		if n := len(changes) - 2; turns%11 == 0 && n > 700 {
			b.apply(t, withdrawn(changes[n:]))
			changes = slices.Clone(changes[:n])
		}
		turns++
		step()
	})
	if err != nil {
		t.Fatal(err)
	}
	b.wantLearned(t, b.expected(changes, "u0", "u1"))
	counter.writes = 0
	if err := b.fib.Verify(t.Context()); err != nil || counter.writes > 0 {
		t.Errorf("a comparison that finds nothing writes %d times: %v", counter.writes, err)
	}
	b.wantLearned(t, b.expected(changes, "u0", "u1"))
}
