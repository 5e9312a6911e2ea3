// Command labmain is `hostroute lab` alone, for the build itself: the tests need the VM before, and without,
// the rest of the program.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hostroute/hostroute/internal/lab/labcmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	cmd := labcmd.New()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(ctx)
	stop()
	if exit := new(labcmd.ExitError); err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "hostroute lab:", err)
	}
	os.Exit(labcmd.ExitCode(err))
}
