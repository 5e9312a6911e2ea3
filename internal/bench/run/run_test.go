package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/bench/contender"
	"github.com/hostroute/hostroute/internal/testenv"
)

// The environment may name a program that is built already, another number of routes, and
// some of the jobs, for trying things out:
//
//	BENCH_HOSTROUTE=bin/hostroute BENCH_ROUTES=1000000 BENCH_JOBS=load,loss go test -v -run TestAComparison ./internal/bench/run

// hostroute builds the program, or takes the one that is named.
func hostroute(t *testing.T) *contender.Hostroute {
	t.Helper()
	if path := os.Getenv("BENCH_HOSTROUTE"); path != "" {
		return contender.NewHostroute(path)
	}
	path := filepath.Join(t.TempDir(), "hostroute")
	build := exec.Command("go", "build", "-o", path, "./cmd/hostroute")
	build.Dir = testenv.ModuleRoot(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building hostroute: %v: %s", err, out)
	}
	return contender.NewHostroute(path)
}

func routes() int {
	if n, err := strconv.Atoi(os.Getenv("BENCH_ROUTES")); err == nil {
		return n
	}
	return 5000
}

func allJobs(f bench.Family, n int) (list []bench.Job) {
	kinds := []bench.Kind{bench.Load, bench.Churn, bench.Change, bench.Loss, bench.Return, bench.Local, bench.Restart, bench.Single}
	if some := os.Getenv("BENCH_JOBS"); some != "" {
		kinds = nil
		for k := range strings.SplitSeq(some, ",") {
			kinds = append(kinds, bench.Kind(k))
		}
	}
	for _, k := range kinds {
		list = append(list, bench.Job{Kind: k, Family: f, Routes: n, Reflectors: 2})
	}
	return list
}

// TestAComparison has hostroute and BIRD do every job with few routes. That a sample has
// no failure says that the kernel had exactly the right table in the end.
func TestAComparison(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireTool(t, "bird")
	ours := hostroute(t)
	for _, f := range []bench.Family{4, 6} {
		t.Run(fmt.Sprintf("IPv%d", f), func(t *testing.T) { compare(t, f, ours, contender.NewBIRD()) })
	}
}

func compare(t *testing.T, f bench.Family, contenders ...contender.Contender) {
	jobs, seen := allJobs(f, routes()), 0
	dir := t.TempDir()
	samples, err := Run(t.Context(), Plan{Jobs: jobs, Contenders: contenders, Rounds: 1, Dir: dir, Observe: func(s bench.Sample) {
		seen++
		t.Logf("%s %s: wall %v, CPU %v, peak %d MB, settled %d MB, delays %+v, idle %+v, %d writes of %d, %s",
			s.Contender, s.Job.Kind, s.Wall, s.CPU, s.Peak>>20, s.Settled>>20, s.Delays, s.Idle, s.Writes, s.Differ, s.Failure)
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, c := range contenders {
		for _, j := range jobs {
			if able(c, j.Kind) {
				want++
			}
		}
	}
	if len(samples) != want || seen != want {
		t.Errorf("%d samples, %d were observed; want %d", len(samples), seen, want)
	}
	for _, s := range samples {
		check(t, s)
		if s.Failure != "" {
			show(t, dir)
		}
	}
}

func check(t *testing.T, s bench.Sample) {
	t.Helper()
	name := s.Contender + " " + string(s.Job.Kind)
	if s.Failure != "" {
		t.Errorf("%s: %s", name, s.Failure)
		return
	}
	if s.Wall <= 0 || s.Peak == 0 || s.Settled == 0 || s.Peak < s.Settled {
		t.Errorf("%s: %+v", name, s)
	}
	if delays := s.Job.Kind == bench.Change || s.Job.Kind == bench.Local; (s.Delays != nil) != delays {
		t.Errorf("%s: delays %v", name, s.Delays)
	}
	if d := s.Delays; d != nil && (d.Count < 100 || d.Median <= 0 || d.Median > d.P99 || d.P99 > d.Greatest) {
		t.Errorf("%s: delays %+v", name, d)
	}
	if s.Job.Kind == bench.Restart && (s.Differ == 0 || s.Writes < s.Differ) {
		t.Errorf("%s: %d writes for %d routes", name, s.Writes, s.Differ)
	}
}

// show logs the last words of the contenders.
func show(t *testing.T, dir string) {
	logs, _ := filepath.Glob(filepath.Join(dir, "*", "*.log"))
	for _, l := range logs {
		text, _ := os.ReadFile(l)
		t.Logf("%s: %s", l, text[max(0, len(text)-2000):])
	}
}

func TestAContenderThatCannotStartIsReported(t *testing.T) {
	testenv.RequireRoot(t)
	c := contender.NewHostroute("/no/such/program")
	samples, err := Run(t.Context(), Plan{Jobs: allJobs(4, 100)[:2], Contenders: []contender.Contender{c}, Dir: t.TempDir()})
	if err != nil || len(samples) != 2 {
		t.Fatalf("%d samples, %v", len(samples), err)
	}
	for _, s := range samples {
		if s.Failure == "" {
			t.Errorf("%s: no failure", s.Job.Kind)
		}
	}
}

func TestTheEndOfTheContextLeavesNothing(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireTool(t, "bird")
	ctx, cancel := context.WithCancel(t.Context())
	b := contender.NewBIRD()
	_, err := Run(ctx, Plan{Jobs: allJobs(4, 100)[:2], Contenders: []contender.Contender{b}, Dir: t.TempDir(), Observe: func(bench.Sample) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
	if pids := b.Pids(); len(pids) > 0 {
		t.Errorf("BIRD still runs: %v", pids)
	}
	entries, err := os.ReadDir("/run/netns")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), fmt.Sprintf("hrbench-%d-", os.Getpid())) {
			t.Errorf("%s is still there", e.Name())
		}
	}
}

func TestChains(t *testing.T) {
	jobs := allJobs(4, 100)
	jobs = append(jobs, allJobs(6, 100)[1])
	list := chains(jobs)
	if len(list) != 3 || len(list[0]) != 7 || list[1][0].Kind != bench.Single || list[2][0].Kind != bench.Churn {
		t.Errorf("chains: %v", list)
	}
}
