package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/internal/bench"
)

// Variant is a task that was done with tables of several sizes: all of a job but the number of routes, which is 0.
type Variant bench.Job

// Name is that of a file with the variant's plot, without its ending.
func (v Variant) Name() string {
	order := "random"
	if v.Sequential {
		order = "sequential"
	}
	return fmt.Sprintf("%s-ipv%d-%s-%drr", v.Kind, v.Family, order, v.Reflectors)
}

// Variants are those that a plot is of use for: loads with two sizes or more.
func Variants(results []bench.Result) []Variant {
	var all, several []Variant
	first := map[Variant]int{}
	for _, r := range results {
		v := Variant(r.Job)
		v.Routes = 0
		if r.Job.Kind != bench.Load || r.Samples == 0 || slices.Contains(several, v) {
			continue
		}
		if !slices.Contains(all, v) {
			all, first[v] = append(all, v), r.Job.Routes
		} else if first[v] != r.Job.Routes {
			several = append(several, v)
		}
	}
	return several
}

// style colours the plot, for light and dark backgrounds. The colours are told apart by colour-blind people (Okabe and
// Ito), and nothing hangs on them: lines have their own marks and their names at the end.
const style = `<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 } .small { font-size: 11px; fill: #57606a }
.paper { fill: #ffffff } .grid { stroke: #d0d7de } .end { font-weight: 600 }
.line { fill: none; stroke-width: 2 } .spread { stroke-width: 1.5 }
.c0 { stroke: #0072b2; fill: #0072b2 } .c1 { stroke: #d55e00; fill: #d55e00 } .c2 { stroke: #007a58; fill: #007a58 } .c3 { stroke: #8250a8; fill: #8250a8 }
text.end { stroke: #ffffff; stroke-width: 4px; paint-order: stroke } .line.c0, .line.c1, .line.c2, .line.c3 { fill: none }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .small { fill: #9da7b1 } text.end { stroke: #0d1117 } .paper { fill: #0d1117 } .grid { stroke: #30363d }
.c0 { stroke: #56b4e9; fill: #56b4e9 } .c1 { stroke: #ff9a3d; fill: #ff9a3d } .c2 { stroke: #2fc79b; fill: #2fc79b } .c3 { stroke: #cc9ae6; fill: #cc9ae6 }
}
</style>`

const (
	plotWidth, plotHeight = 860, 400
	panelTop, panelBottom = 78, 330
)

// SVG draws wall time and peak memory against the number of routes, a line for each contender, with the least and the
// greatest of each point. Both axes begin at zero and are linear: twice as high is twice as much.
func SVG(w io.Writer, h Header, results []bench.Result, v Variant) error {
	of := slices.DeleteFunc(slices.Clone(results), func(r bench.Result) bool {
		j := r.Job
		j.Routes = 0
		return Variant(j) != v || r.Samples == 0
	})
	title, _, _ := strings.Cut(Describe(bench.Job(v)), ":")
	_, rest, _ := strings.Cut(Describe(bench.Job(v)), "routes, ")
	out := []string{
		fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">`, plotWidth, plotHeight, escape(title+", "+rest)),
		style, fmt.Sprintf(`<rect class="paper" width="%d" height="%d" rx="6"/>`, plotWidth, plotHeight),
		label(24, 30, "title", "start", fmt.Sprintf("Routes from BGP into the kernel: %s, %s", title, rest)),
		label(24, plotHeight-14, "small", "start", about(h)),
	}
	out = append(out, panel{left: 56, right: 310, title: "seconds until the kernel has them", figure: func(r bench.Result) bench.Spread { return r.Wall }, format: seconds}.draw(of)...)
	out = append(out, panel{left: 482, right: 716, title: "MB of memory at most", figure: megabyteSpread, format: func(f float64) string { return fmt.Sprintf("%.0f", f) }}.draw(of)...)
	_, err := fmt.Fprintln(w, strings.Join(append(out, "</svg>"), "\n"))
	return err
}

func megabyteSpread(r bench.Result) bench.Spread {
	return bench.Spread{Median: r.Peak.Median / 1e6, Least: r.Peak.Least / 1e6, Greatest: r.Peak.Greatest / 1e6}
}

// panel is one of the two diagrams.
type panel struct {
	left, right float64
	title       string
	figure      func(bench.Result) bench.Spread
	format      func(float64) string
	maxX, maxY  float64
}

func (p panel) x(routes float64) float64 { return p.left + (p.right-p.left)*routes/p.maxX }

func (p panel) y(figure float64) float64 {
	return panelBottom - (panelBottom-panelTop)*figure/p.maxY
}

func (p panel) draw(results []bench.Result) []string {
	for _, r := range results {
		p.maxX, p.maxY = max(p.maxX, float64(r.Job.Routes)), max(p.maxY, p.figure(r).Greatest)
	}
	p.maxY = max(p.maxY, 1e-3)
	out := append([]string{label(p.left, panelTop-18, "", "start", p.title)}, p.grid()...)
	var names []string
	for _, r := range results {
		if !slices.Contains(names, r.Contender) {
			names = append(names, r.Contender)
		}
	}
	var ends []end
	for _, name := range names {
		lines, e := p.line(name, results)
		out, ends = append(out, lines...), append(ends, e)
	}
	return append(out, labels(ends)...)
}

func (p panel) grid() []string {
	var out []string
	for f := 0.0; f <= p.maxY*1.001; f += step(p.maxY) {
		out = append(out, fmt.Sprintf(`<path class="grid" d="M%.1f %.1fH%.1f"/>`, p.left, p.y(f), p.right),
			label(p.left-8, p.y(f)+4, "small", "end", short(f)))
	}
	for n := step(p.maxX); n <= p.maxX*1.001; n += step(p.maxX) {
		out = append(out, label(p.x(n), panelBottom+18, "small", "middle", short(n)))
	}
	return append(out, label((p.left+p.right)/2, panelBottom+36, "small", "middle", "routes"))
}

// end is a line's last point, where its name stands.
type end struct {
	x, y float64
	of   int
	text string
}

// line draws what a contender needed, smallest table first.
func (p panel) line(name string, results []bench.Result) ([]string, end) {
	own := slices.DeleteFunc(slices.Clone(results), func(r bench.Result) bool { return r.Contender != name })
	slices.SortStableFunc(own, func(a, b bench.Result) int { return a.Job.Routes - b.Job.Routes })
	c := colour(name)
	var points []string
	var marks []string
	var last end
	for _, r := range own {
		f := p.figure(r)
		x, y := p.x(float64(r.Job.Routes)), p.y(f.Median)
		points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
		marks = append(marks, fmt.Sprintf(`<path class="spread c%d" d="M%.1f %.1fV%.1f"/>`, c, x, p.y(f.Least), p.y(f.Greatest)), mark(c, x, y))
		last = end{x, y, c, name + " " + p.format(f.Median)}
		if float64(r.Job.Routes) < p.maxX {
			last.text += " for " + short(float64(r.Job.Routes)) // there is no figure for more
		}
	}
	return append([]string{fmt.Sprintf(`<polyline class="line c%d" points="%s"/>`, c, strings.Join(points, " "))}, marks...), last
}

// labels are the names at the ends of the lines, apart from each other where two lines end in the same place.
func labels(ends []end) []string {
	const apart, near = 16, 90
	slices.SortStableFunc(ends, func(a, b end) int { return int(b.y - a.y) }) // the lowest first
	var out []string
	for i := range ends {
		for j := range i {
			if math.Abs(ends[i].x-ends[j].x) < near && ends[i].y > ends[j].y-apart {
				ends[i].y = ends[j].y - apart
			}
		}
		out = append(out, label(ends[i].x+10, ends[i].y+4, fmt.Sprintf("end c%d", ends[i].of), "start", ends[i].text))
	}
	return out
}

func colour(contender string) int {
	if i := slices.Index([]string{"hostroute", "bird", "frr"}, contender); i >= 0 {
		return i
	}
	return 3
}

// mark is another one for each colour.
func mark(c int, x, y float64) string {
	switch c {
	case 0:
		return fmt.Sprintf(`<circle class="c0" cx="%.1f" cy="%.1f" r="4"/>`, x, y)
	case 1:
		return fmt.Sprintf(`<rect class="c1" x="%.1f" y="%.1f" width="8" height="8"/>`, x-4, y-4)
	}
	return fmt.Sprintf(`<path class="c%d" d="M%.1f %.1fl5 9h-10z"/>`, c, x, y-5)
}

// step is the distance of lines of a grid, 1, 2 or 5 by a power of ten, so that there are 3 to 6.
func step(most float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(most)))
	for _, s := range []float64{0.2, 0.5, 1} {
		if most/(power*s) <= 6 {
			return power * s
		}
	}
	return power * 2
}

// short is a number for an axis.
func short(f float64) string {
	if f >= 1e6 {
		return fmt.Sprintf("%gM", f/1e6)
	}
	if f >= 1e4 {
		return fmt.Sprintf("%gk", f/1e3)
	}
	return fmt.Sprintf("%.4g", f)
}

func label(x, y float64, class, anchor, text string) string {
	return fmt.Sprintf(`<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, class, x, y, anchor, escape(text))
}

func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(text)
}
