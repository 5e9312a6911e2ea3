package benchcmd

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/hostroute/hostroute/internal/bench"
)

// options are the flags.
type options struct {
	routes, jobs, families, orders, reflectors, contenders string
	frrRoutes, once                                        string
	rounds                                                 int
	limit                                                  time.Duration
	dir                                                    string
	markdown, quick                                        bool
}

const (
	allRoutes = "100k,500k,1M,2M"
	allRounds = 3
	// singles is the size of the table whose routes come one in an UPDATE.
	singles = 100_000
)

// kinds are in the order in which one table is used for them all.
var kinds = []bench.Kind{bench.Load, bench.Churn, bench.Change, bench.Loss, bench.Return, bench.Local, bench.Restart, bench.Single}

func (o *options) register(f *pflag.FlagSet) {
	f.StringVar(&o.routes, "routes", allRoutes, "sizes of the table, `N,...`")
	f.StringVar(&o.jobs, "jobs", joined(kinds), "what is to be done, `JOB,...`")
	f.StringVar(&o.families, "family", "4,6", "of IP, `4,6` or one of them")
	f.StringVar(&o.orders, "order", "random", "of addresses, `random,sequential` or one of them")
	f.StringVar(&o.reflectors, "reflectors", "2", "route reflectors, `1,2` or one of them; with two each route has two equal paths")
	f.StringVar(&o.contenders, "contenders", joined(names), "who is compared, `NAME,...`, in this order in each round")
	f.StringVar(&o.frrRoutes, "frr-routes", "100k", "FRR does tables up to `N` routes, and in the first round only; 0 is all of them, in each round")
	f.IntVar(&o.rounds, "rounds", allRounds, "how often each of them does everything")
	f.StringVar(&o.once, "once", "500k", "tables of more than `N` routes, which take minutes, in the first round only; 0 is all in each round")
	f.DurationVar(&o.limit, "limit", 2*time.Minute, "stop a contender that needs this long for a job, if that is ten times what the first one needed")
	f.StringVar(&o.dir, "dir", "", "write report.json, report.md and plots into `DIR`, and keep configurations and logs there")
	f.BoolVar(&o.markdown, "markdown", false, "write the table in Markdown")
	f.BoolVar(&o.quick, "quick", false, "100k routes and one round, unless said otherwise")
}

// settle has --quick change what the user didn't say.
func (o *options) settle(f *pflag.FlagSet) {
	if !o.quick {
		return
	}
	if !f.Changed("routes") {
		o.routes = "100k"
	}
	if !f.Changed("rounds") {
		o.rounds = 1
	}
}

// plan is what the options mean.
type plan struct {
	jobs       []bench.Job
	contenders []string
	rounds     int
	frrRoutes  int // 0: no limit
	once       int // larger tables are done once; 0: none is
}

// parse understands the options; errors name the flag, the value and what is allowed.
func (o *options) parse() (plan, error) {
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	routes, err := list("--routes", o.routes, size)
	note(err)
	jobs, err := list("--jobs", o.jobs, oneOf(kinds...))
	note(err)
	families, err := list("--family", o.families, oneOf("4", "6"))
	note(err)
	orders, err := list("--order", o.orders, oneOf("random", "sequential"))
	note(err)
	reflectors, err := list("--reflectors", o.reflectors, oneOf("1", "2"))
	note(err)
	contenders, err := list("--contenders", o.contenders, oneOf(names...))
	note(err)
	p := plan{contenders: contenders, rounds: o.rounds}
	if o.frrRoutes != "0" {
		if p.frrRoutes, err = size(o.frrRoutes); err != nil {
			note(fmt.Errorf("--frr-routes: %w, or 0", err))
		}
	}
	if o.once != "0" {
		if p.once, err = size(o.once); err != nil {
			note(fmt.Errorf("--once: %w, or 0", err))
		}
	}
	if o.rounds < 1 {
		note(fmt.Errorf("--rounds: %d is not 1 or more", o.rounds))
	}
	if o.limit <= 0 {
		note(fmt.Errorf("--limit: %s is not more than 0", o.limit))
	}
	if err := errors.Join(errs...); err != nil {
		return plan{}, err
	}
	for _, n := range reflectors {
		for _, f := range families {
			for _, order := range orders {
				p.jobs = append(p.jobs, table(jobs, routes, bench.Job{Family: bench.Family(f[0] - '0'), Sequential: order == "sequential", Reflectors: int(n[0] - '0')})...)
			}
		}
	}
	if len(p.jobs) == 0 {
		return plan{}, errors.New("--jobs: with one reflector none is lost, and none comes back")
	}
	return p, nil
}

// table has the jobs of a kind of table: those that one table of a size is for follow each other.
func table(wanted []bench.Kind, routes []int, j bench.Job) []bench.Job {
	var jobs []bench.Job
	for _, n := range routes {
		for _, k := range kinds {
			needsTwo := k == bench.Loss || k == bench.Return || k == bench.Local
			if k == bench.Single || !slices.Contains(wanted, k) || needsTwo && j.Reflectors < 2 {
				continue
			}
			j.Kind, j.Routes = k, n
			jobs = append(jobs, j)
		}
	}
	if slices.Contains(wanted, bench.Single) {
		j.Kind, j.Routes = bench.Single, min(singles, slices.Max(routes))
		jobs = append(jobs, j)
	}
	return jobs
}

// skip says what a contender isn't given: FRR what would take it most of everybody's time.
// Rounds begin with 0.
func (p plan) skip(contender string, j bench.Job, round int) bool {
	if round > 0 && p.once > 0 && j.Routes > p.once {
		return true
	}
	if j.Kind == bench.Local || j.Kind == bench.Restart { // they follow no log, and lose their routes
		return contender != nameHostroute
	}
	return contender == nameFRR && p.frrRoutes > 0 && (round > 0 || j.Routes > p.frrRoutes)
}

// runs is how many samples there will be.
func (p plan) runs() int {
	n := 0
	p.each(func(string, bench.Job) { n++ })
	return n
}

func (p plan) each(f func(contender string, j bench.Job)) {
	for round := range p.rounds {
		for _, c := range p.contenders {
			for _, j := range p.jobs {
				if !p.skip(c, j, round) {
					f(c, j)
				}
			}
		}
	}
}

// list splits a flag's value. Something that is named twice would be measured twice and counted as one.
func list[T comparable](flag, value string, parse func(string) (T, error)) ([]T, error) {
	var all []T
	for _, word := range strings.Split(value, ",") {
		v, err := parse(strings.TrimSpace(word))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		if slices.Contains(all, v) {
			return nil, fmt.Errorf("%s: %s is there twice", flag, word)
		}
		all = append(all, v)
	}
	return all, nil
}

// maxRoutes is what random addresses are enough for, with room.
const maxRoutes = 10_000_000

// size understands numbers of routes such as 5000, 100k and 2M.
func size(word string) (int, error) {
	number, factor := word, 1
	for suffix, f := range map[string]int{"k": 1_000, "M": 1_000_000} {
		if n, ok := strings.CutSuffix(word, suffix); ok {
			number, factor = n, f
		}
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > maxRoutes/factor {
		return 0, fmt.Errorf("%q is not a number of routes up to 10M, such as 100k", word)
	}
	return n * factor, nil
}

// oneOf takes certain words only.
func oneOf[T ~string](allowed ...T) func(string) (T, error) {
	return func(word string) (T, error) {
		if !slices.Contains(allowed, T(word)) {
			return "", fmt.Errorf("%q is not one of %s", word, joined(allowed))
		}
		return T(word), nil
	}
}

func joined[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = string(w)
	}
	return strings.Join(words, ",")
}
