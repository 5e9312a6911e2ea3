package main

import (
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// An agent that hangs must not take the one who asks with it, nor answer ^C in
// the words of HTTP.
func TestAskOfAnAgentThatHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancelCause(t.Context())
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		interrupt(os.ErrProcessDone) // as a signal has a cause of its own
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}()
	_, err = ask(ctx, path, "/status", nil)
	if want := "asking the agent at " + path + ": context canceled"; err == nil || err.Error() != want {
		t.Errorf("interrupted: %v, want %s", err, want)
	}
	_ = l.Close()
	<-closed
}

func TestUnreachableAfterATimeout(t *testing.T) {
	err := unreachable(&url.Error{Op: "Get", URL: "http://agent/status?", Err: os.ErrDeadlineExceeded})
	if want := "no answer within 1m0s; the agent hangs, so look into its messages and restart it"; err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
