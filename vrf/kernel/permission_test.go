package kernel

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
)

const asNobody = "HOSTROUTE_TEST_AS_NOBODY"

// TestNotPermitted runs itself as nobody: one sentence, and what to do.
func TestNotPermitted(t *testing.T) {
	if os.Getenv(asNobody) != "" {
		_, err := New(Options{}).Apply(t.Context(), vrf.Host{VRFs: []vrf.VRF{{Name: "hrk", Table: 90}}}, vrf.Options{})
		if !errors.Is(err, ErrNotPermitted) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want one line with %v", err, ErrNotPermitted)
		}
		return
	}
	testenv.RequireRoot(t)
	self, err := os.Executable()
	must(t, err)
	binary, err := os.ReadFile(self)
	must(t, err)
	dir, err := os.MkdirTemp("/var/tmp", "hrk-") // where nobody may enter
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o755))
	copied := filepath.Join(dir, "kernel.test")
	must(t, os.WriteFile(copied, binary, 0o755))
	cmd := exec.CommandContext(t.Context(), copied, "-test.run=^TestNotPermitted$", "-test.v")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), asNobody+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v: %s", err, out)
	}
}
