package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/internal/handover"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/fake"
)

// runLog runs the log task of a hypervisor that serves the log itself.
func runLog(t *testing.T, state, store string, options ...func(*logTask)) (task *logTask, stop func()) {
	cfg := &config.Config{Hypervisor: "hv1", State: state, Log: config.Log{Embedded: &config.Embedded{
		Store: store, Listen: netip.MustParseAddrPort("127.0.0.1:0"), Sync: time.Second,
	}}}
	task = newLogTask(cfg, slog.New(slog.DiscardHandler))
	for _, o := range options {
		o(task)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- task.Run(ctx) }()
	return task, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// startLog runs a new log until the test ends.
func startLog(t *testing.T) *logTask {
	task, stop := runLog(t, t.TempDir(), t.TempDir())
	t.Cleanup(stop)
	testenv.Eventually(t, "the log to be caught up with", func() bool { return task.status().InSync })
	if task.InSync() || task.Known() {
		t.Error("a log that doesn't know the hypervisor is taken for its word")
	}
	return task
}

// TestAnEventReachesTheKernel publishes through the service of an embedded log
// and finds the route in the fake kernel and in the announcements.
func TestAnEventReachesTheKernel(t *testing.T) {
	task := startLog(t)
	nc, err := log.Connect(task.status().URL, log.ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	client := log.NewClient(nc, 0)
	publish := func(data events.Data) {
		t.Helper()
		if _, err := client.Publish(t.Context(), events.Event{Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	k := fake.New()
	k.AddLink("tap1")
	b := &testbed{kernel: k}
	b.applier = newApplier("hv1", vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 90}}}, task, planned{k, b}, &b.served, slog.New(slog.DiscardHandler))
	b.applier.announcer = announcer{&b.journal}
	b.applier.moving.clock = func() time.Duration { return b.elapsed }

	prefix := events.PrefixFrom(netip.MustParsePrefix("203.0.113.10/32"))
	publish(&events.HypervisorRegistered{Hypervisor: "hv1"})
	publish(&events.NetworkDefined{Network: "web", VRF: "public", Subnets: []events.Subnet{{Prefix: events.PrefixFrom(netip.MustParsePrefix("203.0.113.0/24"))}}})
	publish(&events.VMCreated{VM: "a", Hypervisor: "hv1", Interfaces: []events.Interface{{Tap: "tap1", MAC: events.MAC{Octets: [6]byte{2, 0, 0, 0, 0, 1}}, Network: "web"}}})
	publish(&events.IPAssigned{Prefix: prefix, VM: "a"})
	testenv.Eventually(t, "the guest's address to be known", func() bool {
		<-task.Changes()
		g := task.State().Guest("a")
		return g != nil && len(g.Addresses) == 1
	})
	if !task.InSync() || !task.Known() {
		t.Error("a registered hypervisor is not in sync")
	}
	b.wants(t, "announce 203.0.113.10/32")
	actual, err := k.Read(t.Context(), b.fixed)
	if err != nil || !hasRoute(actual, "203.0.113.10/32") {
		t.Errorf("the kernel has no route (%v)", err)
	}
	publish(&events.IPReleased{Prefix: prefix})
	testenv.Eventually(t, "the release to be known", func() bool {
		<-task.Changes()
		return len(task.State().Guest("a").Addresses) == 0
	})
	b.wants(t)
	b.elapsed += handover.Parting
	b.wants(t, "announce ")
}

// TestARestartedAgentIsInSync restarts with a snapshot and a log in which
// nothing has happened since.
func TestARestartedAgentIsInSync(t *testing.T) {
	state, store := t.TempDir(), t.TempDir()
	first, stop := runLog(t, state, store)
	testenv.Eventually(t, "the log to be caught up with", func() bool { return first.status().InSync })
	nc, err := log.Connect(first.status().URL, log.ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.NewClient(nc, 0).Publish(t.Context(), events.Event{Data: &events.HypervisorRegistered{Hypervisor: "hv1"}}); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	testenv.Eventually(t, "the registration to be known", first.InSync)
	stop()
	second, stop := runLog(t, state, store)
	defer stop()
	testenv.Eventually(t, "the restarted agent to be in sync", second.InSync)
	if s := second.status(); !s.Restored || s.SnapshotError != "" || s.Snapshots != 0 {
		t.Errorf("it started anew: %+v", s)
	}
}

// TestPoisonIsShown writes rubbish into the hypervisor's feed and finds it in
// the status, while the rest goes on.
func TestPoisonIsShown(t *testing.T) {
	task := startLog(t)
	nc, err := log.Connect(task.status().URL, log.ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := log.NewClient(nc, 0).Publish(t.Context(), events.Event{Data: &events.HypervisorRegistered{Hypervisor: "hv1"}}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("hr.feed.hv1.a", []byte("rubbish")); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the rubbish to be put aside", func() bool { return len(task.status().Quarantined) == 1 })
	s := Status{Hypervisor: "hv1", Log: task.status()}
	list := problems(s, nil)
	if len(list) != 1 || !strings.Contains(list[0], "1 message of the log put aside, first sequence") || !strings.Contains(list[0], "(hr.vm.a)") {
		t.Errorf("problems: %q", list)
	}
}

func TestProblemsSayWhatToDo(t *testing.T) {
	s := Status{Hypervisor: "hv1", Log: LogStatus{URL: "nats://log", LastError: "connection refused"}}
	for _, c := range []struct {
		change func()
		want   string
	}{
		{func() {}, "not caught up with the log yet (connection refused)"},
		{func() { s.Log.InSync = true }, "the log is out of reach (connection refused): check nats://log; all that is known is served on"},
		{func() { s.Log.Connected, s.Log.Behind = true, true }, "behind the log (connection refused): check `hostroute log serve` on nats://log"},
		{func() { s.Log.Behind = false }, "the log doesn't know hypervisor hv1, so nothing is swept or announced: `hostroute hypervisor register hv1`"},
		{func() { s.Log.Registered = true; s.Kernel.AbsentTaps = []string{"tap1"} }, "tap tap1 is not on this host: start the guest"},
		{func() { s.Kernel.AbsentUplinks = []string{"eth1"} }, "uplink eth1 is not on this host: bring it back"},
	} {
		c.change()
		if got := problems(s, nil); len(got) == 0 || !strings.Contains(got[0], c.want) {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	s.Kernel.AbsentTaps, s.Kernel.AbsentUplinks = nil, nil
	if got := problems(s, []Peer{{State: "established"}}); len(got) != 0 {
		t.Errorf("a healthy hypervisor has problems: %q", got)
	}
	down := Peer{VRF: "public", Plane: "a", Address: "100.64.0.1", State: "idle", LastError: "the uplink is down"}
	if got := problems(s, []Peer{down}); !slices.Equal(got, []string{"all reflectors are out of reach: nothing that they told is kept; check them, and plane a"}) {
		t.Errorf("got %q", got)
	}
}

func TestSocketAnswersAndSaysWhatIsWrong(t *testing.T) {
	s := &socket{log: slog.New(slog.DiscardHandler)}
	for _, c := range []struct {
		answer answer
		code   int
		body   string
	}{
		{func(*http.Request) (any, error) { return []int{1}, nil }, http.StatusOK, "[1]\n"},
		{func(*http.Request) (any, error) { return nil, errQuery{context.Canceled} }, http.StatusBadRequest, "context canceled\n"},
		{func(*http.Request) (any, error) { return nil, context.Canceled }, http.StatusInternalServerError, "context canceled\n"},
	} {
		w := httptest.NewRecorder()
		s.handler(c.answer)(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != c.code || w.Body.String() != c.body {
			t.Errorf("got %d %q", w.Code, w.Body)
		}
	}
}

func TestAStaleSocketIsTakenOverAndALivingOneIsNot(t *testing.T) {
	s := &socket{path: t.TempDir() + "/run/agent.sock", log: slog.New(slog.DiscardHandler)}
	first, err := s.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.listen(t.Context()); err == nil || !strings.Contains(err.Error(), "another agent answers on "+s.path) {
		t.Errorf("a second agent: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.listen(ended); err == nil {
		t.Error("an agent that is told to end took the socket of another")
	}
	if conn, err := net.Dial("unix", s.path); err != nil {
		t.Errorf("the living agent's socket is gone: %v", err)
	} else {
		_ = conn.Close()
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed agent leaves it
	_ = first.Close()
	second, err := s.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = second.Close()
}

func TestRoutesQuery(t *testing.T) {
	for in, want := range map[string]string{"": "invalid Prefix", "203.0.113.7": "203.0.113.7/32", "203.0.113.7/24": "203.0.113.0/24", "2001:db8::/32": "2001:db8::/32"} {
		if got, err := parseMatch(in); err != nil || got.String() != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	if _, err := parseMatch("203.0.113"); err == nil {
		t.Error("203.0.113 was read as a prefix")
	}
	b, err := json.Marshal(longest(map[netip.Prefix]*Route{
		netip.MustParsePrefix("0.0.0.0/0"):      {Prefix: netip.MustParsePrefix("0.0.0.0/0")},
		netip.MustParsePrefix("203.0.113.0/24"): {Prefix: netip.MustParsePrefix("203.0.113.0/24")},
	}))
	if err != nil || !strings.Contains(string(b), "203.0.113.0/24") || strings.Contains(string(b), "0.0.0.0/0") {
		t.Errorf("longest match: %s, %v", b, err)
	}
}
