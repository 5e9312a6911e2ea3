package main

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hostroute/hostroute/internal/agent"
	"github.com/hostroute/hostroute/internal/dhcp/server"
	"github.com/hostroute/hostroute/ipv6/dhcpv6"
	"github.com/hostroute/hostroute/ipv6/ndproxy"
	"github.com/hostroute/hostroute/ipv6/ra"
)

// showGuest tells all that is known of one guest.
func (a *app) showGuest(g agent.Guest) error {
	t := newSheet(a.stdout)
	t.row(g.VM, fmt.Sprintf("%s here; at home on %s since sequence %d", g.Duty, g.Home, g.Epoch))
	if g.Handover != "" {
		t.row("", g.Handover)
	}
	for _, f := range g.Interfaces {
		where := "not on this host"
		if f.Present {
			where = "on this host"
		}
		t.row(f.Tap, fmt.Sprintf("%s, %s, network %s, VRF %s", where, f.MAC, f.Network, f.VRF))
		for _, p := range f.Addresses {
			t.row("  address", withRole(p.Prefix, p.Role))
		}
		a.showDHCPv4(t, f.Services.DHCPv4)
		a.showRA(t, f.Services.RA)
		a.showDHCPv6(t, f.Services.DHCPv6)
		a.showNDProxy(t, f.Services.NDProxy)
		if d := f.Drops; d != nil {
			t.row("  dropped", fmt.Sprintf("%d spoofed, %d refused, %d limited", d.Spoofed, d.Refused, d.Limited))
		}
	}
	return t.flush()
}

func (a *app) showDHCPv4(t table, s *server.Status) {
	if s == nil {
		return
	}
	lease := "no lease told since the agent started"
	if l := s.Lease; l != nil {
		lease = fmt.Sprintf("%s told %s ago, until %s", l.Address, a.since(l.Acknowledged), stamp(l.Expires))
	}
	t.row("  DHCPv4", lease)
	if s.LastKind != "" {
		t.row("", fmt.Sprintf("last heard: %s, %s ago", s.LastKind, a.since(s.LastTime)))
	}
	if s.Hostname != "" || s.VendorClass != "" {
		t.row("", fmt.Sprintf("the guest calls itself \"%s\", its client \"%s\"", s.Hostname, s.VendorClass)) // escaped already
	}
	c := s.Counters
	t.row("", fmt.Sprintf("%d discovers, %d offers, %d requests, %d acks, %d naks, %d informs, %d releases, %d declines",
		c.Discovers, c.Offers, c.Requests, c.Acks, c.Naks, c.Informs, c.Releases, c.Declines))
	showTrouble(t, c.Limited, c.Panics, c.Unsent, c.Ignored, s.Error)
}

func (a *app) showRA(t table, s *ra.Status) {
	if s == nil {
		return
	}
	solicited := "the guest has not asked"
	if !s.LastSolicitation.IsZero() {
		solicited = fmt.Sprintf("the guest last asked %s ago, from %s", a.since(s.LastSolicitation), s.LastSolicitor)
	}
	sent := fmt.Sprintf("%d sent", s.Advertisements)
	if !s.LastAdvertisement.IsZero() {
		sent += ", the last " + a.ago(s.LastAdvertisement)
	}
	t.row("  RA", sent+"; "+solicited)
	showTrouble(t, s.Limited, s.Panics, s.Failed, map[string]uint64{"invalid solicitation": s.Invalid}, s.Error)
}

func (a *app) showDHCPv6(t table, s *dhcpv6.Status) {
	if s == nil {
		return
	}
	if len(s.Bound) == 0 {
		t.row("  DHCPv6", "no lease told since the agent started")
	}
	for i, b := range s.Bound {
		until := ""
		if !b.ExpiresAt.IsZero() {
			until = ", until " + stamp(b.ExpiresAt)
		}
		heading := ""
		if i == 0 {
			heading = "  DHCPv6"
		}
		t.row(heading, fmt.Sprintf("%s told %s ago%s", b.Prefix, a.since(b.AcknowledgedAt), until))
	}
	if s.Last != "" {
		t.row("", fmt.Sprintf("last heard: %s, %s ago, DUID %s", s.Last, a.since(s.LastAt), s.Client))
	}
	if n := counted(s.Received); n != "" {
		t.row("", "received "+n)
	}
	showTrouble(t, s.Limited, s.Panics, s.Unsent, s.Ignored, s.Error)
}

func (a *app) showNDProxy(t table, s *ndproxy.Status) {
	if s == nil {
		return
	}
	text := fmt.Sprintf("%d answers", s.Answers)
	if s.LastAnswer != (time.Time{}) && s.LastTarget != (netip.Addr{}) {
		text += fmt.Sprintf(", the last %s ago for %s", a.since(s.LastAnswer), s.LastTarget)
	}
	t.row("  ND proxy", text)
	showTrouble(t, s.Limited, s.Panics, s.Failed, s.Ignored, s.Error)
}

// showTrouble tells what a service did not answer, if there was anything.
func showTrouble[K ~string](t table, limited, panics, unsent uint64, ignored map[K]uint64, err string) {
	if n := counted(ignored); n != "" {
		t.row("", "ignored "+n)
	}
	if limited+panics+unsent > 0 {
		t.row("", fmt.Sprintf("limit reached %d times, %d answers not sent, %d panics", limited, unsent, panics))
	}
	if err != "" {
		t.row("", "NOT SERVED: "+err)
	}
}

// counted words counters that aren't zero, in the order of their names.
func counted[K ~string](counters map[K]uint64) string {
	var texts []string
	for _, k := range slices.Sorted(maps.Keys(counters)) {
		if n := counters[k]; n > 0 {
			texts = append(texts, fmt.Sprintf("%d %s", n, k))
		}
	}
	return strings.Join(texts, ", ")
}
