package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/audit"
)

// auditedHypervisor is what happened to a hypervisor, as --json shows it.
type auditedHypervisor struct {
	Asked *asked `json:"asked"`
	audit.HypervisorHistory
}

func (a *app) auditHypervisor() *cobra.Command {
	c := a.question("hypervisor HV", "Tell who lived on a hypervisor, and whether it was drained or fenced", "hostroute audit hypervisor hv1 --at yesterday",
		func(ctx context.Context, name string, q *asked) error {
			if err := events.CheckName("HV", name); err != nil {
				return err
			}
			h, err := histories(ctx, a, q, func(b *audit.Book, w audit.Window) (audit.HypervisorHistory, error) { return b.Hypervisor(name, w) })
			if err != nil {
				return err
			}
			return a.showHypervisor(auditedHypervisor{q, h})
		})
	c.Long += "\n\nIt reads the histories of all guests that were ever there, which may take some seconds."
	return c
}

func (a *app) showHypervisor(r auditedHypervisor) error {
	answered := r.Registered != nil
	if a.json {
		if err := writeJSON(a.stdout, r); err != nil {
			return err
		}
		return a.verdict(r.Damaged, answered)
	}
	if !answered {
		fmt.Fprintf(a.stdout, "Hypervisor %s: not registered%s.\n", r.Hypervisor, r.Asked)
		return a.verdict(r.Damaged, answered)
	}
	fmt.Fprintf(a.stdout, "Hypervisor %s%s:\n  registered %s %s\n", r.Hypervisor, r.Asked, when(*r.Registered), by(*r.Registered))
	tellMarks(a.stdout, "  ", "drained", r.Drained)
	tellMarks(a.stdout, "  ", "fenced", r.Fenced)
	if len(r.Guests) == 0 {
		fmt.Fprintln(a.stdout, "  no guest lived there")
	}
	for _, g := range r.Guests {
		a.tellResident(g)
	}
	return a.verdict(r.Damaged, answered)
}

func (a *app) tellResident(g audit.Resident) {
	fmt.Fprintf(a.stdout, "\nGuest %s (interface %s) %s\n  ", g.VM, strings.Join(g.Taps, ", "), period(g.Span))
	if g.CameFrom != "" {
		fmt.Fprintf(a.stdout, "came from %s, migrated %s", g.CameFrom, by(g.From))
	} else {
		fmt.Fprint(a.stdout, onset(g.From))
	}
	switch {
	case g.WentTo != "":
		fmt.Fprintf(a.stdout, "; went to %s, migrated %s", g.WentTo, by(*g.Until))
	case g.Until != nil:
		fmt.Fprintf(a.stdout, "; %s", cause(*g.Until))
	}
	fmt.Fprintln(a.stdout)
	for _, h := range g.Addresses {
		fmt.Fprintf(a.stdout, "  had %s, %s, VRF %s, %s\n", bare(h.Prefix), h.Role, h.VRF, period(h.Span))
	}
}
