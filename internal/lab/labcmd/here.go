package labcmd

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// labArgs is how the program is told to be `lab`, the same way as this time.
func labArgs(cmd *cobra.Command, binary string) []string {
	names := strings.Fields(cmd.CommandPath()) // "hostroute lab run"
	return append([]string{binary}, names[1:len(names)-1]...)
}

// withoutInterrupt is a context for cleaning up: it outlives the end of its parent for a while.
func withoutInterrupt(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}

// runHere runs a command, if there is one, on this machine.
func runHere(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	c := exec.CommandContext(cmd.Context(), args[0], args[1:]...)
	c.Stdout, c.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &ExitError{Code: exit.ExitCode()}
	}
	if err != nil {
		return fmt.Errorf("running %s: %w", args[0], err)
	}
	return nil
}
