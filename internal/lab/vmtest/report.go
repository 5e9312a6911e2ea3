package vmtest

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// mark starts the lines of the script, and those that the testing package writes with -test.v=test2json about
// a test's begin and end, even where the test's own output did not end in a newline.
const mark = '\x16'

// report reads the output of the VM as it comes and keeps the score.
type report struct {
	out     io.Writer
	verbose bool
	line    []byte
	suites  []suite
	current int // index into suites, -1 between them
	command bool
	started time.Time
	text    bytes.Buffer // output of the current suite
	state   map[string]string
	failed  []string
	seen    map[string]bool
}

func newReport(out io.Writer, suites []suite, verbose bool) *report {
	total := 0
	for _, s := range suites {
		total += len(s.tests)
	}
	fmt.Fprintf(out, "this kernel has no VRF: %d tests of %d packages run in the VM\n", total, len(suites))
	return &report{out: out, suites: suites, verbose: verbose, current: -1, state: map[string]string{}, seen: map[string]bool{}}
}

// Write takes the output in pieces of any size.
func (r *report) Write(p []byte) (int, error) {
	for _, c := range p {
		if c == mark && len(r.line) > 0 && !r.command {
			r.take(r.line)
			r.line = r.line[:0]
		}
		r.line = append(r.line, c)
		if c == '\n' || (r.command && r.line[0] != mark) {
			r.take(r.line)
			r.line = r.line[:0]
		}
	}
	return len(p), nil
}

// finish takes what came after the last newline, and closes a suite that was cut off.
func (r *report) finish() {
	if len(r.line) > 0 {
		r.take(r.line)
		r.line = nil
	}
	if r.current >= 0 {
		r.endSuite("cut off")
	}
}

func (r *report) take(line []byte) {
	text := strings.TrimSuffix(string(line), "\n")
	if text == "" && r.current < 0 && !r.command {
		return
	}
	if text == "" || text[0] != mark {
		r.pass(line)
		return
	}
	word, rest, _ := strings.Cut(text[1:], " ")
	switch word {
	case "package":
		r.current = slices.IndexFunc(r.suites, func(s suite) bool { return s.pkg == rest })
		r.started = time.Now()
		r.text.Reset()
		clear(r.state)
	case "status":
		r.endSuite(rest)
	case "command":
		r.command = true
	default:
		r.pass(line[1:])
		r.result(text[1:])
	}
}

// pass keeps or shows a line of output.
func (r *report) pass(line []byte) {
	if r.command || r.verbose {
		_, _ = r.out.Write(line) // the report has no better place to complain
		return
	}
	r.text.Write(line)
}

// result notes "--- PASS: TestName (0.00s)"; subtests count with their test.
func (r *report) result(text string) {
	rest, ok := strings.CutPrefix(text, "--- ")
	if !ok {
		return
	}
	state, rest, _ := strings.Cut(rest, ": ")
	name, _, _ := strings.Cut(rest, " ")
	r.state[name] = state
}

// endSuite prints what go test prints after a package.
func (r *report) endSuite(status string) {
	if r.current < 0 {
		return
	}
	s := r.suites[r.current]
	r.current = -1
	r.seen[s.pkg] = true
	var wrong []string
	for _, test := range s.tests {
		switch state := r.state[test]; state {
		case "PASS":
		case "":
			wrong = append(wrong, test+" did not finish")
		default:
			wrong = append(wrong, test+": "+state)
		}
	}
	if status != "0" && len(wrong) == 0 {
		wrong = append(wrong, "the test binary ended with status "+status)
	}
	took := time.Since(r.started).Seconds()
	if len(wrong) == 0 {
		fmt.Fprintf(r.out, "ok  \t%s\t%.3fs\t[VM, %d tests]\n", s.pkg, took, len(s.tests))
		return
	}
	_, _ = r.out.Write(r.text.Bytes())
	fmt.Fprintf(r.out, "FAIL\t%s\t%.3fs\t[VM] %s\n", s.pkg, took, strings.Join(wrong, "; "))
	r.failed = append(r.failed, s.pkg)
}

// verdict judges the whole: every suite must have come up, and the command, if any, have ended with 0.
func (r *report) verdict(code int) error {
	if len(r.failed) > 0 {
		return fmt.Errorf("%w: %s", ErrFailed, strings.Join(r.failed, ", "))
	}
	if missing := r.missing(); len(missing) > 0 {
		return fmt.Errorf("%w: %s did not run", ErrFailed, strings.Join(missing, ", "))
	}
	if code != 0 {
		return fmt.Errorf("%w: the command after them ended with status %d", ErrFailed, code)
	}
	return nil
}

func (r *report) missing() []string {
	var pkgs []string
	for _, s := range r.suites {
		if !r.seen[s.pkg] {
			pkgs = append(pkgs, s.pkg)
		}
	}
	return pkgs
}
