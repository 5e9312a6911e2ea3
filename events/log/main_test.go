package log

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

func TestMain(m *testing.M) {
	if description := os.Getenv(serverEnv); description != "" {
		if err := beServer(description); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if description := os.Getenv(partEnv); description != "" {
		if err := bePart(description); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m,
		// A server that is shut down while a mirror finds its origin leaves
		// this one waiting for an answer, for some seconds.
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*stream).setupMirrorConsumer.func3"))
}

// patience bounds every wait; nothing is expected to take it.
const patience = 20 * time.Second

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// testLogger logs to stderr with HOSTROUTE_TEST_LOG set.
func testLogger() *slog.Logger {
	w := io.Discard
	if os.Getenv("HOSTROUTE_TEST_LOG") != "" {
		w = os.Stderr
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// task runs fn until the test ends or stop is called.
func task(t testing.TB, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("task ended with %v", err)
			}
		case <-time.After(patience):
			t.Error("task doesn't end")
		}
	}
	t.Cleanup(stop)
	return stop
}

// startServer runs an embedded server and waits until it serves.
func startServer(t testing.TB, o ServerOptions) (*Server, func()) {
	t.Helper()
	if o.SyncInterval == 0 {
		o.SyncInterval = time.Minute // tests needn't survive a power failure
	}
	o.Logger = testLogger()
	s := NewServer(o)
	stop := task(t, s.Run)
	select {
	case <-s.Ready():
	case <-time.After(patience):
		t.Fatal("the server doesn't become ready")
	}
	return s, stop
}

func connect(t testing.TB, s *Server) *nats.Conn {
	t.Helper()
	nc, err := s.Connect(ConnectOptions{Name: t.Name(), Logger: testLogger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// lab is a server with a ledger.
type lab struct {
	t      testing.TB
	ctx    context.Context
	server *Server
	nc     *nats.Conn
	ledger *Ledger
}

func newLab(t testing.TB) *lab {
	t.Helper()
	s, _ := startServer(t, ServerOptions{Store: t.TempDir()})
	l := &lab{t: t, ctx: testContext(t), server: s, nc: connect(t, s)}
	var err error
	if l.ledger, err = Open(l.ctx, l.nc, Options{}); err != nil {
		t.Fatal(err)
	}
	return l
}

// serve runs a log service.
func (l *lab) serve() {
	l.t.Helper()
	s := NewService(l.ledger, testLogger())
	task(l.t, s.Run)
	l.await("the service", s.Ready())
}

func (l *lab) await(what string, c <-chan struct{}) {
	l.t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		l.t.Fatalf("waited in vain for %s", what)
	}
}

func (l *lab) publish(list ...events.Data) []Stored {
	l.t.Helper()
	var all []Stored
	for _, d := range list {
		stored, err := l.ledger.Publish(l.ctx, events.Event{Source: "test", Data: d})
		if err != nil {
			l.t.Fatalf("publishing %+v: %v", d, err)
		}
		all = append(all, stored)
	}
	return all
}

// raw writes a message as somebody with rights and bad manners would.
func (l *lab) raw(subject string, h nats.Header, body string) uint64 {
	l.t.Helper()
	m, err := l.nc.RequestMsgWithContext(l.ctx, &nats.Msg{Subject: subject, Header: h, Data: []byte(body)})
	if err != nil {
		l.t.Fatal(err)
	}
	var ack struct {
		Seq uint64 `json:"seq"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil || ack.Seq == 0 {
		l.t.Fatalf("writing to %s: %s", subject, m.Data)
	}
	return ack.Seq
}

// follow runs a follower that is in sync.
func (l *lab) follow(hypervisor string, o FollowerOptions) *Follower {
	l.t.Helper()
	f, _ := l.followFrom(connect(l.t, l.server), hypervisor, o)
	return f
}

func (l *lab) followFrom(nc *nats.Conn, hypervisor string, o FollowerOptions) (*Follower, func()) {
	l.t.Helper()
	o.Logger = testLogger()
	f := NewFollower(nc, hypervisor, o)
	stop := task(l.t, f.Run)
	l.await("the first catch-up", f.InSync())
	return f, stop
}

// desired is what a hypervisor must serve, as JSON.
func desired(t testing.TB, s *projector.State, hypervisor string) string {
	t.Helper()
	b, err := json.Marshal(projector.Desired(s, hypervisor))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (l *lab) replay() *projector.State {
	l.t.Helper()
	s, _, err := l.ledger.Replay(l.ctx, Until{})
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

func pfx(s string) events.Prefix { return events.PrefixFrom(netip.MustParsePrefix(s)) }

func network(name, vrf string, subnets ...string) *events.NetworkDefined {
	d := &events.NetworkDefined{Network: name, VRF: vrf, DHCP: events.DHCP{Style: events.DHCPHost}}
	for _, s := range subnets {
		d.Subnets = append(d.Subnets, events.Subnet{Prefix: pfx(s)})
	}
	return d
}

func hypervisor(name string) *events.HypervisorRegistered {
	return &events.HypervisorRegistered{Hypervisor: name}
}

func guest(vm, hv string, networks ...string) *events.VMCreated {
	d := &events.VMCreated{VM: vm, Hypervisor: hv}
	for i, n := range networks {
		d.Interfaces = append(d.Interfaces, events.Interface{
			Tap: fmt.Sprintf("%.12s-%d", vm, i), MAC: events.MAC{Octets: [6]byte{0x52, 0x54, 0, 0, 0, byte(i + 1)}}, Network: n,
		})
	}
	return d
}

func assign(prefix, vm string) *events.IPAssigned {
	return &events.IPAssigned{Prefix: pfx(prefix), VM: vm}
}
