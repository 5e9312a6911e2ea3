package labcmd

import (
	"github.com/spf13/cobra"
)

// New returns the command `lab` with all below it.
func New() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Hypervisors, route reflectors, an edge and guests in network namespaces",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(vmCommand())
	return cmd
}
