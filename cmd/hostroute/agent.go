package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/internal/agent"
	"github.com/hostroute/hostroute/internal/config"
)

func (a *app) agentCommand() *cobra.Command {
	var path string
	var debug, check, dump, reference, massWithdrawal bool
	c := a.command("agent", "Serve this hypervisor: keep kernel and BGP as the log wants them",
		"hostroute agent --config /etc/hostroute/hostroute.yaml",
		func(ctx context.Context, _ []string) error {
			if reference {
				_, err := io.WriteString(a.stdout, config.Reference())
				return err
			}
			cfg, err := loadAgent(path)
			switch {
			case err != nil && check:
				return faulty(err)
			case err != nil:
				return err
			case dump:
				return cfg.Dump(a.stdout)
			case check:
				_, err := fmt.Fprintf(a.stdout, "%s is valid\n", path)
				return err
			}
			ag, err := agent.New(cfg, logger(a.stderr, debug))
			if err != nil {
				return err
			}
			ag.Version = version().Version
			if massWithdrawal {
				ag.AllowMassWithdrawal()
			}
			outliveReader()
			return ag.Run(ctx)
		})
	configFlags(c, &path, &debug)
	c.Flags().BoolVar(&check, "check", false, "check the configuration and end")
	c.Flags().BoolVar(&dump, "dump", false, "print the configuration in effect, with defaults and passwords, and end")
	c.Flags().BoolVar(&massWithdrawal, "allow-mass-withdrawal", false, "withdraw also what vanished from the log in great numbers and without events")
	c.Flags().BoolVar(&reference, "reference", false, "print a configuration that explains every key, and end")
	return c
}

func loadAgent(path string) (*config.Config, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	if err := cfg.CheckAgent(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

// faulty is what --check has found, unless it couldn't even read the file.
func faulty(err error) error {
	var wrong *config.Error
	if errors.As(err, &wrong) {
		return found{err}
	}
	return err
}
