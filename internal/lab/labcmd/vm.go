package labcmd

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/lab/vm"
	"github.com/hostroute/hostroute/internal/lab/vmtest"
)

func vmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vm",
		Short: "Run something in a VM whose kernel has VRF and whose files are this machine's",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(vmRunCommand(), vmShellCommand(), vmTestCommand())
	return cmd
}

func vmRunCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "run -- COMMAND [ARG]...",
		Short: "Run a command in the VM and end with its exit status",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("COMMAND is missing; write it after --, with its arguments")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return inVM(cmd, vm.Options{Command: args, Stdout: cmd.OutOrStdout(), Timeout: timeout})
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Minute, "limit of the whole run, the boot included")
	return cmd
}

func vmShellCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "shell",
		Short: "A shell in the VM, on this terminal; the VM ends with it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return inVM(cmd, vm.Options{Command: []string{"bash", "-i"}, Terminal: true, Timeout: 24 * time.Hour})
		},
	}
}

func vmTestCommand() *cobra.Command {
	opts := vmtest.Options{}
	cmd := &cobra.Command{
		Use:   "test [-- COMMAND [ARG]...]",
		Short: "Run in the VM the tests that go test deferred to it, then the command, in one boot",
		Long: "Run in the VM the tests that go test deferred to it, then the command, in one boot.\n" +
			"Where the running kernel has VRF nothing was deferred, and only the command runs, here.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if lacking, err := needVM(); err != nil {
				return err
			} else if !lacking {
				return runHere(cmd, args)
			}
			wd, err := os.Getwd()
			if err != nil {
				return err
			}
			if opts.Root, opts.Module, err = vmtest.FindModule(wd); err != nil {
				return err
			}
			opts.Command, opts.Stdout = args, cmd.OutOrStdout()
			return vmtest.Run(cmd.Context(), opts)
		},
	}
	cmd.Flags().StringVar(&opts.List, "deferred", ".cache/deferred", "the list that go test wrote")
	cmd.Flags().BoolVarP(&opts.Verbose, "verbose", "v", false, "show the tests' own output")
	cmd.Flags().DurationVar(&opts.Timeout, "timeout", 20*time.Minute, "limit of the whole run, the boot included")
	return cmd
}

// inVM runs the machine and turns the command's status into the error that main ends with.
func inVM(cmd *cobra.Command, opts vm.Options) error {
	code, err := vm.Run(cmd.Context(), opts)
	if err != nil {
		return err
	}
	if code != 0 {
		return &ExitError{Code: code}
	}
	return nil
}

// ExitError carries the exit status of a command that ran for the user, who has seen its output: main
// ends with Code and prints nothing.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("the command ended with status %d", e.Code) }
