package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/config"
)

func (a *app) logBackup() *cobra.Command {
	var path string
	var debug bool
	c := a.command("backup FILE", "Write the ledger to a file, which must not be there yet",
		"hostroute log backup --config /etc/hostroute/hostroute.yaml log.backup",
		func(ctx context.Context, args []string) error {
			return a.onServer(ctx, path, debug, func(ctx context.Context, nc *nats.Conn, _ int) error {
				state, err := backupTo(ctx, nc, args[0])
				if err != nil {
					return err
				}
				return a.tellBackup("written to "+args[0], "", state)
			})
		})
	c.Long = "Write the ledger, which is all history, to a file that must not be there yet. The server checks every message.\n\n" +
		"With --config, of the log that the configuration names: an embedded one is served by this command meanwhile, so\n" +
		"its agent must be stopped. Without, of the one that --log names."
	backupFlags(c, &path, &debug)
	return c
}

func (a *app) logRestore() *cobra.Command {
	var path string
	var debug bool
	c := a.command("restore FILE", "Make the log from a backup, where there is none",
		"hostroute log restore --config operator.yaml log.backup",
		func(ctx context.Context, args []string) error {
			return a.onServer(ctx, path, debug, func(ctx context.Context, nc *nats.Conn, replicas int) error {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close() //nolint:errcheck // it was only read
				state, err := log.Restore(ctx, nc, f, replicas)
				if err != nil {
					return err
				}
				l, err := log.Open(ctx, nc, log.Options{Replicas: replicas}) // and what is made from it
				if err != nil {
					return err
				}
				return a.tellBackup("restored from "+args[0], l.Identity(), state)
			})
		})
	c.Long = "Make the log from a backup, where there is none: the same history under the same sequences.\nThen run hostroute migrate up and hostroute audit verify."
	backupFlags(c, &path, &debug)
	return c
}

func backupFlags(c *cobra.Command, path *string, debug *bool) {
	c.Flags().StringVar(path, "config", "", "the configuration `FILE` that names the log, instead of --log")
	c.Flags().BoolVar(debug, "debug", false, "log more")
}

// onServer works on the server that a configuration names, or the flags.
func (a *app) onServer(ctx context.Context, path string, debug bool, work func(ctx context.Context, nc *nats.Conn, replicas int) error) error {
	if path == "" {
		nc, err := a.connect()
		if err != nil {
			return err
		}
		defer nc.Close()
		return work(ctx, nc, 1)
	}
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	return withServer(ctx, &cfg.Log, logger(a.stderr, debug), func(ctx context.Context, nc *nats.Conn, _ string) error {
		return work(ctx, nc, cfg.Log.Replicas)
	})
}

// backupTo writes a new file, which isn't there if anything goes wrong.
func backupTo(ctx context.Context, nc *nats.Conn, path string) (log.BackupState, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return log.BackupState{}, err
	}
	state, err := log.Backup(ctx, nc, f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(path) // half a backup is none
	}
	return state, err
}

func (a *app) tellBackup(what, identity string, state log.BackupState) error {
	if a.json {
		answer := map[string]any{"messages": state.Messages, "last": state.Last}
		if identity != "" {
			answer["identity"] = identity
		}
		return writeJSON(a.stdout, answer)
	}
	_, err := fmt.Fprintf(a.stdout, "%s: %s, the last is %d\n", what, count(int(state.Messages), "message"), state.Last)
	return err
}
