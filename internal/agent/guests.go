package agent

import (
	"fmt"
	"slices"

	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
)

// taps is what a hypervisor knows of its taps beyond the log, by their names.
type taps struct {
	present  map[string]bool
	services map[string]GuestServices
	drops    map[string]vrf.Drops // nil: they can't be read
}

// guests lists the guests that a hypervisor has a duty for, with the taps that
// they have or had there.
func guests(s *projector.State, hypervisor string, known taps) []Guest {
	list := []Guest{}
	for _, g := range s.Guests() {
		duty := g.Duty(hypervisor)
		if duty == projector.DutyNone {
			continue
		}
		list = append(list, Guest{
			VM: g.VM, Duty: string(duty), Home: g.Hypervisor, Epoch: g.Epoch,
			Interfaces: interfaces(g, duty, known),
		})
	}
	return list
}

// onlyGuest keeps one guest of a list; without a name, all.
func onlyGuest(list []Guest, vm string) ([]Guest, error) {
	if vm == "" {
		return list, nil
	}
	i := slices.IndexFunc(list, func(g Guest) bool { return g.VM == vm })
	if i < 0 {
		return nil, errQuery{fmt.Errorf("guest %q: this hypervisor has nothing to do for it; `hostroute vm list` says where guests are", vm)}
	}
	return list[i : i+1], nil
}

func interfaces(g *projector.Guest, duty projector.Duty, known taps) []GuestInterface {
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
			Tap: tap, Present: known.present[tap], MAC: f.MAC.String(), Network: f.Network, VRF: f.VRF,
			Addresses: []GuestAddress{}, Services: known.services[tap],
		}
		if known.drops != nil {
			drops := known.drops[tap]
			list[i].Drops = &drops
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
