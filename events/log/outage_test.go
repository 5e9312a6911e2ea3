package log

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hostroute/hostroute/internal/testenv"
)

// lines is a log that a test reads.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSuffix(l.b.String(), "\n"), "\n")
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// wait connects to a server that may not be there.
func wait(t *testing.T, url string, o *Outage, l *lines) *nats.Conn {
	t.Helper()
	nc, err := Connect(url, ConnectOptions{Wait: true, Outage: o, Logger: l.logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// TestAnOutageHasAReasonAndABeginning starts without a server, which comes, goes
// and comes again.
func TestAnOutageHasAReasonAndABeginning(t *testing.T) {
	store, before := t.TempDir(), time.Now()
	s, stop := startServer(t, ServerOptions{Store: store, Listen: "127.0.0.1:0"})
	url := s.URL()
	stop()
	var o Outage
	var l lines
	nc := wait(t, url, &o, &l)
	refused := func() bool {
		since, reason := o.Now()
		return since.After(before) && strings.HasSuffix(reason, "connect: connection refused") && strings.Contains(reason, strings.TrimPrefix(url, "nats://"))
	}
	testenv.Eventually(t, "the reason is known", refused)
	first, _ := o.Now()
	_, stop = startServer(t, ServerOptions{Store: store, Listen: strings.TrimPrefix(url, "nats://")})
	over := func() bool { since, reason := o.Now(); return nc.IsConnected() && since.IsZero() && reason == "" }
	testenv.Eventually(t, "the outage is over", over)
	stop()
	testenv.Eventually(t, "the next one has its reason", refused)
	if second, _ := o.Now(); !second.After(first) {
		t.Errorf("the second outage began at %s, the first at %s", second, first)
	}
	startServer(t, ServerOptions{Store: store, Listen: strings.TrimPrefix(url, "nats://")})
	testenv.Eventually(t, "the outage is over", over)
	if got := l.all(); len(got) != 4 || !strings.Contains(got[0], "out of reach") || !strings.Contains(got[1], "log connected") {
		t.Errorf("it logged\n%s", strings.Join(got, "\n"))
	}
}

// TestAUserWhoIsRefusedGoesOnTrying: the user may be let in again, and the agent
// serves on meanwhile.
func TestAUserWhoIsRefusedGoesOnTrying(t *testing.T) {
	server, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, Username: "hv1", Password: "x"})
	if err != nil {
		t.Fatal(err)
	}
	go server.Start()
	t.Cleanup(func() { server.Shutdown(); server.WaitForShutdown() })
	if !server.ReadyForConnections(patience) {
		t.Fatal("the server doesn't become ready")
	}
	var o Outage
	var l lines
	nc := wait(t, "nats://hv1:wrong@"+strings.TrimPrefix(server.ClientURL(), "nats://"), &o, &l)
	testenv.Eventually(t, "the reason is known", func() bool {
		_, reason := o.Now()
		return strings.Contains(reason, "Authorization Violation")
	})
	testenv.Eventually(t, "it was tried again and again", func() bool {
		servers := nc.ServerPool()
		return len(servers) == 1 && servers[0].Reconnects > 2
	})
	if nc.IsClosed() {
		t.Error("the connection was given up")
	}
	if got := l.all(); len(got) != 1 || !strings.Contains(got[0], "Authorization Violation") {
		t.Errorf("it logged\n%s", strings.Join(got, "\n"))
	}
}

func TestWhatIsSaidAgainIsSaidSeldom(t *testing.T) {
	var s seldom
	if !s.due("a") || s.due("a") || !s.due("b") || s.due("b") {
		t.Error("the same was said twice, or something else not at all")
	}
	s.at = s.at.Add(-sayAgain)
	if !s.due("b") {
		t.Error("after a while it isn't said again")
	}
}
