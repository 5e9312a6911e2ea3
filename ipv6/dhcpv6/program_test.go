package dhcpv6

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/testenv"
)

// program is a DHCPv6 client of somebody else, run in a guest.
type program struct {
	t    *testing.T
	out  string // what it and its scripts say, a line each
	from int    // what of it was looked at
}

// newProgram makes a directory for a client's files. They are nowhere else.
func newProgram(t *testing.T, needs ...string) (*program, string) {
	t.Helper()
	for _, tool := range needs {
		testenv.RequireTool(t, tool)
	}
	dir := t.TempDir()
	return &program{t: t, out: filepath.Join(dir, "out")}, dir
}

// start runs it in the background; stop ends it by a signal and waits.
func (p *program) start(cmd *exec.Cmd) (stop func(os.Signal)) {
	p.t.Helper()
	out, err := os.OpenFile(p.out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	stop = func(s os.Signal) {
		again, late := time.NewTicker(time.Second), time.After(patience)
		defer again.Stop()
		for {
			_ = cmd.Process.Signal(s)
			select {
			case <-ended:
				return
			case <-again.C: // dhcpcd loses one that comes while its script runs
			case <-late:
				p.t.Errorf("%s ignored %v; killing it", cmd.Path, s)
				s = syscall.SIGKILL
			}
		}
	}
	p.t.Cleanup(func() {
		stop(syscall.SIGKILL)
		if said, err := os.ReadFile(p.out); p.t.Failed() {
			p.t.Logf("%s said (%v):\n%s", cmd.Path, err, said)
		}
	})
	return stop
}

// says waits until a line that wasn't looked at yet contains all of the words.
func (p *program) says(words ...string) string {
	p.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		said, err := os.ReadFile(p.out)
		if err != nil {
			continue
		}
		for at := p.from; ; {
			n := bytes.IndexByte(said[at:], '\n')
			if n < 0 {
				break
			}
			line := string(said[at : at+n])
			at += n + 1
			if containsAll(line, words) {
				p.from = at
				return line
			}
		}
	}
	p.t.Fatalf("no %q within %v", words, patience)
	return ""
}

func containsAll(s string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(s, w) {
			return false
		}
	}
	return true
}

// hasAddress tells whether the guest's kernel has an address.
func hasAddress(guest *testenv.Netns, address string) bool {
	return strings.Contains(guest.Run("ip", "-6", "addr", "show"), "inet6 "+address+"/")
}

// enclosed is a command of a guest after others in sh, in a mount namespace of
// its own (ip netns exec makes it) with an empty /run.
func enclosed(guest *testenv.Netns, script string, args ...string) *exec.Cmd {
	script = "set -e; mount -t tmpfs tmpfs /run; " + script
	return guest.Command("sh", append([]string{"-c", script, "sh"}, args...)...)
}

// lan gives a guest an interface for the prefix that it gets.
func lan(guest *testenv.Netns) {
	guest.IP("link add lan0 type bridge", "link set lan0 up")
}
