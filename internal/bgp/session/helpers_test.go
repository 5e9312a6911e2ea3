package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/vrf"
)

// eventuallyWithin is how long a condition may take on a busy machine.
const eventuallyWithin = 40 * time.Second

// eventually waits for a condition; describe says what is the case instead.
func eventually(t *testing.T, what string, ok func() bool, describe func() string) {
	t.Helper()
	deadline := time.Now().Add(eventuallyWithin)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v; %s", what, eventuallyWithin, describe())
		}
		<-time.After(5 * time.Millisecond)
	}
}

// memoryFIB is a FIB that remembers, and fails when told to.
type memoryFIB struct {
	mu        sync.Mutex
	routes    map[string]map[netip.Prefix][]vrf.NextHop
	withdrawn map[netip.Prefix]int
	refuse    func([]vrf.Change) error
}

var _ FIB = (*memoryFIB)(nil)

func newMemoryFIB() *memoryFIB {
	return &memoryFIB{routes: map[string]map[netip.Prefix][]vrf.NextHop{}, withdrawn: map[netip.Prefix]int{}}
}

func (f *memoryFIB) Apply(_ context.Context, name string, changes []vrf.Change) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		if err := f.refuse(changes); err != nil {
			return err
		}
	}
	if f.routes[name] == nil {
		f.routes[name] = map[netip.Prefix][]vrf.NextHop{}
	}
	for _, c := range changes {
		if len(c.NextHops) == 0 {
			delete(f.routes[name], c.Prefix)
			f.withdrawn[c.Prefix]++
		} else {
			f.routes[name][c.Prefix] = c.NextHops
		}
	}
	return nil
}

// get writes a route as "gateway@uplink gateway@uplink", or "".
func (f *memoryFIB) get(name, prefix string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var parts []string
	for _, h := range f.routes[name][netip.MustParsePrefix(prefix)] {
		parts = append(parts, h.Gateway.String()+"@"+h.Uplink)
	}
	return strings.Join(parts, " ")
}

func (f *memoryFIB) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for name, routes := range f.routes {
		for _, p := range slices.SortedFunc(maps.Keys(routes), netip.Prefix.Compare) {
			fmt.Fprintf(&b, "%s %v %v; ", name, p, routes[p])
		}
	}
	return b.String()
}

// withdrawals counts how often routes were taken away.
func (f *memoryFIB) withdrawals(prefixes ...string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range prefixes {
		n += f.withdrawn[netip.MustParsePrefix(p)]
	}
	return n
}

func (f *memoryFIB) expect(t *testing.T, prefix, want string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s via %q", prefix, want),
		func() bool { return f.get("public", prefix) == want }, func() string { return "FIB: " + f.String() })
}

var discard = slog.New(slog.DiscardHandler)

// testLog writes the speaker's log into the test's.
type testLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// start runs a speaker until the test ends.
func start(t *testing.T, c Config, fib FIB) *Speaker {
	t.Helper()
	log := &testLog{}
	s := New(c, fib, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), eventuallyWithin)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("stopping: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("running: %v", err)
		}
		if t.Failed() {
			t.Log(log.buf.String())
		}
	})
	return s
}

func awaitState(t *testing.T, s *Speaker, peer int, want State) {
	t.Helper()
	eventually(t, "state "+string(want), func() bool { return s.Peers()[peer].State == want },
		func() string { return fmt.Sprintf("%+v", s.Peers()[peer]) })
}

func awaitError(t *testing.T, s *Speaker, peer int, words string) {
	t.Helper()
	eventually(t, fmt.Sprintf("an error %q", words),
		func() bool { return strings.Contains(s.Peers()[peer].LastError, words) },
		func() string { return fmt.Sprintf("%+v", s.Peers()[peer]) })
}

func announcement(prefix string, communities ...uint32) bgp.Announcement {
	return bgp.Announcement{
		VRF: "public", Prefix: netip.MustParsePrefix(prefix), Preference: bgp.PreferenceNormal, Communities: communities,
	}
}

// router is a namespace with another BGP implementation in it, joined to ours
// by a veth pair.
type router struct {
	t      *testing.T
	pid    string
	uplink string // our end
	n      int    // its number makes the addresses: 100.64.n.1 is ours, .2 its
	dir    string
}

var routers struct {
	sync.Mutex
	n int
}

func newRouter(t *testing.T) *router {
	t.Helper()
	routers.Lock()
	routers.n++
	r := &router{t: t, n: routers.n, uplink: fmt.Sprintf("hrb-up%d", routers.n)}
	routers.Unlock()
	holder := exec.Command("sleep", "infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	mustStart(t, holder)
	r.pid = strconv.Itoa(holder.Process.Pid)
	dir, err := os.MkdirTemp("", "hrb") // short, for socket paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r.dir = dir

	run(t, "ip", "link", "add", r.uplink, "type", "veth", "peer", "name", "up", "netns", r.pid)
	t.Cleanup(func() { run(t, "ip", "link", "del", r.uplink) })
	run(t, "ip", "addr", "add", r.v4(1)+"/24", "dev", r.uplink)
	run(t, "ip", "addr", "add", r.v6(1)+"/64", "dev", r.uplink, "nodad")
	run(t, "ip", "link", "set", r.uplink, "up")
	r.in("ip", "link", "set", "lo", "up")
	r.in("ip", "addr", "add", r.v4(2)+"/24", "dev", "up")
	r.in("ip", "addr", "add", r.v6(2)+"/64", "dev", "up", "nodad")
	r.in("ip", "link", "set", "dev", "up", "up")
	return r
}

func (r *router) v4(host int) string { return fmt.Sprintf("100.64.%d.%d", r.n, host) }
func (r *router) v6(host int) string { return fmt.Sprintf("2001:db8:%x::%x", r.n, host) }

// peer is the configuration of the session to the router.
func (r *router) peer() Peer {
	return Peer{
		Name: "rr", VRF: "public", Plane: "a", Uplink: r.uplink, Address: netip.MustParseAddr(r.v4(2)),
		LocalV4: netip.MustParseAddr(r.v4(1)), LocalV6: netip.MustParseAddr(r.v6(1)),
	}
}

// config is a speaker with that one session and short timers.
func (r *router) config(change ...func(*Config, *Peer)) Config {
	p := r.peer()
	c := Config{
		AS: 65000, RouterID: netip.MustParseAddr("10.0.0.1"), HoldTime: 9 * time.Second,
		ConnectRetry: 200 * time.Millisecond, RestartTime: 60 * time.Second,
	}
	for _, f := range change {
		f(&c, &p)
	}
	c.Peers = []Peer{p}
	return c
}

// in runs a command in the router's namespace.
func (r *router) in(args ...string) string {
	r.t.Helper()
	return run(r.t, "nsenter", append([]string{"-t", r.pid, "-n"}, args...)...)
}

// daemon starts a program in the router's namespace, until stop or the end.
func (r *router) daemon(args ...string) (stop func()) {
	r.t.Helper()
	_, stop = r.process(args...)
	return stop
}

// process is daemon for who wants to send it signals.
func (r *router) process(args ...string) (p *os.Process, stop func()) {
	r.t.Helper()
	cmd := exec.Command("nsenter", append([]string{"-t", r.pid, "-n"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stop = mustStart(r.t, cmd)
	return cmd.Process, stop
}

func mustStart(t *testing.T, cmd *exec.Cmd) (stop func()) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %v: %v", cmd.Args, err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%v:\n%s", cmd.Args, out.String())
		}
	})
	t.Cleanup(stop)
	return stop
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// try runs a command that may fail.
func try(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		return err.Error()
	}
	return string(out)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
