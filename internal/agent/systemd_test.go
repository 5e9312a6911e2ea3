package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/vrf"
)

// notifySocket listens where systemd would, and gives what it hears next.
func notifySocket(t *testing.T) (heard func() string) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		buf := make([]byte, 1024)
		_ = socket.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, err := socket.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

// TestTheServiceManagerIsTold that the loop goes round.
func TestTheServiceManagerIsTold(t *testing.T) {
	heard := notifySocket(t)
	t.Setenv("WATCHDOG_USEC", "30000")
	a := &Agent{log: slog.New(slog.DiscardHandler), apply: newTestbed(t).applier}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- a.apply.Run(ctx) }()
	go func() { done <- a.watchdog(ctx) }()
	for range 3 {
		if got := heard(); got != "WATCHDOG=1" {
			t.Errorf("told %q", got)
		}
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestTheServiceManagerHearsOfReadinessAndHealth over its real socket.
func TestTheServiceManagerHearsOfReadinessAndHealth(t *testing.T) {
	heard := notifySocket(t)
	a := &Agent{log: slog.New(slog.DiscardHandler), apply: newTestbed(t).applier}
	m := a.manager()
	m.health = func() string { return "hv1 healthy" }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- m.Run(ctx) }()
	if got := heard(); got != "STATUS=bringing the kernel to what is known" {
		t.Errorf("told %q", got)
	}
	go func() { done <- a.apply.Run(ctx) }()
	if got := heard(); got != "READY=1\nSTATUS=hv1 healthy" {
		t.Errorf("told %q", got)
	}
	cancel()
	if got := heard(); !strings.HasPrefix(got, "STOPPING=1\n") {
		t.Errorf("told %q", got)
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// told is a service manager that notes what it hears, and after how long.
type told struct {
	mu    sync.Mutex
	since time.Time
	heard []string
}

func (m *told) notify(state string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard = append(m.heard, time.Since(m.since).Truncate(time.Second).String()+" "+strings.ReplaceAll(state, "\n", " "))
	return true, nil
}

// TestReadyIsWhenTheKernelIsWhatIsKnown, or when it is no use to wait for it.
func TestReadyIsWhenTheKernelIsWhatIsKnown(t *testing.T) {
	for name, c := range map[string]struct {
		refuses time.Duration // how long the kernel does
		ready   string
	}{
		"at once":    {0, "0s"},
		"soon":       {6 * time.Second, "7s"}, // tried again after 1 s, 2 s, 4 s
		"not at all": {time.Hour, "20s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				b := newTestbed(t)
				b.kernel.AddLink("tap1")
				b.kernel.Fault = func(vrf.Op) error {
					if time.Since(began) < c.refuses {
						return errors.New("no buffer space")
					}
					return nil
				}
				ctx, cancel := context.WithCancel(t.Context())
				var heard told
				heard.since = began
				m := &manager{notify: heard.notify, brought: b.brought, health: func() string { return "fine" }, log: slog.New(slog.DiscardHandler)}
				var tasks sync.WaitGroup
				tasks.Go(func() { _ = b.Run(ctx) })
				tasks.Go(func() { _ = m.Run(ctx) })
				time.Sleep(5 * time.Minute)
				cancel()
				tasks.Wait()
				want := []string{"0s STATUS=bringing the kernel to what is known", c.ready + " READY=1 STATUS=fine", "5m0s STOPPING=1 STATUS=ended; the kernel forwards on"}
				if !slices.Equal(heard.heard, want) {
					t.Errorf("heard %q, want %q", heard.heard, want)
				}
			})
		})
	}
}

// TestReadyWithoutTheLog: with a snapshot its guests are in the kernel then, and
// without one nobody waits for the log.
func TestReadyWithoutTheLog(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		state := t.TempDir()
		if snapshot {
			p := crowd(t, 0)
			for _, e := range guestA()[2:] {
				p.publish(t, e)
			}
			if err := save(state, "hv1", p.state, log.Cursor{}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Test(t, func(t *testing.T) {
			c := &cable{}
			c.set(true)
			b := newOutageBed(state, c)
			b.task.prepare.Do(b.task.restore)
			heard := told{since: time.Now()}
			m := &manager{notify: heard.notify, brought: b.brought, log: slog.New(slog.DiscardHandler), health: func() string {
				actual, err := b.kernel.Read(t.Context(), b.fixed)
				if err != nil || hasRoute(actual, "203.0.113.10/32") != snapshot {
					t.Errorf("ready, and the kernel has %v (%v)", actual.Routes, err)
				}
				return "fine"
			}}
			ctx, cancel := context.WithCancel(t.Context())
			var tasks sync.WaitGroup
			tasks.Go(func() { _ = m.Run(ctx) })
			end := b.run(t)
			time.Sleep(time.Second)
			synctest.Wait()
			if len(heard.heard) != 2 || heard.heard[1] != "0s READY=1 STATUS=fine" {
				t.Errorf("snapshot %t: heard %q", snapshot, heard.heard)
			}
			cancel()
			tasks.Wait()
			end()
		})
	}
}

// TestHealthIsTheServiceManagersLine: it is told when it changes, and stays one.
func TestHealthIsTheServiceManagersLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		close(ready)
		s := Status{Hypervisor: "hv1", Healthy: true, Guests: GuestCount{Home: 2}, BGP: BGPStatus{Established: 4, Configured: 4}}
		var mu sync.Mutex
		var heard told
		m := &manager{notify: heard.notify, brought: ready, log: slog.New(slog.DiscardHandler), health: func() string {
			mu.Lock()
			defer mu.Unlock()
			return healthLine(s)
		}}
		ctx, cancel := context.WithCancel(t.Context())
		var task sync.WaitGroup
		task.Go(func() { _ = m.Run(ctx) })
		time.Sleep(time.Minute)
		mu.Lock()
		s.Healthy, s.Problems = false, []string{"the kernel refuses: this\nREADY=0", "more"}
		mu.Unlock()
		time.Sleep(time.Minute)
		cancel()
		task.Wait()
		var lines []string
		for _, h := range heard.heard {
			_, line, _ := strings.Cut(h, " ")
			lines = append(lines, line)
		}
		want := []string{
			"READY=1 STATUS=hv1 healthy: 2 guests at home, 4 of 4 BGP sessions established",
			"STATUS=hv1 NOT HEALTHY, 2 problems: the kernel refuses: this READY=0",
		}
		if !slices.Equal(lines[1:3], want) || len(lines) != 4 {
			t.Errorf("heard %q, want %q", lines, want)
		}
	})
}

// TestNobodyIsTold where there is no service manager.
func TestNobodyIsTold(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	a := &Agent{log: slog.New(slog.DiscardHandler), apply: newTestbed(t).applier}
	if err := a.manager().Run(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestAStuckLoopIsNotAlive: without anybody in the loop nobody says it lives.
func TestAStuckLoopIsNotAlive(t *testing.T) {
	b := newTestbed(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if b.alive(ctx) {
		t.Error("a loop that doesn't run answered")
	}
}
