package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
)

func (a *app) eventsCommand() *cobra.Command {
	since, until := timeFlag{now: a.now}, timeFlag{now: a.now}
	var f log.Filter
	var ip string
	var follow bool
	c := a.command("events", "List what happened, oldest first", "hostroute events --since -1h --ip 203.0.113.7",
		func(ctx context.Context, _ []string) error {
			f.Since, f.Until = since.Time, until.Time
			if ip != "" {
				p, err := events.ParsePrefix(ip)
				if err != nil {
					return fmt.Errorf("--ip: %w", err)
				}
				f.Prefix = p.Prefix
			}
			return a.listEvents(ctx, f, follow)
		})
	flags := c.Flags()
	flags.Var(&since, "since", "from this time on: -10m, \"2026-11-22 03:12\", yesterday …")
	flags.Var(&until, "until", "before this time")
	flags.StringVar(&f.VM, "vm", "", "what changed this guest `VM`")
	flags.StringVar(&ip, "ip", "", "what changed who holds this address, or exactly this `PREFIX`")
	flags.StringVar(&f.Hypervisor, "hypervisor", "", "what concerned this hypervisor `HV`")
	flags.StringVar(&f.Network, "network", "", "what changed this network `NAME`")
	flags.BoolVar(&follow, "follow", false, "go on with what happens from now on, until ^C")
	return c
}

// entry is an event of the log as --json shows it. Error is set for one that
// can't be read, beside what could be.
type entry struct {
	Sequence uint64          `json:"sequence"`
	Stored   time.Time       `json:"stored"`
	ID       string          `json:"id"`
	Type     string          `json:"type"`
	Source   string          `json:"source,omitempty"`
	Time     time.Time       `json:"time"`              // as the publisher gave it
	Version  int             `json:"version,omitempty"` // of the data, where it isn't 1: as publish takes it
	Data     json.RawMessage `json:"data,omitempty"`
	Error    string          `json:"error,omitempty"`
}

func entryOf(e log.Entry) entry {
	out := entry{Sequence: e.Sequence, Stored: e.Stored, ID: e.ID, Type: e.Type, Source: e.Source, Time: e.Time, Data: e.Data}
	if e.Version > 1 {
		out.Version = e.Version
	}
	if e.Err != nil {
		out.Error = e.Err.Error()
	}
	return out
}

func (a *app) listEvents(ctx context.Context, f log.Filter, follow bool) error {
	l, err := a.ledger(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	unreadable := 0
	err = l.Read(ctx, f, follow, func(e log.Entry) error {
		if e.Err != nil {
			unreadable++
		}
		if a.json {
			return writeLine(a.stdout, entryOf(e))
		}
		_, err := fmt.Fprintf(a.stdout, "%s  #%-6d  %s\n", stamp(e.Stored), e.Sequence, words(e))
		return err
	})
	if err != nil {
		return err
	}
	if unreadable > 0 {
		return found{fmt.Errorf("%s can't be read and changed nothing", count(unreadable, "event"))}
	}
	return nil
}

// words says what happened and who said so.
func words(e log.Entry) string {
	if e.Err != nil {
		return fmt.Sprintf("UNREADABLE %s on %s: %v", orDefault(e.Type, "message"), e.Subject, e.Err)
	}
	text := sentence(e.Event.Data)
	if e.Source != "" {
		text += ", by " + e.Source
	}
	return text
}
