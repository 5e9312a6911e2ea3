package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/projector"
)

func (a *app) networkList() *cobra.Command {
	return a.listing("List the networks", "hostroute network list", func(s *projector.State) error {
		networks := append([]*projector.Network{}, s.Networks()...)
		if a.json {
			return writeJSON(a.stdout, networks)
		}
		t := newTable(a.stdout, "NETWORK", "VRF", "SUBNETS", "GATEWAYS", "MTU")
		for _, n := range networks {
			mtu := any("")
			if n.MTU > 0 {
				mtu = n.MTU
			}
			t.row(n.Network, n.VRF, subnets(n.Subnets), joined(n.Gateways), mtu)
		}
		return t.flush()
	})
}

func (a *app) vmList() *cobra.Command {
	return a.listing("List the guests with their homes and addresses", "hostroute vm list", func(s *projector.State) error {
		guests := append([]*projector.Guest{}, s.Guests()...)
		if a.json {
			return writeJSON(a.stdout, guests)
		}
		t := newTable(a.stdout, "GUEST", "HYPERVISOR", "EPOCH", "PREPARED ON", "TAP", "NETWORK", "VRF", "ADDRESSES")
		for _, g := range guests {
			next := ""
			if g.Next != nil {
				next = g.Next.Hypervisor
			}
			for i, f := range g.Interfaces {
				t.row(g.VM, g.Hypervisor, g.Epoch, next, f.Tap, f.Network, f.VRF, joined(held(g, i)))
			}
		}
		return t.flush()
	})
}

func (a *app) hypervisorList() *cobra.Command {
	return a.listing("List the hypervisors with how many guests are at home there", "hostroute hypervisor list", func(s *projector.State) error {
		hypervisors := append([]*projector.Hypervisor{}, s.Hypervisors()...)
		if a.json {
			return writeJSON(a.stdout, hypervisors)
		}
		homes := map[string]int{}
		for _, g := range s.Guests() {
			homes[g.Hypervisor]++
		}
		t := newTable(a.stdout, "HYPERVISOR", "GUESTS", "STATE", "REASON")
		for _, h := range hypervisors {
			t.row(h.Name, homes[h.Name], service(h), h.Reason)
		}
		return t.flush()
	})
}

// service words whether a hypervisor is used as usual.
func service(h *projector.Hypervisor) string {
	switch {
	case h.Fenced && h.Drained:
		return "fenced, drained"
	case h.Fenced:
		return "fenced"
	case h.Drained:
		return "drained"
	}
	return "in service"
}

// held words the prefixes of one interface of a guest.
func held(g *projector.Guest, port int) []string {
	var texts []string
	for _, a := range g.Addresses {
		if a.Interface == port {
			texts = append(texts, withRole(a.Prefix, string(a.Role)))
		}
	}
	return texts
}

// listing makes a command that shows something of what the log says now.
func (a *app) listing(short, example string, show func(*projector.State) error) *cobra.Command {
	return a.command("list", short, example, func(ctx context.Context, _ []string) error {
		l, err := a.ledger(ctx)
		if err != nil {
			return err
		}
		defer l.Close()
		state, _, err := l.Replay(ctx, log.Until{})
		if err != nil {
			return err
		}
		return show(state)
	})
}
