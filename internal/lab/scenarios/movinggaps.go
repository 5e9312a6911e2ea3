package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
	"github.com/hostroute/hostroute/internal/lab/scenario"
)

// gaps are the longest outages of each flow, one a move.
type gaps struct {
	rows   []string
	all    map[string]map[string][]time.Duration // by row and column
	lost   int
	pauses []time.Duration
}

// gapColumns are families and directions.
var gapColumns = []string{"IPv4 to it", "IPv4 from it", "IPv6 to it", "IPv6 from it"}

func newGaps() *gaps { return &gaps{all: map[string]map[string][]time.Duration{}} }

func (g *gaps) add(row string, family int, way string, l lab.FlowLoss) {
	if g.all[row] == nil {
		g.rows = append(g.rows, row)
		g.all[row] = map[string][]time.Duration{}
	}
	column := fmt.Sprintf("IPv%d %s", family, way)
	g.all[row][column] = append(g.all[row][column], l.Outage)
	g.lost += l.Lost
}

// forget leaves a row out of what is judged.
func (g *gaps) forget(row string) {
	delete(g.all, row)
	g.rows = slices.DeleteFunc(g.rows, func(r string) bool { return r == row })
}

// column lists the gaps of a family and direction, whoever the peer.
func (g *gaps) column(name string) (all []time.Duration) {
	for _, row := range g.all {
		all = append(all, row[name]...)
	}
	return all
}

// spread is the median and the worst.
func spread(list []time.Duration) (median, worst time.Duration) {
	if len(list) == 0 {
		return 0, 0
	}
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2], list[len(list)-1]
}

// table has a row for each kind of peer.
func (g *gaps) table() string {
	var b strings.Builder
	columns := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columns, "MEDIAN / WORST, ms\t"+strings.ToUpper(strings.Join(gapColumns, "\t")))
	for _, row := range slices.Sorted(slices.Values(g.rows)) {
		cells := []string{row}
		for _, c := range gapColumns {
			cell := ""
			if list := g.all[row][c]; len(list) > 0 {
				median, worst := spread(list)
				cell = fmt.Sprintf("%d / %d", median.Milliseconds(), worst.Milliseconds())
			}
			cells = append(cells, cell)
		}
		fmt.Fprintln(columns, strings.Join(cells, "\t"))
	}
	_ = columns.Flush() // into memory
	return b.String()
}

// bounds are how much longer than its pause a guest may be out of reach.
const (
	medianBeyondPause = 50 * time.Millisecond
	worstBeyondPause  = 300 * time.Millisecond
)

// tell prints the gaps and wants them within the bounds, as far as this machine
// is meant for them.
func (g *gaps) tell(s *scenario.Story, what string) {
	s.Show("", g.table())
	pause, longest := spread(g.pauses)
	for _, c := range gapColumns {
		if median, worst := spread(g.column(c)); len(g.column(c)) > 0 {
			s.Measure(what+": gap, "+c, fmt.Sprintf("median %d ms, worst %d ms, %d moves", median.Milliseconds(), worst.Milliseconds(), len(g.pauses)))
		}
	}
	if longest > 0 {
		s.Measure(what+": of which the guest was paused", fmt.Sprintf("median %d ms, longest %d ms", pause.Milliseconds(), longest.Milliseconds()))
	}
	atMost := pause + stretched(medianBeyondPause)
	if !s.Short { // a few moves have no median worth the name
		s.Check(fmt.Sprintf("%s: the median gap is within %d ms, both families, both ways", what, atMost.Milliseconds()), g.within(atMost, func(l []time.Duration) time.Duration { m, _ := spread(l); return m }))
	}
	atMost = longest + stretched(worstBeyondPause)
	if lab.TimeFactor() > 1 { // every step may wait for the processor
		atMost = longest + stretched(time.Second)
	}
	s.Check(fmt.Sprintf("%s: the worst gap is within %d ms", what, atMost.Milliseconds()), g.within(atMost, func(l []time.Duration) time.Duration { _, w := spread(l); return w }))
}

func (g *gaps) within(limit time.Duration, figure func([]time.Duration) time.Duration) error {
	for _, c := range gapColumns {
		if got := figure(g.column(c)); got > limit {
			return fmt.Errorf("%s it is %d ms", c, got.Milliseconds())
		}
	}
	return nil
}
