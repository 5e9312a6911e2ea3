package udp

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/bfd"
	"github.com/hostroute/hostroute/internal/testenv"
)

// bird is BIRD 2 at the far end of the wire, with a session of each family.
type bird struct {
	*wire
	dir string
	cmd *exec.Cmd
}

const birdConfig = `
log stderr all;
router id 10.0.0.2;
protocol device { scan time 1; }
protocol bfd watch {
	interface "port" { min rx interval RX ms; min tx interval TX ms; idle tx interval 1 s; multiplier MULT; };
	neighbor 192.0.2.1 dev "port" local 192.0.2.2;
	neighbor 2001:db8::1 dev "port" local 2001:db8::2;
	neighbor fe80::1 dev "port" local fe80::2;
}
`

func startBIRD(t *testing.T, w *wire, p bfd.Params) *bird {
	t.Helper()
	testenv.RequireTool(t, "bird")
	b := &bird{wire: w, dir: shortDir(t)}
	b.write(p)
	b.start()
	return b
}

func (b *bird) start() {
	b.t.Helper()
	b.cmd = daemon(b.t, b.b.Command("bird", "-f", "-c", b.dir+"/bird.conf", "-s", b.dir+"/ctl"))
	b.expect("show status", "Daemon is up")
}

func (b *bird) write(p bfd.Params) {
	writeFile(b.t, b.dir+"/bird.conf", strings.NewReplacer("RX", fmt.Sprint(p.MinRx.Milliseconds()), "TX", fmt.Sprint(p.MinTx.Milliseconds()),
		"MULT", fmt.Sprint(p.Multiplier)).Replace(birdConfig))
}

func (b *bird) ctl(command string) string {
	return output(exec.Command("birdc", append([]string{"-s", b.dir + "/ctl"}, strings.Fields(command)...)...))
}

func (b *bird) expect(command string, words ...string) {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("%s: %q", command, words), func() bool {
		out := b.ctl(command)
		for _, w := range words {
			if !strings.Contains(out, w) {
				return false
			}
		}
		return true
	}, func() string { return b.ctl(command) })
}

// session waits until BIRD says this of one of its sessions.
func (b *bird) session(remote, state string) {
	b.t.Helper()
	eventually(b.t, "BIRD says "+state, func() bool {
		for _, line := range strings.Split(b.ctl("show bfd sessions"), "\n") {
			if f := strings.Fields(line); len(f) > 2 && f[0] == remote && f[2] == state {
				return true
			}
		}
		return false
	}, func() string { return b.ctl("show bfd sessions") })
}

func TestBIRD(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	b := startBIRD(t, w, patient())
	specs := []bfd.Spec{spec(v4, 0, patient()), spec(v6, 0, patient()), spec(link, 0, patient())}
	a := start(t, w.a, specs...)
	for _, where := range []string{v4, v6, link} {
		a.paced(where, 300*ms, 3000*ms)
		b.session(where+"1", "Up")
	}

	// We change, and it follows.
	specs[0].Params = params(100*ms, 200*ms, 20)
	a.set(specs...)
	a.paced(v4, 300*ms, 3000*ms)
	specs[0].Params = params(500*ms, 600*ms, 5)
	a.set(specs...)
	a.paced(v4, 500*ms, 6000*ms)
	b.expect("show bfd sessions", "2.500") // its timeout: 5 × 500 ms

	// AdminDown: it goes down, and comes back.
	specs[1].AdminDown = true
	a.set(specs...)
	b.session(v6+"1", "Down")
	specs[1].AdminDown = false
	a.set(specs...)
	a.up(v6)
	b.session(v6+"1", "Up")
	for _, where := range []string{v4, link} {
		if s := a.get(where); s.Falls != 0 {
			t.Errorf("%s fell: %s", where, s.Reason())
		}
	}
	if d := a.Dropped(); d != [bfd.Drops]uint64{} {
		t.Errorf("dropped %v", d)
	}
}

// TestBIRDWithOtherWishes has asymmetric intervals, and a multiplier of 1, with
// which a late packet of a busy machine is a fall that proves nothing.
func TestBIRDWithOtherWishes(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	b := startBIRD(t, w, params(400*ms, 200*ms, 10))
	a := start(t, w.a, spec(v4, 0, params(100*ms, 50*ms, 20)), spec(v6, 0, params(1000*ms, 600*ms, 1)))
	a.paced(v4, 200*ms, 4000*ms)  // we send at the 200 ms it takes; it sends at its 400 ms, ten times
	a.paced(v6, 1000*ms, 6000*ms) // it slows down to our 600 ms; we send at our second, and none may be lost
	b.session(v4+"1", "Up")
	b.session(v6+"1", "Up")
	before := a.get(v4)
	s := a.expect("30 packets out and 10 in, or a fall", v4, func(s bfd.Status) bool {
		return s.Falls > 0 || s.Sent >= before.Sent+30 && s.Received >= before.Received+10
	})
	if s.Falls != 0 {
		t.Errorf("%+v", s)
	}
	t.Logf("with a multiplier of 1: %d falls", a.get(v6).Falls)
}

func TestBIRDIsLost(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	b := startBIRD(t, w, bfd.Default())
	a := start(t, w.a, spec(v4, 0, bfd.Default()))
	lost := func(how string, cut, mend func()) {
		t.Helper()
		a.paced(v4, 300*ms, 900*ms)
		b.session(v4+"1", "Up")
		cut()
		began := time.Now()
		s := a.expect(how, v4, func(s bfd.Status) bool { return s.State == bfd.Down })
		t.Logf("%s: noticed %.2f detection times after it (%s)", how, time.Since(began).Seconds()/0.9, s.Reason())
		if !s.Failed || s.Diagnostic != bfd.TimeExpired || !strings.Contains(s.Reason(), "900ms") {
			t.Errorf("%s: %+v, %s", how, s, s.Reason())
		}
		mend()
	}
	signal := func(s syscall.Signal) func() {
		return func() {
			if err := b.cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	lost("BIRD is stopped", signal(syscall.SIGSTOP), signal(syscall.SIGCONT))
	lost("the cable is cut", func() { w.b.IP("link set port down") }, func() {
		w.b.IP("link set port up", "addr replace 192.0.2.2/24 dev port")
	})
	lost("BIRD is killed", func() { _ = b.cmd.Process.Kill(); _ = b.cmd.Wait() }, b.start)
	a.up(v4)
	b.session(v4+"1", "Up")
}

// TestBIRDNoticesOurLoss kills and stops a process of ours.
func TestBIRDNoticesOurLoss(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	b := startBIRD(t, w, bfd.Default())
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func() *exec.Cmd {
		cmd := w.a.Command(program)
		cmd.Env = append(cmd.Environ(), engineEnv+"=port 192.0.2.1 192.0.2.2")
		if _, err := cmd.StdinPipe(); err != nil { // which stays open
			t.Fatal(err)
		}
		return daemon(t, cmd)
	}
	cmd := run()
	b.session(v4+"1", "Up")
	_ = cmd.Process.Signal(syscall.SIGSTOP)
	b.session(v4+"1", "Down")
	_ = cmd.Process.Signal(syscall.SIGCONT)
	b.session(v4+"1", "Up")
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	b.session(v4+"1", "Down")
	run()
	b.session(v4+"1", "Up")
}
