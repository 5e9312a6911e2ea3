package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/testenv"
)

var testLabs atomic.Int32

// testLab builds the reference topology under a prefix of its own and takes it down at the end.
func testLab(t *testing.T) *Lab {
	t.Helper()
	return testLabOf(t, Reference())
}

func testLabOf(t *testing.T, topology Topology) *Lab {
	t.Helper()
	testenv.RequireRoot(t)
	for _, tool := range []string{"ip", "bird", "birdc", frrPath + "zebra", frrPath + "bfdd", frrPath + "bgpd", "vtysh"} {
		testenv.RequireTool(t, tool)
	}
	topology.Prefix = fmt.Sprintf("hrt%d-%d-", os.Getpid(), testLabs.Add(1))
	dir, err := os.MkdirTemp("", "hrlab") // short: unix sockets live in it
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // FRR's daemons are not root
		t.Fatal(err)
	}
	l, err := Up(t.Context(), topology, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checkDown(t, l) })
	return l
}

// checkDown takes the lab down and looks for what it may have left.
func checkDown(t *testing.T, l *Lab) {
	t.Helper()
	if t.Failed() {
		dumpLogs(t, l)
	}
	ctx := context.Background() // the test's own has ended
	names, err := namespaces(ctx, l.Topology.Prefix)
	if err != nil {
		t.Error(err)
	}
	pids, err := inside(names)
	if err != nil {
		t.Error(err)
	}
	if err := l.Down(ctx); err != nil {
		t.Errorf("taking the lab down: %v", err)
	}
	if left, err := namespaces(ctx, l.Topology.Prefix); err != nil || len(left) > 0 {
		t.Errorf("namespaces left: %v, %v", left, err)
	}
	for _, pid := range pids {
		if _, err := startTime(pid); err == nil {
			t.Errorf("process %d of the lab is left", pid)
		}
	}
	if _, err := os.Stat(l.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lab's directory is left: %v", err)
	}
	if err := l.Down(ctx); err != nil {
		t.Errorf("taking down a lab that is gone: %v", err)
	}
}

func dumpLogs(t *testing.T, l *Lab) {
	for _, d := range [][2]string{{"rra", "bird"}, {"rrb", "frr"}, {"rra2", "frr"}, {"edge", "bird"}} {
		if d, err := l.Daemon(d[0], d[1]); err == nil {
			t.Logf("log of %s in %s:\n%s", d.Name, d.Node, d.Tail(30))
		}
	}
}

// wants is the check of an answer that must contain all the words.
func wants(answer string, err error, words ...string) error {
	if err != nil {
		return err
	}
	for _, w := range words {
		if !strings.Contains(answer, w) {
			return fmt.Errorf("%q is not in:\n%s", w, answer)
		}
	}
	return nil
}

func eventually(t *testing.T, what string, limit time.Duration, ask func() error) {
	t.Helper()
	if err := Eventually(t.Context(), what, limit, ask); err != nil {
		t.Fatal(err)
	}
}

// announceFromHV1 makes hv1 a BGP client of both reflectors without hostroute: addresses on its public
// uplinks and a BIRD that announces vm1.
func announceFromHV1(t *testing.T, l *Lab) {
	t.Helper()
	ctx, h := t.Context(), l.Topology.Hypervisors[0]
	var b batch
	config := edgeConfig{AS: l.Topology.AS, ID: h.Management, BFD: PathBFD()}
	for _, u := range l.Topology.Uplinks(h) {
		if u.VRF != edgeVRF {
			continue
		}
		b.add("addr add %s dev %s", u.V4, u.Interface)
		b.add("addr add %s dev %s nodad", u.V6, u.Interface)
		b.add("link set %s up", u.Interface)
		for i, r := range u.Reflectors {
			name := fmt.Sprintf("plane_%s_%d", u.Plane, i)
			config.Sessions = append(config.Sessions, edgeSession{Name: name, Plane: u.Plane, Interface: u.Interface, Reflector: r, Self4: u.V4.Addr(), Self6: u.V6.Addr()})
		}
	}
	if err := b.run(ctx, l.Topology.Namespace("hv1")); err != nil {
		t.Fatal(err)
	}
	if err := l.render("edge-bird.conf.tmpl", "hv1-bird.conf", config); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(l.path("hv1-bird.conf"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("route 0.0.0.0/0 unreachable", "route 203.0.113.11/32 unreachable", "route ::/0 unreachable", "route 2001:db8:cb00:7101::/64 unreachable").Replace(string(raw))
	if err := os.WriteFile(l.path("hv1-bird.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Start(ctx, "hv1", "bird", "bird", "-f", "-c", l.path("hv1-bird.conf"), "-s", l.birdSocket("hv1")); err != nil {
		t.Fatal(err)
	}
}

func TestTopology(t *testing.T) {
	t.Parallel()
	l := testLab(t)
	ctx := t.Context()
	if _, err := Up(ctx, l.Topology, l.Dir); !errors.Is(err, ErrStanding) {
		t.Errorf("building a second lab of the same prefix: %v, want ErrStanding", err)
	}
	eventually(t, "the edge's sessions", 30*time.Second, func() error {
		out, err := l.BIRD(ctx, "edge", "show", "protocols")
		if got := strings.Count(out, "Established"); err == nil && got != 2 {
			return fmt.Errorf("%d sessions established, want 2:\n%s", got, out)
		}
		return err
	})
	eventually(t, "the default routes on the reflector of plane A", 10*time.Second, func() error {
		out, err := l.BIRD(ctx, "rra", "show", "route", "table", "all", "all")
		return wants(out, err, "0.0.0.0/0", "::/0", "BGP.next_hop: 100.64.0.2", "BGP.next_hop: 2001:db8:a::2")
	})
	eventually(t, "the default routes on the reflector of plane B", 10*time.Second, func() error {
		out, err := l.FRR(ctx, "rrb", "show bgp view public ipv4 unicast")
		if err := wants(out, err, "*>i0.0.0.0/0", "100.64.2.2"); err != nil {
			return err
		}
		out, err = l.FRR(ctx, "rrb", "show bgp view public ipv6 unicast")
		return wants(out, err, "*>i::/0", "2001:db8:b::2")
	})
	checkKept(t, l)
	announceFromHV1(t, l)
	checkWatched(t, l)
	checkReflected(t, l)
	checkStream(t, l)
	checkTraffic(t, l)
	checkPlaneFaults(t, l)
	checkMove(t, l)
	checkPower(t, l)
}

// checkPower switches a hypervisor off and on again.
func checkPower(t *testing.T, l *Lab) {
	ctx := t.Context()
	if _, err := l.Start(ctx, "hv2", "sleeper", "sleep", "600"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it to be on its host", 5*time.Second, func() error {
		if pids, err := inside([]string{l.Topology.Namespace("hv2")}); err != nil || len(pids) == 0 {
			return fmt.Errorf("in it: %v, %v", pids, err)
		}
		return nil
	})
	if _, err := l.PowerOffHost(ctx, "hv2"); err != nil {
		t.Fatal(err)
	}
	if d, err := l.Daemon("hv2", "sleeper"); err != nil || d.Alive() {
		t.Errorf("a program outlived its host: %v", err)
	}
	if out, err := l.Exec(ctx, "vm3", "ip", "-br", "link"); err != nil || strings.Contains(out, "eth0") {
		t.Errorf("the guest's cable outlived its host: %s, %v", out, err)
	}
	if err := l.PowerOnHost(ctx, "hv2"); err != nil {
		t.Fatal(err)
	}
	if err := l.Configure(ctx, "vm3"); err != nil {
		t.Fatal(err)
	}
	out, err := l.Exec(ctx, "hv2", "ip", "-br", "link")
	if err := wants(out, err, "a-public", "a-private", "b-public", "b-private", "mgmt", "tap3", "tap3p"); err != nil {
		t.Error(err)
	}
	if err := l.Ping(ctx, "hv2", l.Topology.LogAddress.Addr()); err != nil {
		t.Error(err)
	}
	if _, err := l.PowerOffHost(ctx, "hv9"); err == nil {
		t.Error("switching off a host that is not there: no error")
	}
}

// checkKept wants both reflectors to ask their clients to keep what they were told, in both families: a client drops
// what a reflector that only helps others to restart has told it.
func checkKept(t *testing.T, l *Lab) {
	for _, plane := range []string{"plane_a", "plane_b"} {
		out, err := l.BIRD(t.Context(), "edge", "show", "protocols", "all", plane)
		_, theirs, _ := strings.Cut(out, "Neighbor capabilities")
		theirs, _, _ = strings.Cut(theirs, "Session:")
		_, restart, _ := strings.Cut(theirs, "Graceful restart")
		restart, long, _ := strings.Cut(restart, "Long-lived graceful restart")
		if err := wants(restart, err, "AF supported: ipv4 ipv6"); err != nil {
			t.Errorf("%s, graceful restart: %v\n%s", plane, err, theirs)
		}
		if err := wants(long, err, "LL stale time: 86400", "AF supported: ipv4 ipv6"); err != nil {
			t.Errorf("%s, long-lived graceful restart: %v\n%s", plane, err, theirs)
		}
	}
}

// checkWatched wants the clients' paths under BFD by both reflectors.
func checkWatched(t *testing.T, l *Lab) {
	eventually(t, "BFD of the clients of plane A", 20*time.Second, func() error {
		out, err := l.BIRD(t.Context(), "rra", "show", "bfd", "sessions")
		if got := strings.Count(out, " Up "); err == nil && got != 2 {
			return fmt.Errorf("%d sessions are up, want 2:\n%s", got, out)
		}
		return err
	})
	eventually(t, "BFD of the clients of plane B", 20*time.Second, func() error {
		out, err := l.vtysh(t.Context(), "rrb", "bfdd", "show bfd peers")
		if got := strings.Count(out, "Status: up"); err == nil && got != 2 {
			return fmt.Errorf("%d sessions are up, want 2:\n%s", got, out)
		}
		return err
	})
}

// checkReflected wants what each of two clients announced at the other one, over both planes and in both
// families: in the edge's kernel as multipath routes.
func checkReflected(t *testing.T, l *Lab) {
	ctx := t.Context()
	eventually(t, "vm1's routes in the edge's kernel", 20*time.Second, func() error {
		out, err := l.Exec(ctx, "edge", "ip", "route", "show", "203.0.113.11")
		if err := wants(out, err, "via 100.64.0.11", "via 100.64.2.11"); err != nil {
			return err
		}
		out, err = l.Exec(ctx, "edge", "ip", "-6", "route", "show", "2001:db8:cb00:7101::/64")
		return wants(out, err, "dev a-public", "dev b-public") // by link-local next hops, where BIRD is given some
	})
	eventually(t, "the default routes in hv1's kernel", 20*time.Second, func() error {
		out, err := l.Exec(ctx, "hv1", "ip", "route", "show", "default")
		if err := wants(out, err, "via 100.64.0.2", "via 100.64.2.2"); err != nil {
			return err
		}
		out, err = l.Exec(ctx, "hv1", "ip", "-6", "route", "show", "default")
		return wants(out, err, "dev a-public", "dev b-public")
	})
	for _, to := range []string{"192.0.2.1", "2001:db8:ffff::1"} {
		if out, err := l.Exec(ctx, "hv1", "ip", "route", "get", to); err != nil || !strings.Contains(out, "-public") {
			t.Errorf("hv1's way to %s: %s, %v", to, out, err)
		}
	}
	eventually(t, "the internet to answer hv1", 10*time.Second, func() error {
		if err := l.Ping(ctx, "hv1", l.Topology.Internet4); err != nil {
			return err
		}
		return l.Ping(ctx, "hv1", l.Topology.Internet6)
	})
}

// checkStream pings while nothing happens, so nothing may be lost. Three questions and answers of another ping
// are the time that it has.
func checkStream(t *testing.T, l *Lab) {
	stream, err := l.StartStream("hv1", l.Topology.Internet4, "0.02")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := l.Ping(t.Context(), "hv1", l.Topology.Internet6, "-i", "0.1", "-c", "2"); err != nil {
			t.Error(err)
		}
	}
	sent, received, err := stream.Stop()
	if err != nil || sent < 2 || received < sent {
		t.Errorf("the stream lost packets: %d sent, %d received, %v", sent, received, err)
	}
}

// checkPlaneFaults cuts plane B and silences plane A in turn.
func checkPlaneFaults(t *testing.T, l *Lab) {
	ctx := t.Context()
	if err := l.CutPlane(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss of carrier on hv1", 5*time.Second, func() error { // the kernel tells it a little later
		out, err := l.Exec(ctx, "hv1", "ip", "-br", "link", "show", "dev", "b-public")
		return wants(out, err, "NO-CARRIER")
	})
	eventually(t, "everything to run over plane A", 30*time.Second, func() error {
		out, err := l.Exec(ctx, "edge", "ip", "route", "show", "203.0.113.11")
		if err == nil && (strings.Contains(out, "100.64.2.11") || !strings.Contains(out, "100.64.0.11")) {
			return fmt.Errorf("the edge's route is %s", out)
		}
		return err
	})
	eventually(t, "the internet to answer over plane A", 20*time.Second, func() error { return l.Ping(ctx, "hv1", l.Topology.Internet4) })
	if err := l.RestorePlane(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	checkReflected(t, l)
	if err := l.SilencePlane(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	reflector := l.Topology.Planes[0].Segments[0].address4(reflectorHosts[0]).Addr()
	if err := l.Ping(ctx, "hv1", reflector); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("ping over a silent plane: %v, want ErrNoAnswer", err)
	}
	if out, err := l.Exec(ctx, "hv1", "ip", "-br", "link", "show", "dev", "a-public"); err != nil || strings.Contains(out, "NO-CARRIER") {
		t.Errorf("carrier on a silent plane: %s, %v", out, err)
	}
	if err := l.RestoreSilence(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the silent plane to answer again", 10*time.Second, func() error { return l.Ping(ctx, "hv1", reflector) })
}

func checkMove(t *testing.T, l *Lab) {
	ctx := t.Context()
	if err := l.MoveGuest(ctx, "vm1", "hv3"); err != nil {
		t.Fatal(err)
	}
	if home, err := l.HomeOf(ctx, "vm1"); err != nil || home != "hv3" {
		t.Errorf("home of vm1 after the move: %q, %v", home, err)
	}
	if out, err := l.Exec(ctx, "hv3", "ip", "-br", "link", "show", "dev", "tap1p"); err != nil {
		t.Errorf("the second tap: %s, %v", out, err)
	}
	if err := l.MoveGuest(ctx, "vm9", "hv3"); err == nil {
		t.Error("moving a guest that is not there: no error")
	}
}

// TestRunInterrupted wants an interruption to be told as one, not as the signal that a program died of.
func TestRunInterrupted(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := run(ctx, "", "sleep", "60"); !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "killed") {
		t.Errorf("got %v", err)
	}
}

func TestUpLeavesNothingWhenItFails(t *testing.T) {
	testenv.RequireRoot(t)
	topology := Reference()
	topology.Prefix = fmt.Sprintf("hrf%d-", os.Getpid())
	topology.Guests[3].Hypervisor = "hv9"
	dir := filepath.Join(t.TempDir(), "lab")
	_, err := Up(t.Context(), topology, dir)
	if err == nil || !strings.Contains(err.Error(), "building guest vm4") || !strings.Contains(err.Error(), topology.Prefix+"hv9") {
		t.Errorf("a guest on a hypervisor that is not there: %v, want an error that names both", err)
	}
	if left, err := namespaces(t.Context(), topology.Prefix); err != nil || len(left) > 0 {
		t.Errorf("namespaces left: %v, %v", left, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lab's directory is left: %v", err)
	}
}

func TestDaemonEndsAndIsFoundAgain(t *testing.T) {
	testenv.RequireRoot(t)
	topology := Topology{Prefix: fmt.Sprintf("hrd%d-", os.Getpid())}
	l := Open(topology, t.TempDir())
	if err := errors.Join(claim(l.Dir), os.MkdirAll(l.path(logsDir), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := l.makeNamespaces(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checkDown(t, l) })
	if _, err := l.Start(t.Context(), NodeEdge, "stubborn", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"); err != nil {
		t.Fatal(err)
	}
	d, err := l.Daemon(NodeEdge, "stubborn")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "its first word", 5*time.Second, func() error { return wants(d.Tail(1), nil, "ready") })
	if _, err := l.Start(t.Context(), NodeEdge, "stubborn", "true"); err == nil {
		t.Error("starting a daemon twice: no error")
	}
	if err := d.Stop(t.Context(), syscall.SIGTERM, 50*time.Millisecond); err == nil {
		t.Error("stopping a daemon that ignores the signal: no error")
	}
	eventually(t, "the kill", 5*time.Second, func() error {
		if d.Alive() {
			return errors.New("it is alive")
		}
		return nil
	})
	if err := d.Stop(t.Context(), syscall.SIGTERM, time.Second); err != nil {
		t.Errorf("stopping a daemon that is gone: %v", err)
	}
}
