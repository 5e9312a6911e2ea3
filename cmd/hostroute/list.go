package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/events/log"
	"github.com/hostroute/hostroute/projector"
)

func (a *app) networkList() *cobra.Command {
	return a.listing("List the networks", "hostroute network list", func(s *projector.State) error {
		networks := append([]*projector.Network{}, s.Networks()...)
		if a.json {
			return writeJSON(a.stdout, networks)
		}
		t := newTable(a.stdout, "NETWORK", "VRF", "SUBNETS", "GATEWAYS", "MTU", "DHCP", "IPV6", "TOLD TO GUESTS")
		for _, n := range networks {
			t.row(n.Network, n.VRF, subnets(n.Subnets), joined(n.Gateways), orNothing(n.MTU),
				orDefault(string(n.DHCP.Style), string(events.DHCPClassic)), orDefault(string(n.IPv6.Style), string(events.IPv6SLAAC)), toldToAll(&n.NetworkDefined))
		}
		return t.flush()
	})
}

// toldToAll words what the guests of a network are told beyond its styles.
func toldToAll(n *events.NetworkDefined) string {
	var parts []string
	add := func(what, value string) {
		if value != "" {
			parts = append(parts, what+" "+value)
		}
	}
	add("routes", joined(n.Routes))
	add("dns", joined(n.DNS))
	add("ntp", joined(n.NTP))
	add("domain", n.Domain)
	add("search", joined(n.Search))
	if n.DHCP.Lease > 0 {
		add("lease", inUnits(n.DHCP.Lease))
	}
	for _, o := range n.DHCP.Options {
		add("option", fmt.Sprintf("%d=%s", o.Code, o.Hex))
	}
	add("ra", advertised(n.IPv6))
	return strings.Join(parts, "; ")
}

// advertised words what a network says about router advertisements.
func advertised(ra events.IPv6) string {
	var parts []string
	add := func(what, value string) {
		if value != "" {
			parts = append(parts, what+"="+value)
		}
	}
	add("preference", string(ra.Preference))
	if ra.Lifetime > 0 {
		add("lifetime", inUnits(ra.Lifetime))
	}
	if ra.Interval > 0 {
		add("interval", inUnits(ra.Interval))
	}
	for _, f := range []struct {
		name  string
		value *bool
	}{{"on-link", ra.OnLink}, {"autonomous", ra.Autonomous}, {"managed", ra.Managed}, {"other", ra.Other}} {
		if f.value != nil {
			add(f.name, strconv.FormatBool(*f.value))
		}
	}
	return joined(parts)
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
