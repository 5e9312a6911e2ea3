package scenario

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/hostroute/hostroute/internal/lab"
	"github.com/hostroute/hostroute/internal/lab/vm"
)

// Story is a running scenario: what it says, what it has checked and measured.
type Story struct {
	Options
	out       io.Writer
	colour    bool
	steps     int
	step      string
	checks    []check
	measures  []measure
	onFailure []func(io.Writer)
}

type check struct {
	step, what string
	err        error
	took       time.Duration // zero when nothing was waited for
}

type measure struct{ what, value string }

func newStory(opts Options) *Story {
	return &Story{Options: opts, out: opts.Out, colour: coloured(opts.Out)}
}

// Step announces a part of the story and does it. The error, if any, is f's, with the title around it.
func (s *Story) Step(ctx context.Context, title string, f func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	s.steps++
	s.step = title
	s.printf("\n%s\n", s.bold(fmt.Sprintf("%d. %s", s.steps, title)))
	start := time.Now()
	err := f(ctx)
	s.printf("   %s\n", s.dim(short(time.Since(start))))
	if err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	return nil
}

// Say tells something in the words of the story.
func (s *Story) Say(format string, args ...any) {
	s.printf("   %s\n", fmt.Sprintf(format, args...))
}

// Show quotes output, such as that of a command which a user would type.
func (s *Story) Show(command, output string) {
	if command != "" {
		s.printf("   %s\n", s.dim("$ "+command))
	}
	for line := range strings.Lines(strings.TrimRight(output, "\n")) {
		s.printf("     %s\n", strings.TrimRight(line, "\n"))
	}
}

// Check notes whether something is as it should be: err says why it is not. It returns whether it is.
func (s *Story) Check(what string, err error) bool {
	return s.note(check{step: s.step, what: what, err: err})
}

// Eventually waits for a condition and checks that it came in time. It returns how long that took, which is
// the time of the last question asked when it never came.
func (s *Story) Eventually(ctx context.Context, what string, limit time.Duration, ask func() error) (time.Duration, bool) {
	start := time.Now()
	err := lab.Eventually(ctx, what, limit, ask)
	took := time.Since(start)
	return took, s.note(check{step: s.step, what: what, err: err, took: took})
}

// Measure notes a figure for the table, with its unit.
func (s *Story) Measure(what, value string) {
	s.measures = append(s.measures, measure{what, value})
	s.printf("   %s %s: %s\n", s.dim("·"), what, s.bold(value))
}

// MeasureTime notes a duration.
func (s *Story) MeasureTime(what string, d time.Duration) { s.Measure(what, short(d)) }

// OnFailure adds something to print below the table when the scenario has failed, such as logs.
func (s *Story) OnFailure(f func(w io.Writer)) { s.onFailure = append(s.onFailure, f) }

func (s *Story) note(c check) bool {
	s.checks = append(s.checks, c)
	suffix := ""
	if c.took > 0 {
		suffix = " " + s.dim("("+short(c.took)+")")
	}
	if c.err == nil {
		s.printf("   %s %s%s\n", s.green("✓"), c.what, suffix)
		return true
	}
	s.printf("   %s %s%s\n", s.red("✗"), c.what, suffix)
	for line := range strings.Lines(c.err.Error()) {
		s.printf("       %s\n", strings.TrimRight(line, "\n"))
	}
	return false
}

func (s *Story) failures() []check {
	var failed []check
	for _, c := range s.checks {
		if c.err != nil {
			failed = append(failed, c)
		}
	}
	return failed
}

// printf writes to the story's output. There is nowhere to report to when that fails.
func (s *Story) printf(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format, args...) }

func (s *Story) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *Story) bold(text string) string  { return s.paint("1", text) }
func (s *Story) dim(text string) string   { return s.paint("2", text) }
func (s *Story) green(text string) string { return s.paint("32", text) }
func (s *Story) red(text string) string   { return s.paint("31;1", text) }

// coloured says whether the reader of w sees colours.
func coloured(w io.Writer) bool {
	if os.Getenv("NO_COLOR") != "" {
		return false
	}
	if os.Getenv(ColourEnv) == "1" {
		return true
	}
	// In the VM the console is a terminal, whoever watches it outside.
	return os.Getenv(vm.InVMEnv) == "" && IsTerminal(w)
}

// ColourEnv, set to 1, asks for colours where the output only passes through on its way to a terminal.
const ColourEnv = "HOSTROUTE_COLOR"

// IsTerminal says whether somebody watches w.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && st.Mode()&os.ModeDevice != 0 && f.Name() != os.DevNull
}

// short writes a duration as people say it: three digits at most.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.2f ms", d.Seconds()*1e3)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		return d.Round(time.Second).String()
	}
}
