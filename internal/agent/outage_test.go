package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/internal/handover"
	"github.com/hostroute/hostroute/internal/testenv"
	"github.com/hostroute/hostroute/vrf"
	"github.com/hostroute/hostroute/vrf/fake"
)

// cable leads to the log, and can be cut. It counts how often it is tried.
type cable struct {
	to func() (net.Conn, error)

	mu    sync.Mutex
	cut   bool
	dials int
	conns []net.Conn
}

func (c *cable) Dial(string, string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dials++
	if c.cut {
		return nil, errors.New("dial tcp 198.51.100.10:4222: connect: no route to host")
	}
	conn, err := c.to()
	c.conns = append(c.conns, conn)
	return conn, err
}

func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut, c.dials = cut, 0
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

func (c *cable) tried() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dials
}

// hourly bounds what an outage may cost, for each hour.
const (
	hourlyDials = 3600
	hourlyLines = 10
)

// outageBed is an agent's log task and apply loop, on a cable to a log.
type outageBed struct {
	*testbed
	task  *logTask
	cable *cable
	lines lines
}

// lines is a log that a test reads while others write it.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newOutageBed(state string, c *cable) *outageBed {
	b := &outageBed{cable: c}
	logger := slog.New(slog.NewTextHandler(&b.lines, nil))
	b.task = newLogTask(&config.Config{Hypervisor: "hv1", State: state, Log: config.Log{URL: "nats://198.51.100.10:4222"}}, logger)
	b.task.dialer = c
	k := fake.New()
	k.AddLink("tap1")
	b.testbed = &testbed{kernel: k}
	b.applier = newApplier("hv1", vrf.Host{VRFs: []vrf.VRF{{Name: "public", Table: 90}}}, b.task, planned{k, b.testbed}, &b.served, logger)
	b.announcer = announcer{&b.journal}
	b.moving.clock = func() time.Duration { return b.elapsed }
	return b
}

// run works like the agent until it is ended.
func (b *outageBed) run(t *testing.T) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	a := &Agent{ledger: b.task, apply: b.applier, effects: &effects{}}
	for _, run := range []func(context.Context) error{b.task.Run, b.applier.Run, a.forwardChanges} {
		tasks.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	return func() { cancel(); tasks.Wait() }
}

// endures lets hours pass and wants nothing to happen but some tries.
func (b *outageBed) endures(t *testing.T, hours int) {
	t.Helper()
	said, lines := len(b.journal), strings.Count(b.lines.String(), "\n")
	time.Sleep(time.Duration(hours) * time.Hour)
	synctest.Wait()
	if got := b.journal[said:]; len(got) > 0 {
		t.Errorf("for lack of a log it did %q", got)
	}
	if g := b.task.State().Guest("a"); g == nil || len(g.Addresses) != 1 {
		t.Errorf("the guest isn't known any more: %+v", g)
	}
	if n := b.cable.tried(); n < 100*hours || n > hourlyDials*hours {
		t.Errorf("the log was tried for %d times in %d hours", n, hours)
	}
	if n := strings.Count(b.lines.String(), "\n") - lines; n > hourlyLines*hours {
		t.Errorf("%d lines were logged in %d hours:\n%s", n, hours, b.lines.String()[:4000])
	}
}

// guestA are the events of a guest with an address.
func guestA() []events.Data {
	return []events.Data{
		&events.HypervisorRegistered{Hypervisor: "hv1"},
		&events.NetworkDefined{Network: "web", VRF: "public", Subnets: []events.Subnet{{Prefix: events.PrefixFrom(netip.MustParsePrefix("203.0.113.0/24"))}}},
		&events.VMCreated{VM: "a", Hypervisor: "hv1", Interfaces: []events.Interface{{Tap: "tap1", MAC: events.MAC{Octets: [6]byte{2, 0, 0, 0, 0, 1}}, Network: "web"}}},
		&events.IPAssigned{Prefix: events.PrefixFrom(netip.MustParsePrefix("203.0.113.10/32")), VM: "a"},
	}
}

// TestALogThatIsAwayForHoursChangesNothing starts from a snapshot with no log in
// reach, in virtual time.
func TestALogThatIsAwayForHoursChangesNothing(t *testing.T) {
	state := t.TempDir()
	p := &projection{state: crowd(t, 0).state}
	for _, e := range guestA()[2:] {
		p.seq = 100
		p.publish(t, e)
	}
	if err := save(state, "hv1", p.state, log.Cursor{}); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := &cable{}
		c.set(true)
		b := newOutageBed(state, c)
		began := time.Now()
		end := b.run(t)
		time.Sleep(snapshotGrace + time.Second)
		synctest.Wait()
		if got := strings.Join(b.journal, "; "); got != "announce 203.0.113.10/32" {
			t.Errorf("after the grace for the log it did %q", got)
		}
		b.endures(t, 6)
		s := Status{Hypervisor: "hv1", Log: b.task.status()}
		want := fmt.Sprintf("not caught up with the log since the start (dial tcp 198.51.100.10:4222: connect: no route to host; since %s)", began.Format("2006-01-02 15:04"))
		if list := problems(s, nil); len(list) != 1 || !strings.HasPrefix(list[0], want[:len(want)-1]) {
			t.Errorf("problems %q, want %q", list, want)
		}
		end()
	})
}

// TestALogThatWasAwayIsCaughtUpWith cuts an agent off that was in sync, with a
// real server.
func TestALogThatWasAwayIsCaughtUpWith(t *testing.T) {
	server := startLog(t)
	nc, err := log.Connect(server.status().URL, log.ConnectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	publish := func(list ...events.Data) {
		t.Helper()
		for _, data := range list {
			if _, err := log.NewClient(nc, 0).Publish(t.Context(), events.Event{Data: data}); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(guestA()...)
	address := strings.TrimPrefix(server.status().URL, "nats://")
	b := newOutageBed(t.TempDir(), &cable{to: func() (net.Conn, error) { return net.Dial("tcp", address) }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.task.Run(ctx) }()
	testenv.Eventually(t, "the log to be caught up with", b.task.InSync)
	b.wants(t, "announce 203.0.113.10/32")

	b.cable.set(true)
	testenv.Eventually(t, "the outage to be told", func() bool {
		s := b.task.status()
		return s.InSync && !s.Connected && !s.OutOfReachSince.IsZero() && strings.HasSuffix(s.LastError, "no route to host")
	})
	b.wants(t)
	publish(&events.IPReleased{Prefix: events.PrefixFrom(netip.MustParsePrefix("203.0.113.10/32"))})
	b.cable.set(false)
	testenv.Eventually(t, "what has happened to be known", func() bool { return len(b.task.State().Guest("a").Addresses) == 0 })
	b.wants(t)
	b.elapsed += handover.Parting
	b.wants(t, "announce ")
	testenv.Eventually(t, "nothing of the outage to be left", func() bool {
		s := b.task.status()
		return s.Connected && !s.Behind && s.OutOfReachSince.IsZero() && s.LastError == ""
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
