package agent

import (
	"github.com/hostroute/hostroute/projector"
)

// guests lists the guests that a hypervisor has a duty for, with the taps that
// they have or had there.
func guests(s *projector.State, hypervisor string, present map[string]bool) []Guest {
	list := []Guest{}
	for _, g := range s.Guests() {
		duty := g.Duty(hypervisor)
		if duty == projector.DutyNone {
			continue
		}
		list = append(list, Guest{
			VM: g.VM, Duty: string(duty), Home: g.Hypervisor, Epoch: g.Epoch,
			Interfaces: interfaces(g, duty, present),
		})
	}
	return list
}

func interfaces(g *projector.Guest, duty projector.Duty, present map[string]bool) []GuestInterface {
	list := make([]GuestInterface, len(g.Interfaces))
	for i, f := range g.Interfaces {
		tap := f.Tap
		switch duty {
		case projector.DutyPrepare:
			tap = g.Next.Taps[i]
		case projector.DutyForward:
			tap = g.Previous.Taps[i]
		}
		list[i] = GuestInterface{
			Tap: tap, Present: present[tap], MAC: f.MAC.String(), Network: f.Network, VRF: f.VRF,
			Addresses: []GuestAddress{},
		}
	}
	for _, a := range g.Addresses {
		at := &list[a.Interface]
		at.Addresses = append(at.Addresses, GuestAddress{Prefix: a.Prefix, Role: string(a.Role)})
	}
	return list
}

func countGuests(s *projector.State, hypervisor string) (n GuestCount) {
	for _, g := range s.Guests() {
		switch g.Duty(hypervisor) {
		case projector.DutyHome:
			n.Home++
		case projector.DutyPrepare:
			n.Preparing++
		case projector.DutyForward:
			n.Forwarding++
		}
	}
	return n
}

// localRoutes finds the guest and tap behind each prefix that is served here.
func localRoutes(s *projector.State, hypervisor string) map[target]LocalRoute {
	owner := map[string]string{}
	for _, g := range s.Guests() {
		if g.Duty(hypervisor) == projector.DutyHome {
			for _, f := range g.Interfaces {
				owner[f.Tap] = g.VM
			}
		}
	}
	routes := map[target]LocalRoute{}
	for _, t := range projector.Desired(s, hypervisor).Taps {
		for _, r := range t.Routes {
			routes[target{t.VRF, r.Prefix}] = LocalRoute{VM: owner[t.Name], Tap: t.Name}
		}
	}
	return routes
}
