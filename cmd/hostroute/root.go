package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"strings"

	"github.com/spf13/cobra"
)

// defaultLog is the log of a machine that has everything on itself.
const defaultLog = "nats://127.0.0.1:4222"

// The groups of the command list.
const (
	groupRun     = "run"
	groupPublish = "publish"
	groupRead    = "read"
	groupAgent   = "agent"
)

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "hostroute",
		Short:         "L3 routing to the hypervisor",
		Long:          "hostroute makes every hypervisor a router: what must be where is an event log,\nand every hypervisor projects it into VRF routes and BGP announcements.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run:"},
		&cobra.Group{ID: groupPublish, Title: "Publish what happened:"},
		&cobra.Group{ID: groupRead, Title: "Read the log:"},
		&cobra.Group{ID: groupAgent, Title: "Ask the agent of this host, or send it away:"},
	)
	flags := root.PersistentFlags()
	flags.StringVar(&a.logURL, "log", orDefault(a.env("HOSTROUTE_LOG"), defaultLog), "`URL` of the log, a NATS server (environment: HOSTROUTE_LOG)")
	flags.StringVar(&a.creds, "credentials", a.env("HOSTROUTE_CREDENTIALS"), "NATS credentials `FILE` for the log (environment: HOSTROUTE_CREDENTIALS)")
	flags.StringVar(&a.ca, "ca", a.env("HOSTROUTE_CA"), "certificates `FILE` that servers of the log are checked by (environment: HOSTROUTE_CA)")
	flags.StringVar(&a.source, "source", whoami(a.env), "`WHO` publishes, as the log remembers it")
	flags.BoolVar(&a.json, "json", false, "answer in JSON")
	add(root, groupRun, a.agentCommand(), a.bfdCommand(), a.logCommand(), a.migrateCommand(), a.labCommand())
	add(root, groupPublish, a.networkCommand(), a.vmCommand(), a.ipCommand(), a.hypervisorCommand(), a.publishCommand())
	add(root, groupRead, a.eventsCommand(), a.replayCommand(), a.auditCommand())
	add(root, groupAgent, a.statusCommand(), a.routesCommand(), a.peersCommand(), a.guestsCommand(), a.explainCommand())
	add(root, groupAgent, a.profileCommand(), a.leaveCommand())
	root.AddCommand(a.versionCommand())
	return root
}

func add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// command makes a subcommand that takes the named arguments. An argument in
// brackets may be left out.
func (a *app) command(use, short, example string, run func(ctx context.Context, args []string) error) *cobra.Command {
	names := strings.Fields(use)[1:]
	return &cobra.Command{
		Use:     use,
		Short:   short,
		Example: "  " + example,
		Args:    func(_ *cobra.Command, args []string) error { return checkArgs(names, args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			a.started = true
			return run(cmd.Context(), args)
		},
	}
}

func checkArgs(names, args []string) error {
	for i, name := range names {
		if i >= len(args) && !strings.HasPrefix(name, "[") {
			return fmt.Errorf("%s is missing", name)
		}
	}
	if len(args) > len(names) {
		return fmt.Errorf("unexpected argument %q", args[len(names)])
	}
	return nil
}

// group makes a command that has subcommands only.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use:   name,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			var names []string
			for _, sub := range cmd.Commands() {
				names = append(names, sub.Name())
			}
			if len(args) == 0 {
				return fmt.Errorf("%s needs one of %s", name, strings.Join(names, ", "))
			}
			return fmt.Errorf("%s has no command %q; it has %s", name, args[0], strings.Join(names, ", "))
		},
		// The flags of a misspelt command aren't what is wrong with it.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
	}
	c.AddCommand(commands...)
	return c
}

// required marks flags without which a command makes no sense.
func required(c *cobra.Command, flags ...string) *cobra.Command {
	for _, f := range flags {
		if err := c.MarkFlagRequired(f); err != nil {
			panic(err) // the flag isn't defined: a mistake in this program
		}
	}
	c.PreRunE = func(cmd *cobra.Command, _ []string) error {
		for _, name := range flags {
			if f := cmd.Flags().Lookup(name); !f.Changed {
				_, rest, _ := strings.Cut(f.Usage, "`")
				value, _, _ := strings.Cut(rest, "`")
				return fmt.Errorf("--%s %s is missing", name, value)
			}
		}
		return nil
	}
	return c
}

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// whoami names the user and the host, as the source of what is published.
func whoami(env func(string) string) string {
	name := env("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return orDefault(name, "unknown") + "@" + host
}
