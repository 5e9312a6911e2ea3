package main

import (
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/agent"
)

func (a *app) guestsCommand() *cobra.Command {
	var vm string
	c := question(a, "guests [VM]", "List the guests that this hypervisor serves; VM: all that it told this one", agent.PathGuests,
		func(args []string) (url.Values, error) {
			if len(args) == 0 {
				return nil, nil
			}
			vm = args[0]
			return url.Values{"vm": args}, nil
		},
		func(guests []agent.Guest) error {
			if vm != "" {
				return a.showGuest(guests[0])
			}
			return a.showGuests(guests)
		})
	c.Example = "  hostroute guests vm1"
	return c
}

func (a *app) showGuests(guests []agent.Guest) error {
	t := newTable(a.stdout, "GUEST", "DUTY", "TAP", "HERE", "NETWORK", "ADDRESSES", "DHCP", "DHCPV6", "RS", "RA", "ND", "SPOOFED", "REFUSED", "LIMITED")
	for _, g := range guests {
		for _, f := range g.Interfaces {
			ages, answers := a.served(f.Services)
			spoofed, refused, limited := "", "", ""
			if d := f.Drops; d != nil {
				spoofed, refused, limited = fmt.Sprint(d.Spoofed), fmt.Sprint(d.Refused), fmt.Sprint(d.Limited)
			}
			t.row(g.VM, g.Duty, f.Tap, yesNo(f.Present), f.Network, addresses(f.Addresses),
				ages[0], ages[1], ages[2], ages[3], answers, spoofed, refused, limited)
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(a.stdout, "DHCP, DHCPV6, RS, RA: how long ago the guest last got its addresses, asked for and got a router; "+
		"ND: answers for its neighbours; then packets dropped")
	return err
}

// served words how long ago a guest got its addresses by DHCPv4 and DHCPv6,
// asked for a router and was told one, and how often the ND proxy answered.
func (a *app) served(s agent.GuestServices) (ages [4]string, answers string) {
	age := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return a.since(t)
	}
	if s.DHCPv4 != nil && s.DHCPv4.Lease != nil {
		ages[0] = age(s.DHCPv4.Lease.Acknowledged)
	}
	if s.DHCPv6 != nil && len(s.DHCPv6.Bound) > 0 {
		latest := s.DHCPv6.Bound[0].AcknowledgedAt
		for _, b := range s.DHCPv6.Bound {
			if b.AcknowledgedAt.After(latest) {
				latest = b.AcknowledgedAt
			}
		}
		ages[1] = age(latest)
	}
	if s.RA != nil {
		ages[2], ages[3] = age(s.RA.LastSolicitation), age(s.RA.LastAdvertisement)
	}
	if s.NDProxy != nil {
		answers = fmt.Sprint(s.NDProxy.Answers)
	}
	return ages, answers
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// addresses words the prefixes of an interface.
func addresses(list []agent.GuestAddress) string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = withRole(a.Prefix, a.Role)
	}
	return joined(texts)
}

// withRole adds the role of a prefix unless it is the usual one.
func withRole(p netip.Prefix, role string) string {
	if role == string(events.RolePrimary) {
		return p.String()
	}
	return p.String() + " (" + role + ")"
}
