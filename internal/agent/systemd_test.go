package agent

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// TestTheServiceManagerIsTold listens where systemd would.
func TestTheServiceManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "30000")
	heard := func() string {
		buf := make([]byte, 128)
		_ = manager.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, err := manager.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}

	a := &Agent{log: slog.New(slog.DiscardHandler), apply: newTestbed(t).applier}
	a.tellReady()
	if got := heard(); got != "READY=1" {
		t.Errorf("told %q", got)
	}
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

// TestAStuckLoopIsNotAlive: without anybody in the loop nobody says it lives.
func TestAStuckLoopIsNotAlive(t *testing.T) {
	b := newTestbed(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if b.alive(ctx) {
		t.Error("a loop that doesn't run answered")
	}
}
