package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/audit"
)

// auditedIP is who held an address, as --json shows it.
type auditedIP struct {
	Asked *asked `json:"asked"`
	audit.AddressHistory
}

func (a *app) auditIP() *cobra.Command {
	var vrf string
	c := a.question("ip PREFIX", "Tell who had an address, and where", "hostroute audit ip 203.0.113.7 --at \"2026-11-22 03:12 +0100\"",
		func(ctx context.Context, name string, q *asked) error {
			p, err := events.ParsePrefix(name)
			if err != nil {
				return err
			}
			if vrf != "" {
				if err := events.CheckName("--vrf", vrf); err != nil {
					return err
				}
			}
			h, err := histories(ctx, a, q, func(b *audit.Book, w audit.Window) (audit.AddressHistory, error) { return b.Address(p.Prefix, vrf, w) })
			if err != nil {
				return err
			}
			return a.showIP(auditedIP{q, h})
		})
	c.Flags().StringVar(&vrf, "vrf", "", "in this `VRF` only; default: in every one that had it")
	c.Long += "\n\nA prefix that contains the address counts: a routed block, or a guest's /64. What lies\n" +
		"within a prefix that you ask for doesn't; ask for that."
	return c
}

func (a *app) showIP(r auditedIP) error {
	answered := len(r.Tenures) > 0
	if a.json {
		if err := writeJSON(a.stdout, r); err != nil {
			return err
		}
		return a.verdict(r.Damaged, answered)
	}
	switch {
	case !answered:
		a.tellNobody(r)
	case r.Asked.At != nil:
		for _, t := range r.Tenures {
			a.tellHolder(r, t)
		}
	default:
		a.tellTenures(r)
	}
	return a.verdict(r.Damaged, answered)
}

// tellHolder says who held an address at one moment.
func (a *app) tellHolder(r auditedIP, t audit.Tenure) {
	fmt.Fprintf(a.stdout, "%s (VRF %s%s)%s: guest %s", bare(r.Prefix), t.VRF, partOf(r.Prefix, t), r.Asked, t.VM)
	for _, s := range t.Stays {
		if s.Tap != "" {
			fmt.Fprintf(a.stdout, ", interface %s", s.Tap)
		}
		fmt.Fprintf(a.stdout, ", on hypervisor %s", s.Hypervisor)
	}
	fmt.Fprintf(a.stdout, ", as %s since %s %s", t.Role, when(t.From), by(t.From))
	if t.Until != nil {
		fmt.Fprintf(a.stdout, ", until %s %s", when(*t.Until), by(*t.Until))
	}
	fmt.Fprintln(a.stdout)
	for _, s := range t.Stays {
		if s.From.Sequence != t.From.Sequence {
			fmt.Fprintf(a.stdout, "  on %s since %s %s\n", s.Hypervisor, when(s.From), by(s.From))
		}
		a.tellFenced(s)
	}
}

func (a *app) tellFenced(s audit.Stay) {
	tellMarks(a.stdout, "  ", "hypervisor "+s.Hypervisor+" fenced, announcing nothing,", s.Fenced)
}

func partOf(p netip.Prefix, t audit.Tenure) string {
	if p == t.Prefix {
		return ""
	}
	return ", in " + t.Prefix.String()
}

// tellTenures says who held an address in the course of time.
func (a *app) tellTenures(r auditedIP) {
	for i, t := range r.Tenures {
		if i == 0 || t.VRF != r.Tenures[i-1].VRF {
			if i > 0 {
				fmt.Fprintln(a.stdout)
			}
			fmt.Fprintf(a.stdout, "%s in VRF %s%s:\n", bare(r.Prefix), t.VRF, r.Asked)
		}
		fmt.Fprintf(a.stdout, "\nGuest %s %s, as %s", t.VM, period(t.Span), t.Role)
		if t.Prefix != r.Prefix {
			fmt.Fprintf(a.stdout, ", with %s", t.Prefix)
		}
		if t.Network != "" {
			fmt.Fprintf(a.stdout, ", in network %s", t.Network)
		}
		fmt.Fprintf(a.stdout, "\n  %s\n", onset(t.From))
		for _, s := range t.Stays {
			a.tellStay(t, s)
		}
		if t.Until != nil {
			fmt.Fprintf(a.stdout, "  %s\n", cause(*t.Until))
		}
	}
}

func (a *app) tellStay(t audit.Tenure, s audit.Stay) {
	fmt.Fprintf(a.stdout, "  on hypervisor %s", s.Hypervisor)
	if s.Tap != "" {
		fmt.Fprintf(a.stdout, ", interface %s", s.Tap)
	}
	whole := s.Until == nil || t.Until != nil && s.Until.Sequence == t.Until.Sequence
	if s.From.Sequence != t.From.Sequence {
		fmt.Fprintf(a.stdout, ", from %s, %s", when(s.From), onset(s.From))
	}
	if !whole {
		fmt.Fprintf(a.stdout, ", until %s", when(*s.Until))
	}
	fmt.Fprintln(a.stdout)
	a.tellFenced(s)
}

// tellNobody says that nobody held an address, and what else is known of it.
func (a *app) tellNobody(r auditedIP) {
	if r.Before == nil && r.After == nil {
		fmt.Fprintf(a.stdout, "No guest ever held %s, or a prefix that contains it.\n", bare(r.Prefix))
		for _, n := range r.Networks {
			a.tellNetwork(n)
		}
		if len(r.Networks) == 0 {
			fmt.Fprintf(a.stdout, "No network had it%s.\n", r.Asked)
		}
		return
	}
	fmt.Fprintf(a.stdout, "No guest held %s, or a prefix that contains it,%s.\n", bare(r.Prefix), r.Asked)
	if t := r.Before; t != nil {
		fmt.Fprintf(a.stdout, "Before: guest %s (VRF %s%s) until %s, %s\n", t.VM, t.VRF, partOf(r.Prefix, *t), when(*t.Until), cause(*t.Until))
	}
	if t := r.After; t != nil {
		fmt.Fprintf(a.stdout, "After: guest %s (VRF %s%s) from %s, %s\n", t.VM, t.VRF, partOf(r.Prefix, *t), when(t.From), onset(t.From))
	}
}

func (a *app) tellNetwork(n audit.NetworkTerm) {
	fmt.Fprintf(a.stdout, "It was in network %s (VRF %s, %s) %s, %s", n.Network, n.VRF, n.Subnet, period(n.Span), onset(n.From))
	if n.Until != nil {
		fmt.Fprintf(a.stdout, "; %s", cause(*n.Until))
	}
	if n.Gateway {
		fmt.Fprint(a.stdout, "; a gateway, for which the hypervisors of its guests answer")
	}
	fmt.Fprintln(a.stdout)
}
