package feeder

import (
	"context"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/bench/contender"
	"github.com/hostroute/hostroute/internal/bench/site"
	"github.com/hostroute/hostroute/internal/testenv"
)

// with has BIRD call the reflectors of a site.
func with(t *testing.T) (*Feeder, func(args ...string) string) {
	testenv.RequireRoot(t)
	testenv.RequireTool(t, "bird")
	s, err := site.New(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	f, err := Listen(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	dir, b := t.TempDir(), contender.NewBIRD()
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	if err := b.Start(t.Context(), s.Contender(dir)); err != nil {
		t.Fatal(err)
	}
	return f, func(args ...string) string {
		cmd := exec.Command("birdc", append([]string{"-s", "bird.ctl"}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("birdc %v: %v: %s", args, err, out)
		}
		return string(out)
	}
}

func TestBIRDLearnsLosesAndLearnsAgain(t *testing.T) {
	for _, family := range []bench.Family{4, 6} {
		f, birdc := with(t)
		if err := f.Established(t.Context()); err != nil {
			t.Fatal(err)
		}
		table := bench.NewTable(bench.Job{Family: family, Routes: 1000}, 1)
		tell := func(plane int) {
			t.Helper()
			if err := f.Send(t.Context(), plane, append(table.Updates(plane, nil, false), bench.EndOfRIB()...)); err != nil {
				t.Fatal(err)
			}
		}
		has := func(text string) {
			t.Helper()
			testenv.Eventually(t, "BIRD has "+text, func() bool { return strings.Contains(birdc("show", "route", "count"), text) })
		}
		tell(0)
		tell(1)
		has("2000 of 2000 routes for 1000 networks")
		if err := f.Lose(1); err != nil {
			t.Fatal(err)
		}
		has("1000 of 1000 routes for 1000 networks")
		if err := f.Open(1); err != nil {
			t.Fatal(err)
		}
		if err := f.Established(t.Context()); err != nil {
			t.Fatal(err)
		}
		tell(1)
		has("2000 of 2000 routes for 1000 networks")
		one := birdc("show", "route", "all", "for", table.Address(500).String())
		for _, want := range []string{table.NextHop(500, 0).String(), table.NextHop(500, 1).String(), "local_pref: 1100", "cluster_list: 10.127.0.1", "community: (65000,100)"} {
			if !strings.Contains(one, want) {
				t.Errorf("IPv%d: %q is not in:\n%s", family, want, one)
			}
		}
	}
}

func TestWithoutSession(t *testing.T) {
	testenv.RequireRoot(t)
	s, err := site.New(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	f, err := Listen(s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Established(ctx); err == nil {
		t.Error("a session without anybody who calls")
	}
	if err := f.Send(t.Context(), 0, bench.EndOfRIB()); err == nil {
		t.Error("sent to nobody")
	}
	if err := f.Lose(0); err == nil {
		t.Error("lost nobody")
	}
	if _, ok := f.Heard(0, netip.MustParsePrefix("10.0.0.1/32")); ok {
		t.Error("heard of nobody")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
