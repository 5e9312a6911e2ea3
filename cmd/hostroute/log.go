package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/internal/config"
)

// defaultConfig is where the configuration is.
const defaultConfig = "/etc/hostroute/hostroute.yaml"

func (a *app) logCommand() *cobra.Command {
	return group("log", "Prepare the log and serve it", a.logServe(), a.logInit(), a.logBackup(), a.logRestore())
}

func (a *app) logServe() *cobra.Command {
	var path string
	var debug bool
	c := a.command("serve", "Run the log service, and the log itself where log.embedded says so",
		"hostroute log serve --config /etc/hostroute/hostroute.yaml",
		func(ctx context.Context, _ []string) error {
			cfg, err := loadLog(path)
			if err != nil {
				return err
			}
			logger := logger(a.stderr, debug)
			outliveReader()
			err = withLog(ctx, &cfg.Log, logger, func(ctx context.Context, l *log.Ledger, _ string) error {
				return log.NewService(l, logger).Run(ctx)
			})
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return nil // stopped before it had started
			}
			return err
		})
	configFlags(c, &path, &debug)
	return c
}

func (a *app) logInit() *cobra.Command {
	var path string
	var debug bool
	var cluster clusterFlags
	c := a.command("init", "Make the streams of the log, or with --cluster what its servers and users need",
		"hostroute log init --config /etc/hostroute/hostroute.yaml\n"+
			"  hostroute log init --cluster DIR --server n1=198.51.100.10 --server n2=198.51.100.11 --server n3=198.51.100.12 --user agent:hv1 --user publisher:api",
		func(ctx context.Context, _ []string) error {
			if cluster.dir != "" {
				return a.prepareCluster(&cluster)
			}
			if err := cluster.unused(); err != nil {
				return err
			}
			cfg, err := loadLog(path)
			if err != nil {
				return err
			}
			return withLog(ctx, &cfg.Log, logger(a.stderr, debug), func(ctx context.Context, l *log.Ledger, url string) error {
				last, err := l.LastSequence(ctx)
				if err != nil {
					return err
				}
				if a.json {
					return writeJSON(a.stdout, map[string]any{"url": url, "identity": l.Identity(), "last": last})
				}
				_, err = fmt.Fprintf(a.stdout, "the log at %s is ready; it was made at %s and ends at %d\n", url, l.Identity(), last)
				return err
			})
		})
	c.Long = "Without --cluster, make the streams of the log where they aren't, and check them where they are.\n\n" +
		"With --cluster, write what the servers of a cluster and its users need: a configuration for each server and a\n" +
		"credentials file for each user. Run it again to add users or servers; no key is ever replaced, and no\n" +
		"configuration of a server that is there."
	configFlags(c, &path, &debug)
	cluster.define(c)
	return c
}

func configFlags(c *cobra.Command, path *string, debug *bool) {
	c.Flags().StringVar(path, "config", defaultConfig, "the configuration `FILE`")
	c.Flags().BoolVar(debug, "debug", false, "log more")
}

func loadLog(path string) (*config.Config, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	if err := cfg.CheckLog(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

// withLog opens the log that a configuration names, embedded or not, and works
// on it until the work or the server ends.
func withLog(ctx context.Context, c *config.Log, logger *slog.Logger, work func(context.Context, *log.Ledger, string) error) error {
	return withServer(ctx, c, logger, func(ctx context.Context, nc *nats.Conn, url string) error {
		o := log.Options{Replicas: c.Replicas}
		if c.Embedded != nil { // nobody else has this server, so nobody else would migrate it
			o = log.Options{Replicas: 1, Migrate: true, Say: func(what string) { logger.Info("migrating the log", "step", what) }}
		}
		l, err := log.Open(ctx, nc, o)
		if err != nil {
			return err
		}
		if c.Embedded == nil {
			tellLayout(ctx, nc, logger)
		}
		return work(ctx, l, url)
	})
}

// withServer connects to the server that a configuration names, or runs it. The
// server goes last, so that what the work has under way is finished.
func withServer(ctx context.Context, c *config.Log, logger *slog.Logger, work func(context.Context, *nats.Conn, string) error) error {
	if c.Embedded == nil {
		nc, err := log.Connect(c.URL, log.ConnectOptions{Name: "hostroute log", Credentials: c.Credentials, CA: c.CA, Device: c.VRF, Logger: logger})
		if err != nil {
			return err
		}
		defer nc.Close()
		return work(ctx, nc, c.URL)
	}
	server := log.NewServer(log.ServerOptions{
		Store: c.Embedded.Store, Listen: listenText(c.Embedded), SyncInterval: c.Embedded.Sync, Logger: logger,
	})
	return server.While(ctx, func(ctx context.Context) error {
		nc, err := server.Connect(log.ConnectOptions{Name: "hostroute log", Logger: logger})
		if err != nil {
			return err
		}
		defer nc.Close()
		return work(ctx, nc, server.URL())
	})
}

func listenText(e *config.Embedded) string {
	if !e.Listen.IsValid() {
		return ""
	}
	return e.Listen.String()
}
