package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hostroute/hostroute/internal/agent"
)

// The exit codes.
const (
	exitFine  = 0
	exitFound = 1 // refused, or something is wrong
	exitNoRun = 2
	exitLeft  = 3 // of an agent that has left for good: it isn't to be started again
)

func main() { os.Exit(hostroute()) }

// hostroute runs the command line of this process.
func hostroute() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second ^C ends the process at once
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, now: time.Now, env: os.Getenv}
	return a.run(ctx, os.Args[1:])
}

// app is one run of the command line and its view of the world.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	now            func() time.Time
	env            func(string) string

	// The global flags.
	logURL string
	creds  string
	ca     string
	source string
	json   bool

	started bool // the usage was right
}

// run executes a command line and gives its exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return a.ended(ctx, cmd.CommandPath(), err)
}

// ended says what is wrong with a command that ended, and gives its exit code.
func (a *app) ended(ctx context.Context, command string, err error) int {
	if err == nil {
		return exitFine
	}
	if code, ok := ranForUser(err); ok {
		return code
	}
	if errors.Is(err, agent.ErrLeft) {
		return exitLeft // its log says so
	}
	var f found
	isFound := errors.As(err, &f) || scenarioFailed(err)
	if text := strings.TrimSpace(err.Error()); text != "" {
		if ctx.Err() != nil {
			text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
		}
		fmt.Fprintf(a.stderr, "hostroute: %s\n", text)
	}
	switch {
	case isFound:
		return exitFound
	case !a.started:
		fmt.Fprintf(a.stderr, "see: %s --help\n", command)
	}
	return exitNoRun
}

// found is the error of a command that ran and has something to object to. It
// is empty where the output says it already.
type found struct{ err error }

func (f found) Error() string {
	if f.err == nil {
		return ""
	}
	return f.err.Error()
}

func (f found) Unwrap() error { return f.err }
