package udp

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hostroute/hostroute/internal/bfd"
	"github.com/hostroute/hostroute/internal/testenv"
)

const ms = time.Millisecond

// engineEnv makes the test's process an engine: it holds addresses as
// "interface local remote" and the end of the test is the end of its standard
// input.
const engineEnv = "HOSTROUTE_TEST_ENGINE"

func TestMain(m *testing.M) {
	if ends := strings.Fields(os.Getenv(engineEnv)); len(ends) == 3 {
		e := New(Options{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
		spec := bfd.Spec{Name: "s", Params: bfd.Default(), Key: bfd.Key{
			Interface: ends[0], Local: netip.MustParseAddr(ends[1]), Remote: netip.MustParseAddr(ends[2])}}
		if err := e.Set([]bfd.Spec{spec}); err != nil {
			panic(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		go func() { _, _ = os.Stdin.Read(make([]byte, 1)); cancel() }()
		if err := e.Run(ctx); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	// Most of a test is waiting for packets.
	flag.Parse()
	_ = flag.Set("test.parallel", "8")
	goleak.VerifyTestMain(m)
}

// eventually waits for a condition; describe says what is the case instead.
func eventually(t testing.TB, what string, ok func() bool, describe func() string) {
	t.Helper()
	tick := time.NewTicker(5 * ms)
	defer tick.Stop()
	for deadline := time.Now().Add(40 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 40 s; %s", what, describe())
		}
	}
}

// wire is two namespaces joined by a cable, "port" on either side: .1 is ours and
// .2 the peer's.
type wire struct {
	t    *testing.T
	a, b *testenv.Netns
}

func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{t: t, a: testenv.NewNetns(t), b: testenv.NewNetns(t)}
	testenv.Veth(w.a, "port", w.b, "port")
	for i, n := range []*testenv.Netns{w.a, w.b} {
		n.IP(fmt.Sprintf("addr add 192.0.2.%d/24 dev port", i+1), fmt.Sprintf("addr add 2001:db8::%d/64 dev port nodad", i+1),
			fmt.Sprintf("addr add fe80::%d/64 dev port nodad", i+1))
	}
	return w
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// spec is a session from end i to the other one; where is the address of end 0
// without its last digit.
func spec(where string, i int, p bfd.Params) bfd.Spec {
	return bfd.Spec{Name: where, Params: p, Key: bfd.Key{
		Interface: "port", Local: addr(fmt.Sprintf("%s%d", where, i+1)), Remote: addr(fmt.Sprintf("%s%d", where, 2-i)),
	}}
}

const (
	v4   = "192.0.2."
	v6   = "2001:db8::"
	link = "fe80::"
)

func params(tx, rx time.Duration, multiplier uint8) bfd.Params {
	return bfd.Params{MinTx: tx, MinRx: rx, Multiplier: multiplier}
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// running is an engine in a namespace until stop or the end of the test.
type running struct {
	*Engine
	t    *testing.T
	log  *syncBuffer
	stop func()
}

func start(t *testing.T, n *testenv.Netns, specs ...bfd.Spec) *running {
	t.Helper()
	log := &syncBuffer{}
	r := &running{t: t, log: log, Engine: New(Options{Log: slog.New(slog.NewTextHandler(log, nil)), In: n.Do})}
	r.set(specs...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the engine ended with %v", err)
		}
		if t.Failed() {
			t.Logf("engine in %s:\n%s", n.Name, log)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func (r *running) set(specs ...bfd.Spec) {
	r.t.Helper()
	if err := r.Set(specs); err != nil {
		r.t.Fatal(err)
	}
}

// get is a session, by name.
func (r *running) get(name string) bfd.Status {
	for _, s := range r.Status() {
		if s.Name == name {
			return s
		}
	}
	return bfd.Status{}
}

func (r *running) expect(what, name string, ok func(bfd.Status) bool) bfd.Status {
	r.t.Helper()
	var s bfd.Status
	eventually(r.t, what, func() bool { s = r.get(name); return s.Name != "" && ok(s) },
		func() string { return fmt.Sprintf("%+v, %s", s, s.Reason()) })
	return s
}

func (r *running) up(name string) bfd.Status {
	r.t.Helper()
	return r.expect("up", name, func(s bfd.Status) bool { return s.State == bfd.Up })
}

// paced waits until a session is up with these times.
func (r *running) paced(name string, interval, detection time.Duration) {
	r.t.Helper()
	r.expect(fmt.Sprintf("interval %v, detection %v", interval, detection), name, func(s bfd.Status) bool {
		return s.State == bfd.Up && s.TransmitInterval == interval && s.DetectionTime == detection
	})
}

// daemon starts a program in a namespace, until the test ends.
func daemon(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	out := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %v: %v", cmd.Args, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%v:\n%s", cmd.Args, out)
		}
	})
	return cmd
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// shortDir is a folder whose path is short enough for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hrbfd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// output is what a command says, whether it fails or not.
func output(cmd *exec.Cmd) string {
	b, _ := cmd.CombinedOutput()
	return string(b)
}

var quiet = slog.New(slog.DiscardHandler)

// patient are the parameters of sessions that must not fall on a busy machine,
// where the peer gets no processor for a while.
func patient() bfd.Params { return params(300*ms, 300*ms, 10) }
