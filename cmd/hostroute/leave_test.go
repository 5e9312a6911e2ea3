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
