package labcmd

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"

	"github.com/spf13/cobra"
)

func itoa(n int) string { return strconv.Itoa(n) }

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
