package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostroute/hostroute/internal/testenv"
)

// TestDirectoryOfSomethingElse wants a mistyped --dir to cost nobody anything.
func TestDirectoryOfSomethingElse(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireTool(t, "ip")
	topology := Reference()
	topology.Prefix = fmt.Sprintf("hrx%d-", os.Getpid())
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Up(t.Context(), topology, dir); !errors.Is(err, ErrNotALab) || !strings.Contains(err.Error(), dir) {
		t.Errorf("building in a directory with files: %v", err)
	}
	if err := Open(topology, dir).Down(t.Context()); !errors.Is(err, ErrNotALab) {
		t.Errorf("removing a directory with files: %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Errorf("what was in the directory: %v", err)
	}
	if _, err := Up(t.Context(), topology, "lab"); err == nil || !strings.Contains(err.Error(), `"lab": must be an absolute path`) {
		t.Errorf("building in a relative directory: %v", err)
	}
}

// TestUpWaitsForRouters wants a reflector that ends at once to be told with its own words: sockets have short
// paths.
func TestUpWaitsForRouters(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireTool(t, "ip")
	testenv.RequireTool(t, "bird")
	topology := Reference()
	topology.Prefix = fmt.Sprintf("hrw%d-", os.Getpid())
	_, err := Up(t.Context(), topology, filepath.Join(t.TempDir(), strings.Repeat("x", 100)))
	if err == nil || !strings.Contains(err.Error(), "starting bird in rra: it ended:\nbird: Socket path too long") {
		t.Errorf("a reflector that can't start: %v", err)
	}
}

// TestClaim wants a lab's directory to be taken again after a crash, and removed.
func TestClaim(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	for range 2 {
		if err := errors.Join(claim(dir), os.MkdirAll(filepath.Join(dir, logsDir), 0o755), claimed(dir)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDownSparesOthers wants namespaces that only begin like the lab's to be left alone, and not to be taken
// for a lab that stands.
func TestDownSparesOthers(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireTool(t, "ip")
	topology := Reference()
	topology.Prefix = fmt.Sprintf("hrs%d-", os.Getpid())
	l := Open(topology, filepath.Join(t.TempDir(), "lab"))
	other := batch{}
	other.add("netns add %s", topology.Prefix+"payroll")
	other.add("netns add %s", topology.Prefix+"hv1")
	if err := other.run(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Error(err)
	}
	left, err := namespaces(t.Context(), topology.Prefix)
	if err != nil || len(left) != 1 || left[0] != topology.Prefix+"payroll" {
		t.Errorf("left: %v, %v", left, err)
	}
	if standing, err := l.Standing(t.Context()); err != nil || standing {
		t.Errorf("a foreign namespace counts as a lab: %v", err)
	}
	gone := batch{}
	gone.add("netns del %s", topology.Prefix+"payroll")
	if err := gone.run(t.Context(), ""); err != nil {
		t.Error(err)
	}
}
