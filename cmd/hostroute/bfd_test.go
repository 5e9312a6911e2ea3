package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/bfd"
	"github.com/hostroute/hostroute/internal/bfd/control"
	"github.com/hostroute/hostroute/internal/testenv"
)

// bfdHost is a namespace with hostroute bfd in it.
type bfdHost struct {
	t      *testing.T
	net    *testenv.Netns
	socket string
	state  string
	config string
	cmd    *exec.Cmd
	log    *watch
	prefix []string // of the command
}

func (h *bfdHost) start() {
	h.t.Helper()
	h.log = newWatch("BFD is ready")
	args := append(h.prefix, "hostroute", "bfd", "--config", h.config, "--socket", h.socket, "--state", h.state)
	h.cmd = h.net.Command(args[0], args[1:]...)
	h.cmd.Stderr = h.log
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	select {
	case <-h.log.found:
	case <-time.After(time.Minute):
		h.t.Fatalf("not ready after a minute:\n%s", h.log)
	}
}

func (h *bfdHost) end(s os.Signal) {
	h.t.Helper()
	if err := h.cmd.Process.Signal(s); err != nil {
		h.t.Fatal(err)
	}
	err := h.cmd.Wait()
	if s == syscall.SIGTERM && err != nil {
		h.t.Errorf("ended with %v:\n%s", err, h.log)
	}
	h.cmd = nil
}

// client runs a client that wants the session with the other host, until stop.
func (h *bfdHost) client(local, remote string, changed func(control.Status)) (c *control.Client, stop func()) {
	h.t.Helper()
	c = control.NewClient(h.socket, slog.New(slog.DiscardHandler), changed)
	params := bfd.Default()
	params.Multiplier = 10 // the start of a process takes its time on a busy machine
	key := bfd.Key{Interface: "port", Local: netip.MustParseAddr(local), Remote: netip.MustParseAddr(remote)}
	if err := c.Set([]bfd.Spec{{Name: "peer", Key: key, Params: params}}); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
	h.t.Cleanup(stop)
	return c, stop
}

func awaitBFD(t *testing.T, what string, c *control.Client, ok func(control.Status) bool) control.Status {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		if s, found := c.Session("peer"); found && ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute: %+v", what, c.State())
		}
	}
}

func bfdHosts(t *testing.T) (hosts [2]*bfdHost) {
	t.Helper()
	testenv.RequireRoot(t)
	dir, err := os.MkdirTemp("", "hrb") // short, for the limit of socket paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := filepath.Join(dir, "hostroute.yaml")
	if err := os.WriteFile(config, []byte("hypervisor: hv1\nlog: {url: \"nats://198.51.100.10:4222\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range hosts {
		hosts[i] = &bfdHost{t: t, net: testenv.NewNetns(t), config: config,
			socket: fmt.Sprintf("%s/%d.sock", dir, i), state: fmt.Sprintf("%s/%d.state", dir, i)}
	}
	testenv.Veth(hosts[0].net, "port", hosts[1].net, "port")
	for i, h := range hosts {
		h.net.IP(fmt.Sprintf("addr add 192.0.2.%d/24 dev port", i+1))
		t.Cleanup(func() {
			if h.cmd != nil {
				_ = h.cmd.Process.Kill()
				_ = h.cmd.Wait()
			}
		})
	}
	return hosts
}

func isUp(s control.Status) bool { return s.Up() }

// TestBFDOutlivesItsAgent is what the process is for: the peer sees nothing of the
// end and start of an agent, and nothing of that of the process if it is quick.
func TestBFDOutlivesItsAgent(t *testing.T) {
	t.Parallel()
	hosts := bfdHosts(t)
	for _, h := range hosts {
		h.start()
	}
	var failures atomic.Int32
	changed := func(s control.Status) {
		if s.Failed {
			failures.Add(1)
		}
	}
	agent, stopAgent := hosts[0].client("192.0.2.1", "192.0.2.2", changed)
	peer, _ := hosts[1].client("192.0.2.2", "192.0.2.1", nil)
	awaitBFD(t, "up", agent, isUp)
	before := awaitBFD(t, "up and paced", peer, func(s control.Status) bool {
		return s.Up() && s.DetectionTime == control.Duration(3*time.Second)
	})

	for range 5 {
		stopAgent()
		agent, stopAgent = hosts[0].client("192.0.2.1", "192.0.2.2", changed)
		awaitBFD(t, "up again", agent, isUp)
	}
	// Counters come every few seconds: there have been packets since.
	after := awaitBFD(t, "new counters", peer, func(s control.Status) bool { return s.Received > before.Received })
	if after.Revision != before.Revision || after.Falls != 0 {
		t.Errorf("the peer noticed restarts of the agent: %+v", after)
	}

	// Whatever ends the process, a new one that is there within the detection time
	// goes on with the session.
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL} {
		hosts[0].end(signal)
		hosts[0].start()
		seen := awaitBFD(t, "any state", peer, func(control.Status) bool { return true })
		after := awaitBFD(t, "packets after the restart", peer, func(s control.Status) bool { return s.Received > seen.Received })
		if !after.Up() || after.Falls != 0 {
			t.Errorf("the peer noticed signal %v: %+v", signal, after)
		}
	}
	awaitBFD(t, "up, as the agent sees it", agent, func(s control.Status) bool { return s.Up() && s.Falls == 0 })

	// One that comes too late knows that it isn't the path that failed.
	hosts[0].end(syscall.SIGKILL)
	s := awaitBFD(t, "the end of a killed process", peer, func(s control.Status) bool { return s.Failed })
	if s.State != "down" || !strings.HasPrefix(s.Reason, "nothing was heard of the peer for") {
		t.Errorf("a killed process: %+v", s)
	}
	hosts[0].start() // over the socket that the killed one left
	awaitBFD(t, "up after the kill", peer, isUp)
	if s := awaitBFD(t, "up after the kill, as the agent sees it", agent, func(s control.Status) bool { return s.Up() && s.Falls == 1 }); s.Failed {
		t.Errorf("%+v", s)
	}
	if n := failures.Load(); n > 0 {
		t.Errorf("the agent was told of a failure %d times", n)
	}
}

// TestBFDWithFewPrivileges has what deploy/hostroute-bfd.service leaves: one
// capability, and two limits where the test may raise them. Without these it says
// so once, and works.
func TestBFDWithFewPrivileges(t *testing.T) {
	testenv.RequireTool(t, "setpriv")
	testenv.RequireTool(t, "prlimit")
	t.Parallel()
	hosts := bfdHosts(t)
	limits := []string{"prlimit", "--rtprio=50", "--memlock=unlimited"}
	raised := exec.Command(limits[0], append(limits[1:], "true")...).Run() == nil
	for _, h := range hosts {
		h.prefix = []string{"setpriv", "--bounding-set=-all,+net_raw", "--inh-caps=-all", "--no-new-privs"}
		if raised {
			h.prefix = append(limits, h.prefix...)
		}
		h.start()
	}
	a, _ := hosts[0].client("192.0.2.1", "192.0.2.2", nil)
	hosts[1].client("192.0.2.2", "192.0.2.1", nil)
	awaitBFD(t, "up", a, isUp)
	text := hosts[0].log.String()
	complaints := strings.Count(text, "level=WARN") + strings.Count(text, `"level":"WARN"`)
	switch {
	case raised && complaints > 0:
		t.Errorf("complains:\n%s", text)
	case !raised && (complaints != 1 || !strings.Contains(text, "LimitRTPRIO=50") || !strings.Contains(text, "LimitMEMLOCK=infinity")):
		t.Errorf("must say once what isn't permitted:\n%s", text)
	}
	if strings.Contains(text, "ERROR") {
		t.Errorf("complains:\n%s", text)
	}
}
