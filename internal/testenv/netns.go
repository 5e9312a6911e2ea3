package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Netns is a network namespace of one test, known to ip(8) by its name. It and
// everything in it end with the test.
type Netns struct {
	Name string
	t    testing.TB
	file *os.File
}

var namespaces atomic.Int32

// NewNetns makes a namespace with its loopback up. It needs root.
func NewNetns(t testing.TB) *Netns {
	t.Helper()
	RequireRoot(t)
	n := &Netns{Name: fmt.Sprintf("hrt-%d-%d", os.Getpid(), namespaces.Add(1)), t: t}
	command(t, "ip", "netns", "add", n.Name)
	t.Cleanup(func() { command(t, "ip", "netns", "del", n.Name) })
	f, err := os.Open("/run/netns/" + n.Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	n.file = f
	n.IP("link set lo up")
	return n
}

// IP runs ip(8) commands in the namespace, each a line as one would type it
// without the "ip", in one process.
func (n *Netns) IP(lines ...string) {
	n.t.Helper()
	cmd := exec.Command("ip", "-n", n.Name, "-b", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("ip -n %s, %q: %v: %s", n.Name, lines, err, out)
	}
}

// Command is a program that will run in the namespace.
func (n *Netns) Command(program string, args ...string) *exec.Cmd {
	return exec.CommandContext(n.t.Context(), "ip", append([]string{"netns", "exec", n.Name, program}, args...)...)
}

// Run runs a program in the namespace to its end, which must be a success, and
// returns what it printed.
func (n *Netns) Run(program string, args ...string) string {
	n.t.Helper()
	return command(n.t, "ip", append([]string{"netns", "exec", n.Name, program}, args...)...)
}

// Sysctl sets kernel settings of the namespace, each like "net.ipv4.ip_forward=1".
func (n *Netns) Sysctl(settings ...string) {
	n.t.Helper()
	n.Run("sysctl", append([]string{"-q", "-w"}, settings...)...)
}

// Veth joins two namespaces by a cable, both ends up.
func Veth(a *Netns, nameA string, b *Netns, nameB string) {
	a.t.Helper()
	a.IP(fmt.Sprintf("link add %s type veth peer name %s netns %s", nameA, nameB, b.Name), "link set "+nameA+" up")
	b.IP("link set " + nameB + " up")
}

// FD is the namespace as an open file, which lives as long as the test.
func (n *Netns) FD() int { return int(n.file.Fd()) }

// Do calls f on a thread that is in the namespace; a socket that f opens stays
// there. The thread ends afterwards, so nobody else ever runs on it.
func (n *Netns) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("entering the namespace %s: %w", n.Name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

func command(t testing.TB, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}
