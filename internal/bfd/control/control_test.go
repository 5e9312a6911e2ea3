package control

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hostroute/hostroute/internal/bfd"
	"github.com/hostroute/hostroute/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// memory is an engine that does nothing but what it is told.
type memory struct {
	mu       sync.Mutex
	sessions []bfd.Status
	set      uint64
	changed  chan struct{}
	serial   uint64
}

var _ Engine = (*memory)(nil)

func newMemory() *memory { return &memory{changed: make(chan struct{}, 1)} }

func (m *memory) Set(specs []bfd.Spec) error {
	if err := bfd.CheckAll(specs); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions = nil
	for _, s := range specs {
		m.serial++
		m.sessions = append(m.sessions, bfd.Status{Spec: s, Serial: m.serial, Report: bfd.Report{State: bfd.Down}})
	}
	m.set++
	poke(m.changed)
	return nil
}

func (m *memory) Snapshot() ([]bfd.Status, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]bfd.Status(nil), m.sessions...), m.set
}

func (m *memory) Changed() <-chan struct{} { return m.changed }

// enter puts a session into a state.
func (m *memory) enter(i int, s bfd.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions[i].State = s
	m.sessions[i].Revision++
	poke(m.changed)
}

func (m *memory) names() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for _, s := range m.sessions {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

func spec(name string, host byte) bfd.Spec {
	return bfd.Spec{Name: name, Params: bfd.Default(), Key: bfd.Key{
		Interface: "up0", Local: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Remote: netip.AddrFrom4([4]byte{192, 0, 2, host}),
	}}
}

// serve runs a server on a path until stop or the end of the test.
func serve(t *testing.T, path string, s *Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l, err := Listen(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hrctl") // short, for the limit of socket paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "bfd.sock")
}

// client runs a client until stop or the end of the test; what it tells is in
// heard, as "name state".
func client(t *testing.T, path string) (c *Client, heard func() string, stop func()) {
	t.Helper()
	var mu sync.Mutex
	var events []string
	c = NewClient(path, quiet, func(s Status) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, s.Name+" "+s.State)
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return c, func() string { mu.Lock(); defer mu.Unlock(); return strings.Join(events, ", ") }, stop
}

func TestSetAndChanges(t *testing.T) {
	path, m := socketPath(t), newMemory()
	c, heard, _ := client(t, path) // which waits for the server
	if err := c.Set([]bfd.Spec{spec("one", 2), spec("two", 3)}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "an error", func() bool { return strings.Contains(c.State().LastError, "there is no such socket") })
	stop := serve(t, path, &Server{Engine: m, Log: quiet})
	testenv.Eventually(t, "the set", func() bool { return heard() == "one down, two down" })
	m.enter(1, bfd.Up)
	testenv.Eventually(t, "a change", func() bool { return heard() == "one down, two down, two up" })
	if s, ok := c.Session("two"); !ok || !s.Up() || s.MinTx != Duration(300*time.Millisecond) || s.Remote != spec("", 3).Remote {
		t.Errorf("%+v", s)
	}
	if err := c.Set([]bfd.Spec{spec("two", 3)}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the removal", func() bool { s := c.State(); return len(s.Sessions) == 1 && s.Connected })

	// The server starts anew: the last state stays meanwhile, and the set comes back.
	stop()
	testenv.Eventually(t, "the loss of the connection", func() bool { return !c.State().Connected })
	if s, ok := c.Session("two"); !ok || s.Name != "two" {
		t.Errorf("forgot what it knew: %+v", s)
	}
	again := newMemory()
	serve(t, path, &Server{Engine: again, Log: quiet})
	testenv.Eventually(t, "the set again", func() bool { return again.names() == "two" && c.State().Connected })
	if s := c.State(); s.LastError != "" {
		t.Errorf("%+v", s)
	}
}

// TestWhatIsToldOfLoss: nothing before there is evidence, and never a wrong figure.
func TestWhatIsToldOfLoss(t *testing.T) {
	for _, c := range []struct {
		loss bfd.Loss
		want string
	}{
		{bfd.Loss{Lost: 5, Expected: 50, Window: 15 * time.Second}, ""},
		{bfd.Loss{Lost: 0, Expected: 230, Window: time.Minute}, `"loss":0,"loss_window":"1m0s"`},
		{bfd.Loss{Lost: 69, Expected: 230, Window: 60400 * time.Millisecond}, `"loss":0.3,"loss_window":"1m0s"`},
		{bfd.Loss{Lost: 9, Expected: 230, Fast: true}, `"loss_unknown":"the peer sends faster than was agreed"`},
	} {
		b, err := json.Marshal(status(bfd.Status{Spec: spec("a", 2), Report: bfd.Report{Loss: c.loss}}))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), c.want) || strings.Contains(string(b), "loss") != (c.want != "") {
			t.Errorf("%+v: %s", c.loss, b)
		}
	}
}

func TestWhatIsToldOfAFall(t *testing.T) {
	for _, c := range []struct {
		fell bfd.Fall
		want string
	}{
		{bfd.Fall{}, ""},
		{bfd.Fall{Diagnostic: bfd.TimeExpired, Detection: time.Second}, `"last_fall":"nothing was heard of the peer for 1s","last_fall_time":"2026-11-22T12:00:00Z","last_fall_direction":"receiving"`},
		{bfd.Fall{Diagnostic: bfd.NeighborDown, RemoteDiagnostic: bfd.TimeExpired, RemoteState: bfd.Down}, `"last_fall":"the peer doesn't hear this side any more","last_fall_time":"2026-11-22T12:00:00Z","last_fall_direction":"sending"`},
		{bfd.Fall{Diagnostic: bfd.NeighborDown, RemoteDiagnostic: bfd.Administrative, RemoteState: bfd.AdminDown}, `"last_fall":"the peer has shut it","last_fall_time":"2026-11-22T12:00:00Z"`},
	} {
		at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		b, err := json.Marshal(status(bfd.Status{Spec: spec("a", 2), FellAt: at, Report: bfd.Report{Fell: c.fell}}))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), c.want) || strings.Contains(string(b), "last_fall") != (c.want != "") {
			t.Errorf("%+v: %s", c.fell, b)
		}
	}
}

func TestTheEndOfAClientChangesNothing(t *testing.T) {
	path, m := socketPath(t), newMemory()
	serve(t, path, &Server{Engine: m, Log: quiet})
	c, _, stop := client(t, path)
	if err := c.Set([]bfd.Spec{spec("one", 2)}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the set", func() bool { return m.names() == "one" })
	stop()
	m.enter(0, bfd.Up)
	_, heard, _ := client(t, path) // one that only looks
	testenv.Eventually(t, "what is there", func() bool { return heard() == "one up" })
	if m.names() != "one" {
		t.Errorf("sessions %s", m.names())
	}
}

func TestKeepEnds(t *testing.T) {
	path, m := socketPath(t), newMemory()
	s := &Server{Engine: m, Log: quiet, Keep: time.Millisecond}
	serve(t, path, s)
	c, _, stop := client(t, path)
	if err := c.Set([]bfd.Spec{spec("one", 2)}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the set", func() bool { return m.names() == "one" })
	stop()
	testenv.Eventually(t, "the end of the sessions", func() bool { return m.names() == "" })
}

// TestKeepIsForTheLastAskerOnly tells time by a fake clock.
func TestKeepIsForTheLastAskerOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		s := &Server{Engine: m, Log: quiet, Keep: time.Minute}
		a, b := &conn{Conn: nowhere{}}, &conn{Conn: nowhere{}}
		if err := m.Set([]bfd.Spec{spec("one", 2)}); err != nil {
			t.Fatal(err)
		}
		s.ask(a)
		s.ask(b)
		s.leave(a) // not the one whose sessions these are
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if m.names() != "one" {
			t.Fatal("the end of an earlier asker shut the sessions")
		}
		s.leave(b)
		time.Sleep(59 * time.Second)
		c := &conn{Conn: nowhere{}}
		s.ask(c) // in time
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if m.names() != "one" {
			t.Fatal("shut though somebody asked anew")
		}
		s.leave(c)
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if m.names() != "" {
			t.Fatal("kept too long")
		}
	})
}

type nowhere struct{ net.Conn }

func (nowhere) Close() error { return nil }

// talk sends a line and reads answers until one is of a type.
func talk(t *testing.T, path, line, want string) answer {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte(line + "\n")); err != nil {
		t.Fatal(err)
	}
	for r := bufio.NewReader(c); ; {
		b, err := r.ReadBytes('\n')
		if err != nil {
			t.Fatalf("no answer of type %s: %v", want, err)
		}
		var a answer
		if err := json.Unmarshal(b, &a); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if a.Type == want {
			return a
		}
	}
}

func TestRefusals(t *testing.T) {
	path, m := socketPath(t), newMemory()
	serve(t, path, &Server{Engine: m, Log: quiet})
	if err := m.Set([]bfd.Spec{spec("stays", 9)}); err != nil {
		t.Fatal(err)
	}
	session := `{"name":"a","interface":"up0","local":"192.0.2.1","remote":"192.0.2.2","min_tx":"%s","min_rx":"300ms","multiplier":3}`
	for line, want := range map[string]string{
		`nonsense`:                             "reading the request",
		`{"v":2,"type":"set","sessions":[]}`:   "version 2 of the protocol isn't spoken here, only version 1",
		`{"v":1,"type":"get"}`:                 `type "get": there is only "set"`,
		`{"v":1,"type":"set"}`:                 `a set without "sessions"`,
		`{"v":1,"type":"set","sessions":[{}]}`: "a session has no name",
		`{"v":1,"type":"set","sessions":[` + fmt.Sprintf(session, "1ms") + `]}`:                                  "session a: min_tx: 1ms: must be 50ms to 1m0s",
		`{"v":1,"type":"set","sessions":[` + fmt.Sprintf(session, "soon") + `]}`:                                 `"soon" is no duration; write it like 300ms`,
		`{"v":1,"type":"set","sessions":[` + strings.Replace(fmt.Sprintf(session, "1s"), "3}", "300}", 1) + `]}`: "multiplier",
	} {
		if a := talk(t, path, line, typeError); !strings.Contains(a.Error, want) || a.Version != Version {
			t.Errorf("%s: %+v, want %q", line, a, want)
		}
	}
	if m.names() != "stays" {
		t.Errorf("a refused set left %q", m.names())
	}
	if a := talk(t, path, `{"v":1,"type":"set","later":true,"sessions":[`+fmt.Sprintf(session, "1s")+`]}`, typeSessions); len(a.Sessions) != 1 {
		t.Errorf("%+v", a)
	}
}

func TestListen(t *testing.T) {
	path := socketPath(t)
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), "another hostroute bfd answers on") {
		t.Errorf("a second one: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as a process that is killed leaves it
	l.Close()
	l, err = Listen(t.Context(), path)
	if err != nil {
		t.Fatalf("after a killed one: %v", err)
	}
	l.Close()
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"v":1,"type":"set","sessions":[{"name":"a","interface":"up0","local":"192.0.2.1","remote":"192.0.2.2","min_tx":"1s","min_rx":"300ms","multiplier":3}]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		specs, err := parse(line)
		if err != nil || bfd.CheckAll(specs) != nil {
			return
		}
		r := request{Version: Version, Type: typeSet, Sessions: []Wanted{}}
		for _, s := range specs {
			r.Sessions = append(r.Sessions, wanted(s))
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse(b)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(specs) {
			t.Errorf("%s became %v and then %v, %v", line, specs, again, err)
		}
	})
}
