package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events/log"
)

func (a *app) migrateCommand() *cobra.Command {
	return group("migrate", "Bring the layout of the log up to date after an upgrade", a.migrateStatus(), a.migrateUp())
}

func (a *app) migrateStatus() *cobra.Command {
	c := a.command("status", "Show which migrations the log has, which are to come, and what was altered by hand", "hostroute migrate status",
		func(ctx context.Context, _ []string) error {
			m, nc, err := a.migrator()
			if err != nil {
				return err
			}
			defer nc.Close()
			layout, err := m.Status(ctx)
			if err != nil {
				return err
			}
			return a.showLayout(layout)
		})
	c.Long = "Show which migrations the log has, which are to come, and what was altered by hand.\n" +
		"A migration is applied when the streams are as it says, whoever made them so.\n\n" +
		"Exit status: 0 if the log is up to date, 1 if something is to be done, 2 where it could\nnot be asked."
	return c
}

func (a *app) migrateUp() *cobra.Command {
	var dry bool
	c := a.command("up", "Apply the migrations that the log doesn't have yet", "hostroute migrate up --dry-run",
		func(ctx context.Context, _ []string) error {
			m, nc, err := a.migrator()
			if err != nil {
				return err
			}
			defer nc.Close()
			layout, err := m.Up(ctx, log.UpOptions{DryRun: dry, Say: func(what string) {
				if !a.json {
					fmt.Fprintf(a.stdout, "%s%s\n", map[bool]string{true: "would "}[dry], what)
				}
			}})
			var drifted *log.DriftError
			switch {
			case errors.As(err, &drifted):
				return a.showLayout(layout)
			case err != nil:
				return err
			}
			return a.showLayout(layout)
		})
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, and do nothing")
	c.Long = "Apply the migrations that the log doesn't have yet, in order. Agents, log services and\n" +
		"publishers go on meanwhile. It may be run again at any time, also after it was\n" +
		"interrupted, and by several at once, of whom one works and the others wait. Streams\n" +
		"that were altered by hand it names and leaves alone, and then does nothing.\n\n" +
		"Exit status: 0 if the log is up to date, 1 if something is left to be done, 2 where it\ncould not be."
	return c
}

func (a *app) migrator() (*log.Migrator, *nats.Conn, error) {
	nc, err := a.connect()
	if err != nil {
		return nil, nil, err
	}
	m, err := log.NewMigrator(nc, log.MigratorOptions{By: a.source})
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return m, nc, nil
}

// laidOut is a layout as --json shows it.
type laidOut struct {
	log.Layout
	UpToDate bool `json:"up_to_date"`
}

// showLayout shows a layout, and finds something where it isn't up to date.
func (a *app) showLayout(l log.Layout) error {
	if a.json {
		if err := writeJSON(a.stdout, laidOut{l, l.UpToDate()}); err != nil {
			return err
		}
		return layoutVerdict(l)
	}
	t := newTable(a.stdout, "MIGRATION", "NAME", "STATE", "WHEN", "BY", "TO DO")
	for _, m := range l.Migrations {
		when, by := "", ""
		if m.State == log.MigrationApplied && m.Applied == nil {
			when = "with the log"
		}
		if m.Applied != nil {
			when, by = stamp(m.Applied.Begun), m.Applied.By
		}
		t.row(m.Number, m.Name, m.State, when, by, joined(m.Steps))
	}
	for _, n := range l.Newer {
		t.row(n.Number, n.Name, "of a newer release", stamp(n.Begun), n.By, "")
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, d := range l.Drifted() {
		fmt.Fprintf(a.stdout, "stream %s: %s is %s; the layout wants %s\n", d.Stream, d.Field, d.Have, d.Want)
	}
	return layoutVerdict(l)
}

// layoutVerdict is what is to be done about a layout.
func layoutVerdict(l log.Layout) error {
	switch n := len(l.Migrations) - l.At; {
	case len(l.Drifted()) > 0:
		return found{errors.New("the log was altered by hand: set back what is named above (`nats stream edit`), and run it again; no migration is applied before")}
	case n > 0:
		return found{fmt.Errorf("%s to be applied: `hostroute migrate up`", count(n, "migration"))}
	case len(l.Newer) > 0:
		return found{errors.New("the log was migrated by a newer release than this one: upgrade")}
	}
	return nil
}

// tellLayout says at the start of a log service what is to be done about the
// layout of a log that others look after.
func tellLayout(ctx context.Context, nc *nats.Conn, logger *slog.Logger) {
	m, err := log.NewMigrator(nc, log.MigratorOptions{})
	if err != nil {
		return // the log was opened, so this can't be
	}
	layout, err := m.Status(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		logger.Warn("the layout of the log can't be looked at; serving it", "error", err)
	case layout.UpToDate() && len(layout.Newer) > 0:
		logger.Warn("the log was migrated by a newer release; serving it as far as this one knows it", "layout", layout.At)
	case !layout.UpToDate():
		logger.Warn("the log has an older layout than this release; serving it, without what is new", "layout", layout.At,
			"newest", len(layout.Migrations), "to do", "hostroute migrate up")
	}
}
