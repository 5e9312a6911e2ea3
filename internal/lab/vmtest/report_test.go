package vmtest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var twoTests = []suite{{pkg: "m/a", dir: "/src/a", tests: []string{"TestA", "TestB"}}}

// judge feeds output in pieces of n bytes and returns the printed report and the verdict.
func judge(suites []suite, output string, code, n int) (string, error) {
	var out strings.Builder
	r := newReport(&out, suites, false)
	for len(output) > 0 {
		piece := output[:min(n, len(output))]
		_, _ = r.Write([]byte(piece))
		output = output[len(piece):]
	}
	r.finish()
	return out.String(), r.verdict(code)
}

const passing = "\x16package m/a\n\x16=== RUN   TestA\nno newline\x16--- PASS: TestA (0.00s)\n\x16=== RUN   TestB\n" +
	"\x16--- PASS: TestB (0.10s)\nPASS\n\n\x16status 0\n"

func TestVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		output string
		code   int
		want   string // "" is success
	}{
		"all pass":             {passing, 0, ""},
		"one skipped":          {strings.Replace(passing, "PASS: TestB", "SKIP: TestB", 1), 0, "m/a"},
		"one failed":           {strings.Replace(passing, "PASS: TestB", "FAIL: TestB", 1), 0, "m/a"},
		"one missing":          {strings.Replace(passing, "\x16--- PASS: TestB (0.10s)\n", "", 1), 0, "m/a"},
		"status not 0":         {strings.Replace(passing, "status 0", "status 2", 1), 0, "m/a"},
		"cut off":              {passing[:len(passing)/2], 0, "m/a"},
		"nothing ran":          {"", 0, "m/a did not run"},
		"command failed":       {passing + "\x16command\noutput\n", 3, "status 3"},
		"a liar in the output": {strings.Replace(passing, "\x16--- PASS: TestB (0.10s)", "--- PASS: TestB (0.10s)", 1), 0, "m/a"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{1, 7, 10000} {
				_, err := judge(twoTests, c.output, c.code, n)
				if c.want == "" && err != nil {
					t.Errorf("pieces of %d: %v, want success", n, err)
				}
				if c.want != "" && (!errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("pieces of %d: %v, want ErrFailed naming %q", n, err, c.want)
				}
			}
		})
	}
}

func TestOutputIsShownWhereItMatters(t *testing.T) {
	report, _ := judge(twoTests, passing+"\x16command\nhello\n", 0, 5)
	if !strings.Contains(report, "ok  \tm/a\t") || !strings.HasSuffix(report, "\nhello\n") || strings.Contains(report, "no newline") {
		t.Errorf("report of a success:\n%s", report)
	}
	report, _ = judge(twoTests, strings.Replace(passing, "PASS: TestA", "FAIL: TestA", 1), 0, 5)
	if !strings.Contains(report, "no newline") || !strings.Contains(report, "FAIL\tm/a\t") || !strings.Contains(report, "TestA: FAIL") {
		t.Errorf("report of a failure:\n%s", report)
	}
}

func TestReadListMakesOneSuitePerPackage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(path, []byte("/src/b\tTestZ\n/src/a/x\tTestB\n/src/a/x\tTestA\n/src/a/x\tTestB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readList(path, "/src", "m")
	if err != nil {
		t.Fatal(err)
	}
	want := []suite{{dir: "/src/a/x", pkg: "m/a/x", tests: []string{"TestA", "TestB"}}, {dir: "/src/b", pkg: "m/b", tests: []string{"TestZ"}}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(suite{})); diff != "" {
		t.Errorf("suites (-want +got):\n%s", diff)
	}
	if got[0].pattern() != "^(TestA|TestB)$" {
		t.Errorf("pattern %q", got[0].pattern())
	}
}
