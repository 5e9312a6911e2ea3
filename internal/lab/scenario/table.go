package scenario

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// table prints what was checked, step by step, and what was measured.
func (s *Story) table() {
	if len(s.checks) > 0 {
		s.printf("\n%s\n", s.bold("Checked"))
		s.checkRows()
	}
	if len(s.measures) > 0 {
		s.printf("\n%s\n", s.bold("Measured"))
		width := 0
		for _, m := range s.measures {
			width = max(width, utf8.RuneCountInString(m.what))
		}
		for _, m := range s.measures {
			s.printf("  %s  %s\n", pad(m.what, width), m.value)
		}
	}
	failed := len(s.failures())
	verdict := s.green(fmt.Sprintf("all %d checks passed", len(s.checks)))
	if failed > 0 || len(s.checks) == 0 {
		verdict = s.red(fmt.Sprintf("%d of %d checks failed", failed, len(s.checks)))
	}
	s.printf("\n%s\n", verdict)
}

// checkRows prints the checks below the titles of their steps, which are too long for a column.
func (s *Story) checkRows() {
	width := 0
	for _, c := range s.checks {
		width = max(width, utf8.RuneCountInString(c.what))
	}
	previous := ""
	for _, c := range s.checks {
		if c.step != previous {
			s.printf("  %s\n", s.dim(c.step))
		}
		previous = c.step
		result := s.green("ok    ")
		if c.err != nil {
			result = s.red("FAILED")
		}
		took := ""
		if c.took > 0 {
			took = short(c.took)
		}
		s.printf("%s\n", strings.TrimRight(fmt.Sprintf("    %s  %s  %s", pad(c.what, width), result, took), " "))
	}
}

// pad counts characters as a terminal shows them.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}
