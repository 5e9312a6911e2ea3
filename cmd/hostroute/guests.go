package main

import (
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/agent"
)

func (a *app) guestsCommand() *cobra.Command {
	return question(a, "guests", "List the guests that this hypervisor has a duty for", agent.PathGuests, nothing, a.showGuests)
}

func (a *app) showGuests(guests []agent.Guest) error {
	t := newTable(a.stdout, "GUEST", "DUTY", "HOME", "EPOCH", "TAP", "HERE", "MAC", "NETWORK", "VRF", "ADDRESSES")
	for _, g := range guests {
		for _, f := range g.Interfaces {
			here := "no"
			if f.Present {
				here = "yes"
			}
			t.row(g.VM, g.Duty, g.Home, g.Epoch, f.Tap, here, f.MAC, f.Network, f.VRF, addresses(f.Addresses))
		}
	}
	return t.flush()
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
