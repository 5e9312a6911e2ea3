package testenv

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// recorder stands in for a test's T, to see what the helpers do to it. Everything else of TB panics.
type recorder struct {
	testing.TB
	skipped, failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Name() string          { return "TestRecorded/sub" }
func (r *recorder) Skip(...any)           { r.skipped = true; runtime.Goexit() }
func (r *recorder) Fatal(...any)          { r.failed = true; runtime.Goexit() }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; runtime.Goexit() }

func record(f func(testing.TB)) *recorder {
	r := &recorder{}
	done := make(chan struct{})
	go func() { defer close(done); f(r) }()
	<-done
	return r
}

func TestRequireToolSkipsAtHomeAndFailsInCI(t *testing.T) {
	missing := func(tb testing.TB) { RequireTool(tb, "hostroute-no-such-tool") }
	t.Setenv("CI", "")
	if r := record(missing); !r.skipped || r.failed {
		t.Errorf("a missing tool at home: %+v, want a skip", r)
	}
	t.Setenv("CI", "true")
	if r := record(missing); !r.failed || r.skipped {
		t.Errorf("a missing tool in CI: %+v, want a failure", r)
	}
	if r := record(func(tb testing.TB) { RequireTool(tb, "sh") }); r.failed || r.skipped {
		t.Errorf("a tool that is there: %+v, want neither", r)
	}
}

func TestRequireVRFIsNeverSilent(t *testing.T) {
	RequireRoot(t)
	list := filepath.Join(t.TempDir(), "deferred")
	t.Setenv(DeferredEnv, list)
	t.Setenv("CI", "true")
	t.Setenv(RequireVRFEnv, "")
	r := record(func(tb testing.TB) { RequireVRF(tb) })
	raw, err := os.ReadFile(list)
	if HaveVRF() {
		if r.skipped || r.failed || err == nil {
			t.Fatalf("with VRF: %+v, list %q: want the test to run", r, raw)
		}
		return
	}
	dir, wdErr := os.Getwd()
	if wdErr != nil {
		t.Fatal(wdErr)
	}
	if want := dir + "\tTestRecorded\n"; !r.skipped || string(raw) != want {
		t.Errorf("without VRF: %+v, list %q (%v), want a skip and %q", r, raw, err, want)
	}
	t.Setenv(RequireVRFEnv, "1")
	if r := record(func(tb testing.TB) { RequireVRF(tb) }); !r.failed {
		t.Errorf("without VRF where it is required: %+v, want a failure", r)
	}
}

// TestVRFDevice is the smallest test that needs VRF: where the kernel has none it runs in the VM, so it also
// proves that deferring works.
func TestVRFDevice(t *testing.T) {
	RequireVRF(t)
	if !HaveVRF() {
		t.Fatal("RequireVRF let a test through on a kernel without VRF")
	}
}
