package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/ipv6"
)

// toldDHCP is what a guest is told by DHCPv4, in the units of people.
type toldDHCP struct {
	dhcp.Service
	MAC     string       `json:"mac"`
	Lease   int          `json:"lease"` // seconds
	Options []toldOption `json:"options,omitempty"`
}

type toldOption struct {
	Code uint8  `json:"code"`
	Hex  string `json:"hex"`
}

// toldIPv6 is what a guest is told in IPv6, in the units of people.
type toldIPv6 struct {
	ipv6.Service
	MAC    string     `json:"mac"`
	Router toldRouter `json:"router"`
	Lease  toldLease  `json:"lease"`
}

type toldRouter struct {
	ipv6.Router
	Lifetime int          `json:"lifetime"` // seconds
	Interval int          `json:"interval"` // seconds
	Prefixes []toldPrefix `json:"prefixes,omitempty"`
}

type toldPrefix struct {
	ipv6.OnLink
	Valid     int `json:"valid"`     // seconds
	Preferred int `json:"preferred"` // seconds
}

type toldLease struct {
	ipv6.Lease
	Valid     int `json:"valid"`     // seconds
	Preferred int `json:"preferred"` // seconds
}

func seconds(d time.Duration) int { return int(d / time.Second) }

func describeDHCP(s dhcp.Service) toldDHCP {
	told := toldDHCP{Service: s, MAC: events.MAC{Octets: s.MAC}.String(), Lease: seconds(s.Lease)}
	for _, o := range s.Options {
		told.Options = append(told.Options, toldOption{o.Code, hex.EncodeToString(o.Value)})
	}
	return told
}

func describeIPv6(s ipv6.Service) toldIPv6 {
	told := toldIPv6{
		Service: s, MAC: events.MAC{Octets: s.MAC}.String(),
		Router: toldRouter{Router: s.Router, Lifetime: seconds(s.Router.Lifetime), Interval: seconds(s.Router.Interval)},
		Lease:  toldLease{Lease: s.Lease, Valid: seconds(s.Lease.Valid), Preferred: seconds(s.Lease.Preferred)},
	}
	for _, p := range s.Router.Prefixes {
		told.Router.Prefixes = append(told.Router.Prefixes, toldPrefix{p, seconds(p.Valid), seconds(p.Preferred)})
	}
	return told
}

// tellTold says what guests are told, if any are.
func (a *app) tellTold(r replayed) error {
	if len(r.DHCP)+len(r.IPv6) == 0 {
		return nil
	}
	fmt.Fprintln(a.stdout)
	t := newTable(a.stdout, "TAP", "GUEST", "TOLD BY", "WHAT", "VALUE")
	for _, s := range r.DHCP {
		tellDHCP(s, func(what, value string) { t.row(s.Tap, s.VM, "DHCPv4", what, value) })
	}
	for _, s := range r.IPv6 {
		tellIPv6(s, func(by, what, value string) { t.row(s.Tap, s.VM, by, what, value) })
	}
	return t.flush()
}

// filled tells only what there is to tell.
func filled(tell func(what, value string)) func(what, value string) {
	return func(what, value string) {
		if value != "" {
			tell(what, value)
		}
	}
}

func tellDHCP(s toldDHCP, tell func(what, value string)) {
	tell = filled(tell)
	subnet := " in " + s.Subnet.String()
	if s.Host() {
		subnet = " as a host"
	}
	tell("address", s.Address.String()+subnet)
	tell("gateway", s.Gateway.String())
	tell("routes", joined(s.Routes))
	tell("dns", joined(s.DNS))
	tell("ntp", joined(s.NTP))
	tell("domain", s.Domain)
	tell("search", joined(s.Search))
	tell("hostname", s.Hostname)
	tell("mtu", orNothing(s.MTU))
	for _, o := range s.Options {
		tell(fmt.Sprintf("option %d", o.Code), "0x"+o.Hex)
	}
	tell("lease", inUnits(s.Lease))
}

func tellIPv6(s toldIPv6, tell func(by, what, value string)) {
	ra := filled(func(what, value string) { tell("RA", what, value) })
	ra("router", wordRouter(s.Router))
	for _, p := range s.Router.Prefixes {
		ra("prefix", p.Prefix.String()+wordFlags(p.OnLink.OnLink, " on-link")+wordFlags(p.Autonomous, " autonomous"))
	}
	ra("routes", joined(s.Router.Routes))
	ra("dns", joined(s.Router.DNS))
	ra("search", joined(s.Router.Search))
	ra("mtu", orNothing(s.Router.MTU))
	v6 := filled(func(what, value string) { tell("DHCPv6", what, value) })
	v6("addresses", joined(s.Lease.Addresses))
	v6("delegated", joined(s.Lease.Delegated))
	v6("dns", joined(s.Lease.DNS))
	v6("search", joined(s.Lease.Search))
	v6("ntp", joined(s.Lease.NTP))
	if len(s.Lease.Addresses)+len(s.Lease.Delegated) > 0 {
		v6("lease", inUnits(s.Lease.Valid)+", preferred "+inUnits(s.Lease.Preferred))
	}
	if s.Proxy != nil {
		tell("ND proxy", "answers in", joined(s.Proxy.Prefixes))
	}
}

func wordRouter(r toldRouter) string {
	parts := []string{"no default router"}
	if r.Lifetime > 0 {
		parts = []string{"default router for " + inUnits(r.Lifetime)}
		if r.Preference != "" {
			parts = append(parts, "preference "+string(r.Preference))
		}
	}
	parts = append(parts, "told every "+inUnits(r.Interval))
	if r.Managed {
		parts = append(parts, "addresses by DHCPv6")
	}
	if r.Other {
		parts = append(parts, "more by DHCPv6")
	}
	return strings.Join(parts, ", ")
}

func wordFlags(on bool, word string) string {
	if on {
		return word
	}
	return ""
}

func orNothing(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// inUnits writes seconds as 1h30m rather than 1h30m0s.
func inUnits(seconds int) string {
	s := (time.Duration(seconds) * time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
