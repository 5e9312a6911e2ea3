package contender_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/bench/contender"
	"github.com/hostroute/hostroute/internal/bench/feeder"
	"github.com/hostroute/hostroute/internal/bench/observe"
	"github.com/hostroute/hostroute/internal/bench/site"
	"github.com/hostroute/hostroute/internal/testenv"
)

// The configurations of the others do what hostroute does: both planes' next hops for each route, one plane's when a
// reflector is lost, and again both.
func TestRoutersBringTheirTableIntoTheKernel(t *testing.T) {
	testenv.RequireRoot(t)
	for _, tc := range []struct {
		c    contender.Contender
		tool string
	}{
		{contender.NewBIRD(), "bird"},
		{contender.NewFRR(), "/usr/lib/frr/zebra"},
	} {
		for _, family := range []bench.Family{4, 6} {
			t.Run(fmt.Sprintf("%s, IPv%d", tc.c.Name(), family), func(t *testing.T) {
				testenv.RequireTool(t, tc.tool)
				loads(t, tc.c, family)
			})
		}
	}
}

func loads(t *testing.T, c contender.Contender, family bench.Family) {
	s, err := site.New(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, s.Close()) })
	f, err := feeder.Listen(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, f.Close()) })
	check(t, c.Start(t.Context(), s.Contender(t.TempDir())))
	t.Cleanup(func() { check(t, c.Stop(context.Background())) })
	check(t, f.Established(t.Context()))
	r, err := observe.NewReader(s, family)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, r.Close()) })

	table := bench.NewTable(bench.Job{Kind: bench.Load, Family: family, Routes: 5000, Reflectors: 2}, 1)
	has := func(when string, planes ...int) {
		t.Helper()
		testenv.Eventually(t, fmt.Sprintf("the kernel to have the table %s", when), func() bool {
			d, err := r.Compare(observe.Want{Table: table, Planes: planes})
			check(t, err)
			return d.None()
		})
	}
	tell := func(plane int, routes []int) {
		check(t, f.Send(t.Context(), plane, table.Updates(plane, routes, false)))
	}
	tell(0, nil)
	tell(1, nil)
	has("after the load", 0, 1)
	moved := table.Churn()
	tell(0, moved)
	tell(1, moved)
	has("after a tenth has moved", 0, 1)
	check(t, f.Lose(1))
	has("when a reflector is lost", 0)
	check(t, f.Open(1))
	check(t, f.Established(t.Context()))
	tell(1, nil)
	has("when it is back", 0, 1)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
