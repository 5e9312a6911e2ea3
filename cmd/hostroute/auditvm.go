package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/audit"
)

// auditedVM is what happened to a guest, as --json shows it.
type auditedVM struct {
	Asked *asked `json:"asked"`
	audit.GuestHistory
}

func (a *app) auditVM() *cobra.Command {
	return a.question("vm VM", "Tell where a guest lived, and what addresses it had", "hostroute audit vm web-1 --since -7d",
		func(ctx context.Context, name string, q *asked) error {
			if err := events.CheckName("VM", name); err != nil {
				return err
			}
			h, err := histories(ctx, a, q, func(b *audit.Book, w audit.Window) (audit.GuestHistory, error) { return b.Guest(name, w) })
			if err != nil {
				return err
			}
			return a.showVM(auditedVM{q, h})
		})
}

func (a *app) showVM(r auditedVM) error {
	answered := len(r.Lives) > 0
	if a.json {
		if err := writeJSON(a.stdout, r); err != nil {
			return err
		}
		return a.verdict(r.Damaged, answered)
	}
	switch {
	case !answered && r.Before == nil && r.After == nil:
		fmt.Fprintf(a.stdout, "Guest %s: no such guest was ever created.\n", r.VM)
	case !answered:
		fmt.Fprintf(a.stdout, "Guest %s didn't exist%s.\n", r.VM, r.Asked)
		if l := r.Before; l != nil {
			fmt.Fprintf(a.stdout, "Before: until %s, %s\n", when(*l.Until), cause(*l.Until))
		}
		if l := r.After; l != nil {
			fmt.Fprintf(a.stdout, "After: from %s, %s\n", when(l.From), onset(l.From))
		}
	}
	for i, l := range r.Lives {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		a.tellLife(r, l)
	}
	return a.verdict(r.Damaged, answered)
}

func (a *app) tellLife(r auditedVM, l audit.Life) {
	fmt.Fprintf(a.stdout, "Guest %s%s:\n  existed %s, %s", r.VM, r.Asked, period(l.Span), onset(l.From))
	if l.Until != nil {
		fmt.Fprintf(a.stdout, "; %s", cause(*l.Until))
	}
	fmt.Fprintln(a.stdout)
	if l.Hostname != "" {
		fmt.Fprintf(a.stdout, "  called %s\n", l.Hostname)
	}
	for _, h := range l.Homes {
		fmt.Fprintf(a.stdout, "  on hypervisor %s %s", h.Hypervisor, period(h.Span))
		if h.From.Sequence != l.From.Sequence {
			fmt.Fprintf(a.stdout, ", %s", onset(h.From))
		}
		fmt.Fprintln(a.stdout)
		for i, tap := range h.Taps {
			f := l.Interfaces[i]
			fmt.Fprintf(a.stdout, "    interface %s in network %s, VRF %s, %s\n", tap, f.Network, f.VRF, f.MAC)
		}
		tellMarks(a.stdout, "    ", h.Hypervisor+" fenced, announcing nothing,", h.Fenced)
	}
	for _, p := range l.Preparations {
		fmt.Fprintf(a.stdout, "  prepared on hypervisor %s (interface %s) %s, %s", p.Hypervisor, strings.Join(p.Taps, ", "), period(p.Span), onset(p.From))
		if p.Until != nil {
			fmt.Fprintf(a.stdout, "; %s", outcomeOf(*p.Until))
		}
		fmt.Fprintln(a.stdout)
	}
	for _, h := range l.Addresses {
		fmt.Fprintf(a.stdout, "  had %s, %s, in network %s, VRF %s, %s; %s", bare(h.Prefix), h.Role, l.Interfaces[h.Interface].Network, h.VRF, period(h.Span), onset(h.From))
		if h.Until != nil {
			fmt.Fprintf(a.stdout, "; %s", cause(*h.Until))
		}
		fmt.Fprintln(a.stdout)
	}
}

// outcomeOf says how the preparation of a migration ended.
func outcomeOf(o audit.Origin) string {
	if o.Type == events.TypeVMMigrated {
		return "migrated there " + by(o)
	}
	return cause(o)
}
