package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/bench/benchcmd"
	"github.com/hostroute/hostroute/internal/lab/labcmd"
	"github.com/hostroute/hostroute/internal/lab/scenario"
	"github.com/hostroute/hostroute/internal/lab/scenarios"
	"github.com/hostroute/hostroute/internal/scale/scalecmd"
)

func (a *app) labCommand() *cobra.Command {
	c := labcmd.New(scenarios.All()...)
	c.AddCommand(scalecmd.New())
	c.AddCommand(benchcmd.New())
	c.PersistentPreRun = func(cmd *cobra.Command, _ []string) {
		a.started = true
		cmd.SetContext(untilUnwatched(cmd.Context()))
	}
	return c
}

// untilUnwatched ends with whoever reads the output: the process would end with
// them too, and leave a lab or a virtual machine behind.
func untilUnwatched(ctx context.Context) context.Context {
	signals := []os.Signal{syscall.SIGPIPE}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup(1)
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, _ = signal.NotifyContext(ctx, signals...) // for the rest of the process
	return ctx
}

// ranForUser gives the exit code of a command that the lab ran for the user,
// who has seen its output.
func ranForUser(err error) (int, bool) {
	var exit *labcmd.ExitError
	if errors.As(err, &exit) {
		return exit.Code, true
	}
	return 0, false
}

// scenarioFailed tells a scenario, or a comparison, that found something from one
// that could not run.
func scenarioFailed(err error) bool {
	return errors.Is(err, scenario.ErrFailed) || errors.Is(err, benchcmd.ErrFailed)
}
