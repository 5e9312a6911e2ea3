package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// brokenPipe is an output that nobody reads.
func brokenPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	r.Close()
	return w
}

// TestLabWithoutReader wants `hostroute lab … | head` to end by itself, so that
// it can take down what it has built.
func TestLabWithoutReader(t *testing.T) {
	cmd := exec.Command("hostroute", "lab", "list")
	cmd.Stdout = brokenPipe(t)
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitNoRun {
		t.Errorf("ended with %v, want exit status %d", err, exitNoRun)
	}
}

// TestServiceWithoutReader wants a service to outlive whoever reads its log.
func TestServiceWithoutReader(t *testing.T) {
	dir, listen := t.TempDir(), freeAddress(t)
	file := filepath.Join(dir, "hostroute.yaml")
	text := `log: {embedded: {listen: "` + listen + `", store: ` + filepath.Join(dir, "store") + "}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("hostroute", "log", "serve", "--config", file)
	cmd.Stderr = brokenPipe(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	deadline := time.After(time.Minute)
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		if conn, err := net.Dial("tcp", listen); err == nil {
			conn.Close()
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("ended by itself: %v", err)
		case <-deadline:
			t.Fatal("doesn't listen after a minute")
		default:
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// TestPublishInterrupted wants ^C to end the wait for events from a terminal.
func TestPublishInterrupted(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var stderr strings.Builder
	cmd := exec.Command("hostroute", "publish", "-")
	cmd.Stdin, cmd.Stderr = r, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// It reads stdin once it has taken over the signal.
	if _, err := w.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitNoRun || stderr.String() != "hostroute: reading events: interrupted\n" {
		t.Errorf("ended with %v and said %q", err, stderr.String())
	}
}
