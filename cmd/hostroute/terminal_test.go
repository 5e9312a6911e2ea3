package main

import (
	"bytes"
	"os"
	"testing"
	"time"
)

// TestTerminal wants progress and text logs where somebody watches, and neither
// in a file.
func TestTerminal(t *testing.T) {
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("this machine has no pseudo-terminals: %v", err)
	} else if err != nil {
		t.Fatalf("must run here: %v", err)
	}
	defer pty.Close()
	if !isTerminal(pty) {
		t.Error("a terminal isn't recognised")
	}
	f, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if isTerminal(f) || isTerminal(&bytes.Buffer{}) {
		t.Error("a file or a buffer is taken for a terminal")
	}
	a := &app{stderr: f, now: time.Now, env: os.Getenv}
	a.progress()("1 of 2")
	logger(f, false).Info("message", "key", 1)
	if b, err := os.ReadFile(f.Name()); err != nil || !bytes.HasPrefix(b, []byte(`{"time":`)) {
		t.Errorf("a file got %q, %v", b, err)
	}
}
