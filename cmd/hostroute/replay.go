package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/config"
	"github.com/hostroute/hostroute/projector"
)

func (a *app) replayCommand() *cobra.Command {
	var hypervisor, path, socket string
	var at momentText
	var diff, held bool
	c := a.command("replay", "Compute from the log alone what a hypervisor must serve, now or at any time",
		"hostroute replay --hypervisor hv1 --at yesterday",
		func(ctx context.Context, _ []string) error {
			if err := events.CheckName("--hypervisor", hypervisor); err != nil {
				return err
			}
			until, err := a.parseUntil(at.String())
			if err != nil {
				return err
			}
			var cfg *config.Config
			if diff {
				if cfg, err = config.Load(path); err != nil {
					return err
				}
			}
			r, host, err := a.replay(ctx, hypervisor, until)
			if err != nil {
				return err
			}
			if held {
				if r.Agent, err = diffAgent(ctx, socket, host); err != nil {
					return err
				}
			}
			if diff {
				if r.Kernel, err = diffKernel(ctx, cfg, host); err != nil {
					return err
				}
			}
			return a.showReplay(r)
		})
	c.Flags().StringVar(&hypervisor, "hypervisor", "", "the hypervisor `HV`")
	c.Flags().Var(&at, "at", "as of this `SEQ|TIME`; default: all of the log")
	c.Flags().BoolVar(&diff, "diff-kernel", false, "compare the kernel of this host with it; changes nothing")
	c.Flags().StringVar(&path, "config", defaultConfig, "with --diff-kernel: the configuration `FILE` that names VRFs and uplinks")
	c.Flags().BoolVar(&held, "diff-agent", false, "compare what the agent of this host holds with it, byte for byte")
	c.Flags().StringVar(&socket, "socket", defaultSocket, "with --diff-agent: `PATH` of the agent's socket")
	return required(c, "hypervisor")
}

func (a *app) parseUntil(s string) (log.Until, error) {
	if s == "" {
		return log.Until{}, nil
	}
	return a.parseMoment("--at", s)
}

// replay folds the log and projects it onto the hypervisor.
func (a *app) replay(ctx context.Context, hypervisor string, until log.Until) (replayed, projector.Host, error) {
	l, err := a.ledger(ctx)
	if err != nil {
		return replayed{}, projector.Host{}, err
	}
	defer l.Close()
	show := a.progress()
	show("replaying the log …")
	state, done, err := l.Replay(ctx, until)
	show("")
	if err != nil {
		return replayed{}, projector.Host{}, err
	}
	if state.Hypervisor(hypervisor) == nil {
		return replayed{}, projector.Host{}, found{fmt.Errorf("hypervisor %q: not registered up to #%d of the log", hypervisor, done.Sequence)}
	}
	host := projector.Desired(state, hypervisor)
	return describe(hypervisor, done.Sequence, host, state.Quarantined()), host, nil
}
