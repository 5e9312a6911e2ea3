package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/internal/lab/vm"
)

const (
	// RequireVRFEnv is the variable that, set to 1, turns the lack of VRF from a skip into a failure. The VM
	// run sets it, and so does `make test` where the kernel has VRF.
	RequireVRFEnv = vm.RequireVRFEnv
	// DeferredEnv names a file to which RequireVRF appends each test that it skips, as a line
	// "directory<TAB>test". The VM run then runs exactly these.
	DeferredEnv = "HOSTROUTE_DEFERRED_TESTS"
)

// RequireRoot skips a test that changes the kernel when it may not; with CI=true that is a failure.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		lack(t, os.Getenv("CI") == "true", "needs root")
	}
}

// RequireTool skips a test when a program is not installed; with CI=true that is a failure.
func RequireTool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		lack(t, os.Getenv("CI") == "true", fmt.Sprintf("needs the program %s: %v", name, err))
	}
}

// RequireVRF skips a test when the running kernel has no VRF, and notes it for the run in the VM. There,
// and wherever else HOSTROUTE_REQUIRE_VRF=1 says that it must run, the lack is a failure.
func RequireVRF(t testing.TB) {
	t.Helper()
	RequireRoot(t)
	if err := vm.ProbeVRF(); err != nil {
		if err := deferTest(os.Getenv(DeferredEnv), t.Name()); err != nil {
			t.Fatalf("noting the test for the VM: %v", err)
		}
		lack(t, os.Getenv(RequireVRFEnv) == "1", fmt.Sprintf("needs a kernel with VRF: %v", err))
	}
}

// lack fails the test when it must run and skips it when it may.
func lack(t testing.TB, must bool, what string) {
	t.Helper()
	if must {
		t.Fatal("must run here but " + what)
	}
	t.Skip(what)
}

// HaveVRF says whether the running kernel can make VRF devices.
func HaveVRF() bool { return vm.ProbeVRF() == nil }

// deferTest appends in one write, which O_APPEND keeps whole among test binaries that run at the same time.
func deferTest(path, test string) error {
	if path == "" {
		return nil
	}
	dir, err := os.Getwd() // go test starts every binary in its package's directory
	if err != nil {
		return fmt.Errorf("finding the package's directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the list of deferred tests: %w", err)
	}
	defer f.Close()
	top, _, _ := strings.Cut(test, "/")
	if _, err := fmt.Fprintf(f, "%s\t%s\n", dir, top); err != nil {
		return fmt.Errorf("writing the list of deferred tests: %w", err)
	}
	return f.Close()
}

// ModuleRoot returns the directory of go.mod, from a test's working directory upwards.
func ModuleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d
		}
		if d == filepath.Dir(d) {
			t.Fatalf("no go.mod in %s or above", dir)
		}
	}
}
