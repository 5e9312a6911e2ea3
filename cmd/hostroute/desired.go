package main

import (
	"fmt"
	"net/netip"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/projector"
	"github.com/hostroute/hostroute/vrf"
)

// replayed is what a hypervisor must serve, as --json shows it.
type replayed struct {
	Hypervisor    string                  `json:"hypervisor"`
	Sequence      uint64                  `json:"sequence"` // of the last event that counted; 0: none did
	Taps          []replayedTap           `json:"taps"`
	DHCP          []toldDHCP              `json:"dhcp"`
	IPv6          []toldIPv6              `json:"ipv6"`
	Announcements []replayedAnnouncement  `json:"announcements"`
	Departures    []projector.Departure   `json:"departures"` // what guests that were homed here before hold elsewhere
	Problems      []projector.Problem     `json:"problems"`
	Quarantined   []projector.Quarantined `json:"quarantined"`
	Kernel        *difference             `json:"kernel,omitempty"` // with --diff-kernel
	Agent         *agentDifference        `json:"agent,omitempty"`  // with --diff-agent
}

type replayedTap struct {
	Name       string              `json:"name"`
	VRF        string              `json:"vrf"`
	MAC        string              `json:"mac"`     // the guest's
	Sources    []netip.Prefix      `json:"sources"` // what it may send from
	Gateways   []netip.Addr        `json:"gateways"`
	Routes     []replayedRoute     `json:"routes"`
	Neighbours []replayedNeighbour `json:"neighbours"`
}

type replayedRoute struct {
	Prefix netip.Prefix `json:"prefix"`
	Via    string       `json:"via,omitempty"`
}

type replayedNeighbour struct {
	Address netip.Addr `json:"address"`
	MAC     string     `json:"mac"`
}

type replayedAnnouncement struct {
	VRF        string       `json:"vrf"`
	Prefix     netip.Prefix `json:"prefix"`
	Preference uint32       `json:"preference"`
}

// describe puts a desired state into the words of the command line.
func describe(hypervisor string, last uint64, h projector.Host, quarantined []projector.Quarantined) replayed {
	r := replayed{
		Hypervisor: hypervisor, Sequence: last, Taps: []replayedTap{}, DHCP: []toldDHCP{}, IPv6: []toldIPv6{}, Announcements: []replayedAnnouncement{},
		Departures: append([]projector.Departure{}, h.Departures...),
		Problems:   append([]projector.Problem{}, h.Problems...), Quarantined: append([]projector.Quarantined{}, quarantined...),
	}
	for _, t := range h.Taps {
		r.Taps = append(r.Taps, describeTap(t))
	}
	for _, s := range h.DHCP {
		r.DHCP = append(r.DHCP, describeDHCP(s))
	}
	for _, s := range h.IPv6 {
		r.IPv6 = append(r.IPv6, describeIPv6(s))
	}
	for _, n := range h.Announcements {
		r.Announcements = append(r.Announcements, describeAnnouncement(n))
	}
	return r
}

func describeTap(t vrf.Tap) replayedTap {
	d := replayedTap{
		Name: t.Name, VRF: t.VRF, MAC: events.MAC{Octets: t.MAC}.String(), Sources: append([]netip.Prefix{}, t.Sources...), Gateways: append([]netip.Addr{}, t.Gateways...),
		Routes: []replayedRoute{}, Neighbours: []replayedNeighbour{},
	}
	for _, r := range t.Routes {
		via := ""
		if r.Via.IsValid() {
			via = r.Via.String()
		}
		d.Routes = append(d.Routes, replayedRoute{r.Prefix, via})
	}
	for _, n := range t.Neighbours {
		d.Neighbours = append(d.Neighbours, replayedNeighbour{n.Address, events.MAC{Octets: n.MAC}.String()})
	}
	return d
}

func describeAnnouncement(n bgp.Announcement) replayedAnnouncement {
	return replayedAnnouncement{n.VRF, n.Prefix, n.Preference}
}

func (a *app) showReplay(r replayed) error {
	show := a.tellReplay
	if a.json {
		show = func(r replayed) error { return writeJSON(a.stdout, r) }
	}
	if err := show(r); err != nil {
		return err
	}
	if len(r.Problems) > 0 {
		return found{fmt.Errorf("hypervisor %q: not all that the log wants can be served", r.Hypervisor)}
	}
	if r.Agent != nil && r.Agent.any() {
		return found{fmt.Errorf("the agent of this host doesn't hold what the log wants of hypervisor %q: see hostroute status", r.Hypervisor)}
	}
	if r.Kernel != nil && r.Kernel.any() {
		return found{fmt.Errorf("the kernel of this host isn't what the log wants of hypervisor %q", r.Hypervisor)}
	}
	return nil
}

func (a *app) tellReplay(r replayed) error {
	summary := count(len(r.Taps), "tap") + ", " + count(len(r.Announcements), "announcement")
	if n := len(r.Departures); n > 0 {
		summary += ", " + count(n, "departure")
	}
	fmt.Fprintf(a.stdout, "hypervisor %s at #%d: %s\n\n", r.Hypervisor, r.Sequence, summary)
	t := newTable(a.stdout, "TAP", "VRF", "WHAT", "VALUE", "TO")
	for _, tap := range r.Taps {
		t.row(tap.Name, tap.VRF, "guest", tap.MAC, "")
		for _, p := range tap.Sources {
			t.row(tap.Name, tap.VRF, "source", p, "")
		}
		for _, g := range tap.Gateways {
			t.row(tap.Name, tap.VRF, "gateway", g, "")
		}
		for _, n := range tap.Neighbours {
			t.row(tap.Name, tap.VRF, "neighbour", n.Address, n.MAC)
		}
		for _, route := range tap.Routes {
			t.row(tap.Name, tap.VRF, "route", route.Prefix, route.Via)
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	if err := a.tellTold(r); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	if err := a.tellDepartures(r.Departures); err != nil {
		return err
	}
	t = newTable(a.stdout, "ANNOUNCED", "VRF", "PREFERENCE")
	for _, n := range r.Announcements {
		t.row(n.Prefix, n.VRF, n.Preference)
	}
	for _, p := range r.Problems {
		t.row("PROBLEM", p.VM+" "+p.Tap, p.Reason)
	}
	for _, q := range r.Quarantined {
		t.row("QUARANTINED", fmt.Sprintf("#%d %s", q.Sequence, orDefault(q.Type, "message")), q.Reason)
	}
	if err := t.flush(); err != nil {
		return err
	}
	if r.Agent != nil {
		if err := a.tellAgent(r.Agent); err != nil {
			return err
		}
	}
	if r.Kernel == nil {
		return nil
	}
	return a.tellDifference(r.Kernel)
}

// tellDepartures lists what left with its guest. For how long that is forwarded
// is for the agent to know, not for the log.
func (a *app) tellDepartures(list []projector.Departure) error {
	if len(list) == 0 {
		return nil
	}
	t := newTable(a.stdout, "DEPARTED", "VRF", "GUEST", "TO", "BY", "PREFERENCE")
	for _, d := range list {
		t.row(d.Prefix, d.VRF, d.VM, d.To, fmt.Sprintf("#%d", d.Epoch), fmt.Sprintf("%d or more", d.Preference))
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(a.stdout)
	return err
}
