package agent

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/testenv"
)

// What a process of this benchmark is, by its environment: the hypervisor, which
// is measured, or the guests, whose work isn't.
const (
	burstRole   = "HOSTROUTE_BURST_ROLE"
	burstTaps   = "HOSTROUTE_BURST_TAPS"
	burstOrder  = "HOSTROUTE_BURST_ORDER"
	burstDir    = "HOSTROUTE_BURST_PROFILES" // of the user: where CPU profiles go
	burstIdle   = "HOSTROUTE_BURST_IDLE"     // of the user: how long to look at the idle hypervisor
	tapsLast    = "taps-last"
	guestsLast  = "guests-last"
	burstResult = 3 // the descriptor that a hypervisor's result is written to
)

// burst is what many taps at once cost.
type burst struct {
	Plugged, Announced, Answered    float64 // seconds since the start
	User, System                    float64 // of the hypervisor's CPU, seconds
	Rounds, Operations              uint64
	Memory, Descriptors, Goroutines int     // bytes and numbers more than before
	Idle                            float64 // of one CPU, when all is done
	Left                            int     // operations that a plan finds afterwards
	Broken                          []string
}

// BenchmarkTapsAtOnce has that many taps appear at once whose guests are known, or
// as many guests on taps that are there. The hypervisor is a process in a network
// namespace of its own: apply loop, link watch, filter, kernel, and the servers. The
// guests are another one, which has the other end of the taps and asks. It ends when
// all is announced, every guest has an answer by DHCP and a router advertisement,
// and there is nothing more to do.
func BenchmarkTapsAtOnce(b *testing.B) {
	switch os.Getenv(burstRole) {
	case "hypervisor":
		hypervisorOfBurst(b)
		return
	case "guests":
		guestsOfBurst(b)
		return
	}
	testenv.RequireRoot(b)
	for _, order := range []string{tapsLast, guestsLast} {
		for _, taps := range []int{100, 300, 1000, 2000} {
			b.Run(fmt.Sprintf("%s/%d", order, taps), func(b *testing.B) {
				for b.Loop() {
					report(b, taps, runBurst(b, order, taps))
				}
			})
		}
	}
}

func report(b *testing.B, taps int, r burst) {
	if r.Left > 0 || len(r.Broken) > 0 {
		b.Errorf("%d operations are left over; %q", r.Left, r.Broken)
	}
	n := float64(taps)
	for _, m := range []struct {
		unit  string
		value float64
	}{
		{"plugged-s", r.Plugged}, {"announced-s", r.Announced}, {"answered-s", r.Answered},
		{"cpu-ms/tap", (r.User + r.System) / n * 1000}, {"user-ms/tap", r.User / n * 1000},
		{"rounds", float64(r.Rounds)}, {"ops/tap", float64(r.Operations) / n},
		{"KB/tap", float64(r.Memory) / n / 1000}, {"fds/tap", float64(r.Descriptors) / n}, {"goroutines/tap", float64(r.Goroutines) / n},
		{"idle-%cpu", r.Idle * 100},
	} {
		b.ReportMetric(m.value, m.unit)
	}
	b.ReportMetric(0, "ns/op") // of setting up, mostly
}

// runBurst runs one in a namespace of its own, which ends with its processes.
func runBurst(b *testing.B, order string, taps int) (r burst) {
	b.Helper()
	args := []string{"-test.run=^$", "-test.bench=^BenchmarkTapsAtOnce$", "-test.benchtime=1x"}
	if dir := os.Getenv(burstDir); dir != "" {
		args = append(args, "-test.cpuprofile="+filepath.Join(dir, fmt.Sprintf("%s-%d.cpu", order, taps)))
	}
	result, told, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer result.Close()
	cmd := burstProcess("hypervisor", args...)
	cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", burstTaps, taps), burstOrder+"="+order)
	cmd.ExtraFiles = []*os.File{told}
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	told.Close()
	bad := json.NewDecoder(result).Decode(&r)
	if err := cmp.Or(cmd.Wait(), bad); err != nil {
		b.Fatalf("%v\n%s", err, &said)
	}
	return r
}

// burstProcess is this program again, which ends with the one that starts it.
func burstProcess(role string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, burstRole+"=") }), burstRole+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// guestsProcess is the guests, seen by the hypervisor.
type guestsProcess struct {
	b   *testing.B
	in  *os.File
	out *bufio.Scanner
}

func startGuests(b *testing.B) *guestsProcess {
	in, orders, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd := burstProcess("guests", "-test.run=^$", "-test.bench=^BenchmarkTapsAtOnce$", "-test.benchtime=1x")
	cmd.Stdin, cmd.Stderr = in, os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	in.Close()
	b.Cleanup(func() {
		orders.Close()
		_ = cmd.Wait()
	})
	return &guestsProcess{b, orders, bufio.NewScanner(out)}
}

// order has the guests do something and waits until they have.
func (g *guestsProcess) order(what string) {
	g.b.Helper()
	g.send(what)
	g.await(what)
}

func (g *guestsProcess) send(what string) {
	g.b.Helper()
	if _, err := fmt.Fprintln(g.in, what); err != nil {
		g.b.Fatal(err)
	}
}

func (g *guestsProcess) await(what string) {
	g.b.Helper()
	for g.out.Scan() {
		if rest, ok := strings.CutPrefix(g.out.Text(), "done "); ok && rest == what {
			return
		}
	}
	g.b.Fatalf("the guests ended before they had done %q: %v", what, g.out.Err())
}

// patienceForBurst is far longer than a burst may take, for machines that do much else.
const patienceForBurst = 2 * time.Minute
