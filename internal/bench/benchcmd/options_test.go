package benchcmd

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/hostroute/hostroute/internal/bench"
)

func parse(t *testing.T, args ...string) (plan, options, error) {
	t.Helper()
	var o options
	f := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	o.register(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	o.settle(f)
	p, err := o.parse()
	return p, o, err
}

func TestWhatFlagsCome(t *testing.T) {
	load4 := bench.Job{Kind: bench.Load, Family: 4, Routes: 100_000, Reflectors: 2}
	with := func(change func(*bench.Job)) bench.Job { j := load4; change(&j); return j }
	for _, tc := range []struct {
		name string
		args []string
		jobs []bench.Job
		runs int
	}{
		{"quick", []string{"--quick", "--jobs", "load", "--family", "4"}, []bench.Job{load4}, 3},
		{"quick with what was said", []string{"--quick", "--jobs", "load", "--family", "4", "--routes", "5000", "--rounds", "2"},
			[]bench.Job{with(func(j *bench.Job) { j.Routes = 5000 })}, 5}, // FRR once
		{"jobs of one table together, in their own order", []string{"--routes", "100k,2M", "--family", "4", "--jobs", "return,loss,load", "--rounds", "1", "--contenders", "bird"},
			[]bench.Job{load4, with(func(j *bench.Job) { j.Kind = bench.Loss }), with(func(j *bench.Job) { j.Kind = bench.Return }),
				with(func(j *bench.Job) { j.Routes = 2_000_000 }), with(func(j *bench.Job) { j.Kind, j.Routes = bench.Loss, 2_000_000 }),
				with(func(j *bench.Job) { j.Kind, j.Routes = bench.Return, 2_000_000 })}, 6},
		{"nothing is lost with one reflector", []string{"--routes", "100k", "--family", "4", "--jobs", "load,loss", "--reflectors", "1", "--contenders", "bird", "--rounds", "1"},
			[]bench.Job{with(func(j *bench.Job) { j.Reflectors = 1 })}, 1},
		{"single has its own size", []string{"--routes", "1M,2M", "--family", "6", "--jobs", "single", "--order", "sequential", "--contenders", "bird,hostroute", "--rounds", "3"},
			[]bench.Job{with(func(j *bench.Job) { j.Kind, j.Family, j.Sequential = bench.Single, 6, true })}, 6},
		{"what hostroute only can do", []string{"--routes", "100k", "--family", "4", "--jobs", "restart", "--frr-routes", "0"},
			[]bench.Job{with(func(j *bench.Job) { j.Kind = bench.Restart })}, 3},
		{"FRR in full", []string{"--routes", "100k", "--family", "4", "--jobs", "load", "--contenders", "frr", "--frr-routes", "0"}, []bench.Job{load4}, 3},
		{"large tables once", []string{"--routes", "500k,1M", "--family", "4", "--jobs", "load", "--contenders", "bird"},
			[]bench.Job{with(func(j *bench.Job) { j.Routes = 500_000 }), with(func(j *bench.Job) { j.Routes = 1_000_000 })}, 4},
		{"large tables as often", []string{"--routes", "500k,1M", "--family", "4", "--jobs", "load", "--contenders", "bird", "--once", "0"},
			[]bench.Job{with(func(j *bench.Job) { j.Routes = 500_000 }), with(func(j *bench.Job) { j.Routes = 1_000_000 })}, 6},
		{"FRR gets no larger table", []string{"--routes", "100k", "--family", "4", "--jobs", "load", "--contenders", "frr", "--frr-routes", "99k"}, []bench.Job{load4}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, _, err := parse(t, tc.args...)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(p.jobs, tc.jobs) {
				t.Errorf("jobs:\n%+v\nwant\n%+v", p.jobs, tc.jobs)
			}
			if p.runs() != tc.runs {
				t.Errorf("%d runs, want %d", p.runs(), tc.runs)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	p, o, err := parse(t)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.jobs) != 2*(4*7+1) || p.rounds != 3 || o.limit != 2*time.Minute || !slices.Equal(p.contenders, []string{"hostroute", "bird", "frr"}) {
		t.Errorf("%d jobs, %d rounds, limit %s, %v", len(p.jobs), p.rounds, o.limit, p.contenders)
	}
}

func TestWrongFlagsSayWhatIsAllowed(t *testing.T) {
	for _, tc := range []struct{ flag, value, want string }{
		{"routes", "many", `--routes: "many" is not a number of routes`},
		{"routes", "11M", "up to 10M"},
		{"routes", "0", "is not a number of routes"},
		{"routes", "1k,1000", "--routes: 1000 is there twice"},
		{"routes", "9999999999999M", "is not a number of routes"},
		{"jobs", "load,unload", `--jobs: "unload" is not one of load,churn,change,loss,return,local,restart,single`},
		{"family", "5", `--family: "5" is not one of 4,6`},
		{"order", "", `--order: "" is not one of random,sequential`},
		{"reflectors", "3", `--reflectors: "3" is not one of 1,2`},
		{"contenders", "gobgp", `--contenders: "gobgp" is not one of hostroute,bird,frr`},
		{"contenders", "bird,bird", "bird is there twice"},
		{"frr-routes", "-1", "--frr-routes:"},
		{"rounds", "0", "--rounds: 0 is not 1 or more"},
		{"limit", "0s", "--limit: 0s is not more than 0"},
	} {
		if _, _, err := parse(t, "--"+tc.flag+"="+tc.value); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("--%s %q: %v, want %q", tc.flag, tc.value, err, tc.want)
		}
	}
	if _, _, err := parse(t, "--jobs=loss,return", "--reflectors=1"); err == nil {
		t.Error("nothing to do, and no error")
	}
}

func TestProgressTellsFiguresOrTheReason(t *testing.T) {
	var b bytes.Buffer
	p := &progress{w: &b, total: 12}
	j := bench.Job{Kind: bench.Load, Family: 4, Routes: 1000, Reflectors: 2}
	p.sample(bench.Sample{Contender: "bird", Job: j, Wall: 1500 * time.Millisecond, CPU: time.Second, Peak: 7e6})
	p.sample(bench.Sample{Contender: "frr", Job: j, Wall: 120 * time.Second, Failure: "over the limit"})
	want := " 1/12  round 1, bird, load: 1,000 routes, IPv4, random, 2 reflectors: 1.500 s, 1.00 s of CPU, 7 MB at most\n" +
		" 2/12  round 1, frr, load: 1,000 routes, IPv4, random, 2 reflectors: failed after 120 s: over the limit\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}
