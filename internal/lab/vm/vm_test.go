package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// machine skips where no kernel is prepared, which is right where the running kernel has VRF and in the VM.
func machine(t *testing.T) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := FindDir(wd)
	if err != nil || os.Getenv(InVMEnv) != "" {
		t.Skipf("no VM to boot here: %v", err)
	}
	if testing.Short() {
		t.Skip("boots a VM")
	}
	return dir
}

func TestRunReportsStatusAndOutput(t *testing.T) {
	dir := machine(t)
	work := t.TempDir()
	if err := os.WriteFile(filepath.Join(work, "file"), []byte("seen from inside\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	code, err := Run(context.Background(), Options{
		Dir: dir, WorkDir: work, Stdout: &out, Env: []string{"WORD=it's\na \"word\""},
		Command: []string{"sh", "-c", `cat file; echo "$WORD"; echo err >&2; echo lost >file; ip link add v type vrf table 90 && exit 7`},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "seen from inside\nit's\na \"word\"\nerr\n"; out.String() != want {
		t.Errorf("output %q, want %q", out.String(), want)
	}
	if code != 7 {
		t.Errorf("exit status %d, want 7: the command's own", code)
	}
	if raw, err := os.ReadFile(filepath.Join(work, "file")); err != nil || string(raw) != "seen from inside\n" {
		t.Errorf("the host's file is now %q (%v): the VM must not change it", raw, err)
	}
}

func TestPanicIsAnErrorWithTheConsole(t *testing.T) {
	dir := machine(t)
	_, err := Run(context.Background(), Options{Dir: dir, Command: []string{"sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60"}})
	if !errors.Is(err, ErrNoReport) || !strings.Contains(err.Error(), "sysrq triggered crash") {
		t.Errorf("a guest that panics: %v, want ErrNoReport and the console's end", err)
	}
}

func TestTimeoutIsAnError(t *testing.T) {
	dir := machine(t)
	t.Setenv("HOSTROUTE_VM_ACCEL", "tcg")
	_, err := Run(context.Background(), Options{Dir: dir, Command: []string{"true"}, Timeout: 500 * time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not done after 500ms") {
		t.Errorf("a guest that does not finish in time: %v, want DeadlineExceeded and the limit", err)
	}
}

func TestInterruptionHasNoConsole(t *testing.T) {
	dir := machine(t)
	t.Setenv("HOSTROUTE_VM_ACCEL", "tcg")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer time.AfterFunc(200*time.Millisecond, func() { cancel(errors.New("^C")) }).Stop()
	_, err := Run(ctx, Options{Dir: dir, Command: []string{"sleep", "600"}})
	if err == nil || err.Error() != `running "sleep" in the virtual machine: ^C` {
		t.Errorf("an interrupted run: %v", err)
	}
}

func TestOptionsWithoutCommandOrKernel(t *testing.T) {
	if _, err := Run(context.Background(), Options{}); err == nil {
		t.Error("running nothing: no error")
	}
	if _, err := FindDir(t.TempDir()); !errors.Is(err, ErrNotPrepared) {
		t.Errorf("no kernel: %v, want ErrNotPrepared", err)
	}
}

func TestReadStatusWantsTheWholeLine(t *testing.T) {
	for content, want := range map[string]int{"": -1, "hostroute-exit \n": -1, "junk\nhostroute-exit 3\n": 3, "hostroute-exit 0\r\n": 0} {
		path := filepath.Join(t.TempDir(), "status")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		code, ok := readStatus(path)
		if !ok {
			code = -1
		}
		if code != want {
			t.Errorf("status file %q: %d, want %d", content, code, want)
		}
	}
}

func TestModulesComeAfterWhatTheyNeed(t *testing.T) {
	tree := t.TempDir()
	dep := "kernel/a.ko: kernel/b.ko kernel/c-d.ko\nkernel/b.ko: kernel/c-d.ko\nkernel/c-d.ko:\nkernel/e.ko: kernel/c-d.ko\n"
	if err := os.WriteFile(filepath.Join(tree, "modules.dep"), []byte(dep), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := modulesFor(tree, []string{"a", "built_in", "c_d", "e"})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, f := range []string{"c-d", "b", "a", "e"} {
		want = append(want, filepath.Join(tree, "kernel", f+".ko"))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order of loading (-want +got):\n%s", diff)
	}
}

// TestArchiveIsReadByCpio has a second implementation of the format read what ours wrote.
func TestArchiveIsReadByCpio(t *testing.T) {
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("needs cpio")
	}
	var a archive
	a.dir("d")
	a.file("d/odd", 0o755, []byte("12345"))
	a.file("empty", 0o644, nil)
	dir := t.TempDir()
	cmd := exec.Command(cpio, "-id", "--quiet")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(a.finish())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "d/odd"))
	if err != nil || string(raw) != "12345" {
		t.Errorf("d/odd: %q, %v", raw, err)
	}
	st, err := os.Stat(filepath.Join(dir, "d/odd"))
	if err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("d/odd: %v, %v", st, err)
	}
	if st, err := os.Stat(filepath.Join(dir, "empty")); err != nil || st.Size() != 0 {
		t.Errorf("empty: %v, %v", st, err)
	}
}
