package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/internal/bench"
)

// measure is the contender that the others are compared with.
const measure = "bird"

// headings are those of the columns that follow the contender. The first three are ratios to BIRD.
var headings = []string{"wall ÷ BIRD", "CPU ÷ BIRD", "memory ÷ BIRD", "wall s (least–greatest)", "CPU s", "peak MB", "settled MB", "runs"}

// Text writes the table that people read in a terminal.
func Text(w io.Writer, h Header, samples []bench.Sample) error {
	results := Summarize(samples)
	rows := [][]string{append([]string{""}, headings...)}
	for _, r := range results {
		rows = append(rows, append([]string{"  " + r.Contender}, cells(r, results)...))
	}
	lines := align(rows)
	out := []string{about(h), ""}
	for i, r := range results {
		if i == 0 || results[i-1].Job != r.Job {
			if i > 0 {
				out = append(out, "")
			}
			out = append(out, Describe(r.Job), lines[0])
		}
		out = append(out, lines[i+1])
		for _, remark := range remarks(r, samples) {
			out = append(out, "    "+remark)
		}
	}
	_, err := fmt.Fprintln(w, strings.Join(out, "\n"))
	return err
}

// Markdown writes the same table for documents.
func Markdown(w io.Writer, h Header, samples []bench.Sample) error {
	results := Summarize(samples)
	out := []string{about(h), "",
		"| job | | " + strings.Join(headings, " | ") + " |", "|---|---|" + strings.Repeat("---:|", len(headings))}
	for i, r := range results {
		job := ""
		if i == 0 || results[i-1].Job != r.Job {
			job = Describe(r.Job)
		}
		row := append([]string{job, r.Contender}, cells(r, results)...)
		out = append(out, "| "+strings.Join(row, " | ")+" |")
	}
	out = append(out, "")
	for _, r := range results {
		for _, remark := range remarks(r, samples) {
			out = append(out, fmt.Sprintf("- %s, %s: %s", Describe(r.Job), r.Contender, strings.ReplaceAll(remark, "\n", " ")))
		}
	}
	_, err := fmt.Fprintln(w, strings.TrimRight(strings.Join(out, "\n"), "\n"))
	return err
}

// Describe says in words what a job is.
func Describe(j bench.Job) string {
	what := map[bench.Kind]string{
		bench.Load: "load", bench.Churn: "a tenth moves", bench.Loss: "a reflector is lost", bench.Return: "a reflector is back",
		bench.Single: "one route per UPDATE", bench.Change: "single routes move", bench.Local: "own routes are announced, a reflector is lost",
		bench.Restart: "killed and started again",
	}[j.Kind]
	if what == "" {
		what = string(j.Kind)
	}
	order := "random"
	if j.Sequential {
		order = "sequential"
	}
	reflectors := "1 reflector"
	if j.Reflectors != 1 {
		reflectors = fmt.Sprintf("%d reflectors", j.Reflectors)
	}
	return fmt.Sprintf("%s: %s routes, IPv%d, %s, %s", what, thousands(j.Routes), j.Family, order, reflectors)
}

// about is the header in words.
func about(h Header) string {
	rounds := "1 round"
	if h.Rounds != 1 {
		rounds = fmt.Sprintf("%d rounds", h.Rounds)
	}
	if h.Interrupted {
		rounds += " planned, but interrupted"
	}
	return fmt.Sprintf("%s; %s, %d cores of %s, %.0f GB; %s; %s.", h.Date.Format("2006-01-02 15:04 MST"), h.Kernel, h.Cores, h.CPU,
		float64(h.Memory)/1e9, strings.Join(h.Versions, ", "), rounds)
}

// cells are what a result has under the headings.
func cells(r bench.Result, all []bench.Result) []string {
	switch {
	case r.Samples == 0 && r.Wall.Greatest == 0: // a job before it came to nothing
		return []string{"-", "-", "-", "not tried", "-", "-", "-", "0"}
	case r.Samples == 0:
		return []string{"-", "-", "-", fmt.Sprintf("not in %s", seconds(r.Wall.Greatest)), "-", "-", "-", "0"}
	}
	bird := bench.Result{}
	if i := slices.IndexFunc(all, func(o bench.Result) bool { return o.Job == r.Job && o.Contender == measure }); i >= 0 {
		bird = all[i]
	}
	wall := seconds(r.Wall.Median)
	if r.Samples > 1 {
		wall += fmt.Sprintf(" (%s–%s)", seconds(r.Wall.Least), seconds(r.Wall.Greatest))
	}
	return []string{ratio(r.Wall, bird.Wall, bird.Samples), ratio(r.CPU, bird.CPU, bird.Samples), ratio(r.Peak, bird.Peak, bird.Samples),
		wall, seconds(r.CPU.Median), megabytes(r.Peak.Median), megabytes(r.Settled.Median), fmt.Sprint(r.Samples)}
}

func ratio(of, to bench.Spread, samples int) string {
	if samples == 0 || to.Median == 0 {
		return "-"
	}
	r := of.Median / to.Median
	if r < 0.1 {
		return fmt.Sprintf("%.2g×", r)
	}
	return fmt.Sprintf("%.2f×", r)
}

// seconds has three digits that mean something, for nobody can measure more.
func seconds(s float64) string {
	switch {
	case s < 1:
		return fmt.Sprintf("%.3f", s)
	case s < 10:
		return fmt.Sprintf("%.2f", s)
	case s < 100:
		return fmt.Sprintf("%.1f", s)
	}
	return fmt.Sprintf("%.0f", s)
}

func megabytes(b float64) string { return fmt.Sprintf("%.0f", b/1e6) }

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// align makes lines of rows: the first column to the left, the others to the right.
func align(rows [][]string) []string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	lines := make([]string, len(rows))
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i == 0 {
				b.WriteString(cell + pad)
			} else {
				b.WriteString("  " + pad + cell)
			}
		}
		lines[n] = strings.TrimRight(b.String(), " ")
	}
	return lines
}
