package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/hostroute/hostroute/internal/agent"
)

// leaving answers on a unix socket as an agent that is told to leave: with the
// lines of a file, after which it is gone. In place of the last line, "refuse"
// refuses with the rest of that line, "stay" waits until the asker goes, and "die"
// ends in the middle. What was asked is in FILE.asked.
func leaving(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("unix", ts.MkAbs(args[0]))
	ts.Check(err)
	file := ts.MkAbs(args[1])
	server := &http.Server{ReadHeaderTimeout: time.Minute}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file+".asked", []byte(r.Method+" "+r.URL.String()+"\n"), 0o600)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		for line := range strings.Lines(string(text)) {
			switch word, rest, _ := strings.Cut(strings.TrimSpace(line), " "); word {
			case "refuse":
				http.Error(w, rest, http.StatusConflict)
				return
			case "stay":
				<-r.Context().Done()
				return
			case "die":
				panic(http.ErrAbortHandler)
			}
			_, _ = io.WriteString(w, line)
			_ = http.NewResponseController(w).Flush()
		}
		go func() { _ = server.Close() }()
	})
	go func() { _ = server.Serve(l) }()
	ts.Defer(func() { _ = server.Close() })
}

// TestTheUnitKnowsWhoHasLeft: systemd restarts whatever ends, and not this.
func TestTheUnitKnowsWhoHasLeft(t *testing.T) {
	unit, err := os.ReadFile("../../deploy/hostroute-agent.service")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(unit), "\n")
	for _, want := range []string{"Restart=always", fmt.Sprintf("RestartPreventExitStatus=%d", exitLeft), fmt.Sprintf("SuccessExitStatus=%d", exitLeft)} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %s in it", want)
		}
	}
	if got := (&app{stderr: io.Discard}).ended(t.Context(), "hostroute agent", agent.ErrLeft); got != exitLeft {
		t.Errorf("an agent that has left ends with %d", got)
	}
}

// TestLeavingIsShownReflectorByReflector to who watches at a terminal.
func TestLeavingIsShownReflectorByReflector(t *testing.T) {
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("this machine has no pseudo-terminals: %v", err)
	} else if err != nil {
		t.Fatalf("must run here: %v", err)
	}
	defer pty.Close()
	n, err := unix.IoctlGetInt(int(pty.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(pty.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	line := func(first, second, done bool) string {
		return fmt.Sprintf(`{"hypervisor":"hv2","until":"2026-11-23T00:00:30Z","done":%t,"reflectors":[
			{"vrf":"public","plane":"a","address":"100.64.0.1","confirmed":%t,"reason":"told"},
			{"vrf":"public","plane":"b","address":"100.64.2.1","confirmed":%t,"reason":"no session"}]}`, done, first, second)
	}
	var lines strings.Builder
	for _, l := range []string{line(false, false, false), line(false, true, false), line(true, true, false), line(true, true, true)} {
		lines.WriteString(strings.NewReplacer("\n", "", "\t", "").Replace(l) + "\n")
	}
	a := &app{stderr: terminal, env: func(string) string { return "" }}
	if last, err := a.follow(strings.NewReader(lines.String())); err != nil || !last.Done {
		t.Errorf("%+v, %v", last, err)
	}
	if err := terminal.Close(); err != nil {
		t.Fatal(err)
	}
	shown, _ := io.ReadAll(pty) // ends with an error: nobody has the other end any more
	at := 0
	for _, want := range []string{
		"0 of 2 sessions confirmed", "waiting for 100.64.0.1 (told)", "100.64.2.1 in VRF public over plane b has confirmed\r\n",
		"1 of 2 sessions confirmed", "waiting for 100.64.0.1 (told)", "100.64.0.1 in VRF public over plane a has confirmed\r\n", "ending BFD",
	} {
		i := strings.Index(string(shown[at:]), want)
		if i < 0 {
			t.Fatalf("no %q after what came before in %q", want, shown)
		}
		at += i + len(want)
	}
}
