package benchcmd

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/bench/report"
)

// progress tells whoever waits.
type progress struct {
	w           io.Writer
	done, total int
}

// begin says what will be done, and how long that takes.
func (p *progress) begin(what plan, versions []string) {
	fmt.Fprintf(p.w, "comparing %s: %d runs, %s on a machine like a current server, each by turns in a namespace of its own; ^C ends it\n",
		strings.Join(versions, ", "), p.total, roughly(what.estimate()))
	if what.rounds > 1 && what.once > 0 && slices.ContainsFunc(what.jobs, func(j bench.Job) bool { return j.Routes > what.once }) {
		fmt.Fprintf(p.w, "tables of more than %d routes in the first round only (--once 0: in each)\n", what.once)
	}
	if what.frrRoutes > 0 && strings.Contains(joined(what.contenders), nameFRR) {
		fmt.Fprintf(p.w, "FRR has tables up to %d routes only, and in the first round only, because it is slow (--frr-routes 0: all of them)\n", what.frrRoutes)
	}
}

// sample tells what a run came to.
func (p *progress) sample(s bench.Sample) {
	p.done++
	came := fmt.Sprintf("%.3f s, %.2f s of CPU, %.0f MB at most", s.Wall.Seconds(), s.CPU.Seconds(), float64(s.Peak)/1e6)
	if s.Failure != "" {
		came = fmt.Sprintf("failed after %.0f s: %s", s.Wall.Seconds(), s.Failure)
	}
	fmt.Fprintf(p.w, "%*d/%d  round %d, %s, %s: %s\n", len(fmt.Sprint(p.total)), p.done, p.total, s.Round+1, s.Contender, report.Describe(s.Job), came)
}

// perRoute is what a contender takes for a route of a load, very roughly: enough to know whether there is time for a
// coffee.
var perRoute = map[string]time.Duration{nameHostroute: 10 * time.Microsecond, nameBIRD: 45 * time.Microsecond, nameFRR: 120 * time.Microsecond}

// estimate is how long a plan takes, very roughly.
func (p plan) estimate() time.Duration {
	const around = 3 * time.Second // to begin, to settle, to end
	var sum time.Duration
	p.each(func(c string, j bench.Job) { sum += around + time.Duration(j.Routes)*perRoute[c] })
	return sum
}

func roughly(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return "about a minute or two"
	case d < 90*time.Minute:
		return fmt.Sprintf("about %.0f minutes", d.Minutes())
	}
	return fmt.Sprintf("about %.0f hours", d.Hours())
}
