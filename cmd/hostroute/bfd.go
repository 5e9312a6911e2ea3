package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/hostroute/hostroute/internal/bfd/control"
	"github.com/hostroute/hostroute/internal/bfd/udp"
)

// defaultBFDState must not outlive a boot, and /run doesn't.
const defaultBFDState = "/run/hostroute/bfd.state"

// bfdCommand speaks BFD for the agent, which asks for sessions over a socket:
// what the sessions are is not read here, so that a change of the
// configuration needs a restart of the agent only.
func (a *app) bfdCommand() *cobra.Command {
	var path, socket, state string
	var debug, check, dump bool
	var keep time.Duration
	c := a.command("bfd", "Watch the paths to BGP peers for the agent (BFD), also while the agent restarts",
		"hostroute bfd --config /etc/hostroute/hostroute.yaml",
		func(ctx context.Context, _ []string) error {
			cfg, err := loadAgent(path)
			switch {
			case err != nil && check:
				return faulty(err)
			case err != nil:
				return err
			case keep < 0:
				return errors.New("--keep is negative; 0 keeps sessions for ever")
			case dump:
				return cfg.Dump(a.stdout)
			case check:
				_, err := fmt.Fprintf(a.stdout, "%s is valid\n", path)
				return err
			}
			outliveReader()
			udp.Tune()
			return serveBFD(ctx, cmp.Or(socket, cfg.BFD.Socket), state, keep, logger(a.stderr, debug))
		})
	configFlags(c, &path, &debug)
	c.Flags().StringVar(&socket, "socket", "", "`PATH` of the socket on which the agent asks for sessions (default: bfd.socket of the configuration)")
	c.Flags().StringVar(&state, "state", defaultBFDState, "`PATH` of the file that lets the next process go on with the sessions; \"\": none, and peers are told of the end")
	c.Flags().DurationVar(&keep, "keep", 0, "shut sessions that no agent asks for anew within this `TIME` after the one that did has gone; 0s: never")
	c.Flags().BoolVar(&check, "check", false, "check the configuration and end")
	c.Flags().BoolVar(&dump, "dump", false, "print the configuration in effect, with defaults and passwords, and end")
	return c
}

// serveBFD runs sessions until the context ends.
func serveBFD(ctx context.Context, socket, state string, keep time.Duration, log *slog.Logger) error {
	listener, err := control.Listen(ctx, socket)
	if err != nil {
		return err
	}
	engine := udp.New(udp.Options{Log: log, State: state})
	server := &control.Server{Engine: engine, Log: log, Keep: keep}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return server.Run(ctx, listener) })
	tasks.Go(func() error { return engine.Run(ctx) })
	log.Info("BFD is ready", "socket", socket)
	return tasks.Wait()
}
