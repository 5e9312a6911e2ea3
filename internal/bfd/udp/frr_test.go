package udp

import (
	"encoding/json"
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

const frrDaemons = "/usr/lib/frr/"

// frr is FRR's bfdd at the far end of the wire.
type frr struct {
	*wire
	dir  string
	bfdd *exec.Cmd
}

// frrSession is one of its sessions, in its own words.
type frrSession struct {
	Peer       string `json:"peer"`
	Status     string `json:"status"`
	Diagnostic string `json:"diagnostic"`
	RemoteDiag string `json:"remote-diagnostic"`
	RemoteRx   int    `json:"remote-receive-interval"`
	RemoteTx   int    `json:"remote-transmit-interval"`
	RemoteMult int    `json:"remote-detect-multiplier"`
}

func startFRR(t *testing.T, w *wire, p bfd.Params) *frr {
	t.Helper()
	testenv.RequireTool(t, "vtysh")
	testenv.RequireTool(t, frrDaemons+"bfdd")
	f := &frr{wire: w, dir: shortDir(t)}
	if err := os.Chmod(f.dir, 0o777); err != nil { // FRR's daemons drop root
		t.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("bfd\n")
	for _, where := range []string{v4, v6} {
		fmt.Fprintf(&text, " peer %s1 local-address %s2 interface port\n", where, where)
		text.WriteString(f.params(p))
		text.WriteString(" exit\n")
	}
	writeFile(t, f.dir+"/bfdd.conf", text.String())
	writeFile(t, f.dir+"/zebra.conf", "")
	writeFile(t, f.dir+"/vtysh.conf", "")
	common := []string{"-P", "0", "-z", f.dir + "/zserv", "--vty_socket", f.dir}
	daemon(t, w.b.Command(frrDaemons+"zebra", append([]string{"-f", f.dir + "/zebra.conf", "-i", f.dir + "/zebra.pid"}, common...)...))
	eventually(t, "zebra's socket", func() bool { _, err := os.Stat(f.dir + "/zserv"); return err == nil }, func() string { return "" })
	f.start()
	return f
}

func (f *frr) start() {
	f.t.Helper()
	f.bfdd = daemon(f.t, f.b.Command(frrDaemons+"bfdd", "-f", f.dir+"/bfdd.conf", "-i", f.dir+"/bfdd.pid", "--bfdctl", f.dir+"/bfdctl",
		"-P", "0", "-z", f.dir+"/zserv", "--vty_socket", f.dir))
	eventually(f.t, "bfdd", func() bool { return strings.Contains(f.sh("show bfd peers"), "192.0.2.1") }, func() string { return f.sh("show bfd peers") })
}

func (f *frr) params(p bfd.Params) string {
	return fmt.Sprintf("  detect-multiplier %d\n  receive-interval %d\n  transmit-interval %d\n",
		p.Multiplier, p.MinRx.Milliseconds(), p.MinTx.Milliseconds())
}

func (f *frr) sh(commands ...string) string {
	args := []string{"--vty_socket", f.dir, "--config_dir", f.dir, "-d", "bfdd"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	return output(exec.Command("vtysh", args...))
}

// configure changes one of its sessions.
func (f *frr) configure(where string, lines ...string) {
	f.t.Helper()
	peer := fmt.Sprintf("peer %s1 local-address %s2 interface port", where, where)
	if out := f.sh(append([]string{"configure terminal", "bfd", peer}, lines...)...); strings.TrimSpace(out) != "" {
		f.t.Fatalf("%q: %s", lines, out)
	}
}

func (f *frr) session(where, what string, ok func(frrSession) bool) {
	f.t.Helper()
	eventually(f.t, "FRR says "+what, func() bool {
		var sessions []frrSession
		if err := json.Unmarshal([]byte(f.sh("show bfd peers json")), &sessions); err != nil {
			return false
		}
		for _, s := range sessions {
			if s.Peer == where+"1" && ok(s) {
				return true
			}
		}
		return false
	}, func() string { return f.sh("show bfd peers") })
}

func (f *frr) is(where, state string) {
	f.t.Helper()
	f.session(where, state, func(s frrSession) bool { return s.Status == state })
}

func TestFRR(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	f := startFRR(t, w, patient())
	specs := []bfd.Spec{spec(v4, 0, patient()), spec(v6, 0, patient())}
	a := start(t, w.a, specs...)
	for _, where := range []string{v4, v6} {
		a.paced(where, 300*ms, 3000*ms)
		f.is(where, "up")
	}

	// We change, and it follows; it changes, and we follow.
	specs[0].Params = params(500*ms, 600*ms, 5)
	a.set(specs...)
	a.paced(v4, 500*ms, 6000*ms)
	f.session(v4, "500/600/5", func(s frrSession) bool { return s.RemoteTx == 500 && s.RemoteRx == 600 && s.RemoteMult == 5 })
	f.configure(v4, "transmit-interval 1000", "receive-interval 700", "detect-multiplier 10")
	a.paced(v4, 700*ms, 10000*ms)
	specs[0].Params = params(50*ms, 50*ms, 40)
	a.set(specs...)
	f.configure(v4, "transmit-interval 60", "receive-interval 60", "detect-multiplier 40")
	a.paced(v4, 60*ms, 2400*ms)
	f.configure(v4, "transmit-interval 300", "receive-interval 300")
	a.paced(v4, 300*ms, 12000*ms)
	for _, where := range []string{v4, v6} {
		if s := a.get(where); s.Falls != 0 {
			t.Errorf("a change cost %s: %s", where, s.Reason())
		}
	}

	// AdminDown, ours and its.
	specs[1].AdminDown = true
	a.set(specs...)
	f.session(v6, "down by AdminDown", func(s frrSession) bool { return s.Status == "down" && s.RemoteDiag == "administratively down" })
	specs[1].AdminDown = false
	a.set(specs...)
	a.up(v6)
	f.is(v6, "up")
	f.configure(v4, "shutdown")
	s := a.expect("FRR's AdminDown", v4, func(s bfd.Status) bool { return s.State == bfd.Down && s.RemoteState == bfd.AdminDown })
	if s.Failed || s.Reason() != "the peer has shut it" {
		t.Errorf("%+v: %s", s, s.Reason())
	}
	f.configure(v4, "no shutdown")
	a.up(v4)
	if d := a.Dropped(); d != [bfd.Drops]uint64{} {
		t.Errorf("dropped %v", d)
	}
	a.stop()
	f.session(v4, "down by AdminDown", func(s frrSession) bool { return s.Status == "down" && s.RemoteDiag == "administratively down" })
}

func TestFRRIsLost(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	f := startFRR(t, w, params(300*ms, 300*ms, 2)) // it takes no multiplier of 1
	a := start(t, w.a, spec(v4, 0, params(1000*ms, 500*ms, 1)), spec(v6, 0, params(300*ms, 300*ms, 3)))
	a.paced(v4, 1000*ms, 1000*ms)
	f.is(v4, "up")
	if err := f.bfdd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s := a.expect("the stop of bfdd", v4, func(s bfd.Status) bool { return s.State == bfd.Down && s.Diagnostic == bfd.TimeExpired })
	t.Logf("noticed %.2f detection times after it", time.Since(began).Seconds())
	if !s.Failed || s.Diagnostic != bfd.TimeExpired {
		t.Errorf("%+v", s)
	}
	if err := f.bfdd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	a.up(v4)
	f.is(v4, "up")
	_ = f.bfdd.Process.Kill()
	_ = f.bfdd.Wait()
	a.expect("the kill of bfdd", v6, func(s bfd.Status) bool { return s.Failed })
	f.start()
	a.up(v4)
	a.up(v6)
}

// TestOneWayLoss lets the peer hear nothing of us while we hear it: its word for
// it must be enough.
func TestOneWayLoss(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	f := startFRR(t, w, bfd.Default())
	a := start(t, w.a, spec(v4, 0, bfd.Default()))
	a.paced(v4, 300*ms, 900*ms)
	f.is(v4, "up")
	testenv.RequireTool(t, "nft")
	w.b.Run("nft", "add table inet cut; add chain inet cut in { type filter hook input priority 0; }; add rule inet cut in udp dport 3784 drop")
	// It is in Init soon, for it hears the peer.
	s := a.expect("the loss in our direction", v4, func(s bfd.Status) bool { return s.Failed })
	if s.Diagnostic != bfd.NeighborDown || s.RemoteDiag != bfd.TimeExpired || s.Reason() != "the peer doesn't hear this side any more" {
		t.Errorf("%+v: %s", s, s.Reason())
	}
	w.b.Run("nft", "delete table inet cut")
	a.up(v4)
}
