package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/lab/labcmd"
	"github.com/hostroute/hostroute/internal/lab/scenario"
	"github.com/hostroute/hostroute/internal/lab/scenarios"
)

func (a *app) labCommand() *cobra.Command {
	c := labcmd.New(scenarios.All()...)
	c.PersistentPreRun = func(*cobra.Command, []string) { a.started = true }
	return c
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

// scenarioFailed tells a scenario that found something from one that could not
// run.
func scenarioFailed(err error) bool { return errors.Is(err, scenario.ErrFailed) }
