package session

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// inNamespace tells the test process that it has a network namespace of its own.
const inNamespace = "HOSTROUTE_TEST_NETNS"

// TestMain runs the tests in a network namespace of their own, which ends with
// the process, whatever happens to it.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		goleak.VerifyTestMain(m)
	}
	if os.Getenv(inNamespace) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "setting loopback up: %v: %s", err, out)
			os.Exit(1)
		}
		goleak.VerifyTestMain(m)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		os.Exit(exit.ExitCode())
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "running in a network namespace:", err)
		os.Exit(1)
	}
}

// needNamespace skips a test that needs the namespace; not in CI, where
// nothing is skipped in silence.
func needNamespace(t *testing.T, programs ...string) {
	t.Helper()
	missing := ""
	if os.Getenv(inNamespace) == "" {
		missing = "root"
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing += " " + p
		}
	}
	switch {
	case missing == "":
	case os.Getenv("CI") == "true":
		t.Fatalf("needs %s", missing)
	default:
		t.Skipf("needs %s", missing)
	}
}
