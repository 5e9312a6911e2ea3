package benchcmd

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hostroute/hostroute/internal/bench"
	"github.com/hostroute/hostroute/internal/testenv"
)

// From the command line to the files, with the programs themselves.
func TestSmallComparison(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireTool(t, "bird")
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), program(t), "lab", "bench", "--json", "--routes", "2500,5k", "--family", "4", "--rounds", "1",
		"--jobs", "load,loss", "--contenders", "hostroute,bird", "--dir", dir)
	var out, progress bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &progress
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v:\n%s", err, progress.String())
	}
	const runs = 2 * 2 * 2 // contenders, jobs, sizes
	samples := decode(t, out.Bytes())
	if len(samples) != runs {
		t.Errorf("%d samples, want %d", len(samples), runs)
	}
	for _, s := range samples {
		if s.Failure != "" || s.Wall <= 0 || s.Peak == 0 || s.Settled == 0 {
			t.Errorf("sample: %+v", s)
		}
	}
	if lines := strings.Count(progress.String(), "/8  round 1, "); lines != runs {
		t.Errorf("%d lines of progress, want %d:\n%s", lines, runs, progress.String())
	}
	for _, name := range []string{"report.json", "report.md", "load-ipv4-random-2rr.svg"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	nothingLeft(t, cmd.Process.Pid)
}

func TestInterruptReportsWhatWasMeasured(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireTool(t, "bird")
	cmd := exec.CommandContext(t.Context(), program(t), "lab", "bench", "--json", "--routes", "2000,1M", "--family", "4", "--rounds", "1",
		"--jobs", "load", "--contenders", "bird")
	var out bytes.Buffer
	cmd.Stdout = &out
	progress := &watched{wanted: "1/2  round 1, bird", seen: make(chan struct{})}
	cmd.Stderr = progress
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-progress.seen:
	case <-t.Context().Done():
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("exit code %d:\n%s", code, progress.text.String())
	}
	if samples := decode(t, out.Bytes()); len(samples) != 1 || samples[0].Job.Routes != 2000 {
		t.Errorf("samples: %+v", samples)
	}
	if !strings.Contains(out.String(), `"interrupted": true`) {
		t.Errorf("the report doesn't say that it was interrupted: %s", out.String())
	}
	nothingLeft(t, cmd.Process.Pid)
}

// watched is what a program says, until it has said something.
type watched struct {
	text   bytes.Buffer
	wanted string
	seen   chan struct{}
	said   bool
}

func (w *watched) Write(b []byte) (int, error) {
	w.text.Write(b)
	if !w.said && strings.Contains(w.text.String(), w.wanted) {
		w.said = true
		close(w.seen)
	}
	return len(b), nil
}

func decode(t *testing.T, raw []byte) []bench.Sample {
	t.Helper()
	var report struct{ Samples []bench.Sample }
	if err := json.Unmarshal(raw, &report); err != nil {
		t.Fatalf("the report: %v: %s", err, raw)
	}
	return report.Samples
}

// nothingLeft looks for namespaces of the process that compared.
func nothingLeft(t *testing.T, pid int) {
	t.Helper()
	left, err := filepath.Glob("/run/netns/hrbench-" + strconv.Itoa(pid) + "-*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// program builds hostroute.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hostroute")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, "../../../cmd/hostroute").CombinedOutput(); err != nil {
		t.Fatalf("building hostroute: %v: %s", err, out)
	}
	return path
}
