package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostroute/hostroute/events"
)

func (a *app) networkCommand() *cobra.Command {
	return group("network", "Define, remove and list networks", a.networkDefine(), a.networkRemove(), a.networkList())
}

// networkFlags are the settings of a network as they are typed.
type networkFlags struct {
	subnets, gateways, dns, ntp, options, routes []string
	dhcp, ipv6, preference                       string
}

func (a *app) networkDefine() *cobra.Command {
	var f networkFlags
	d := &events.NetworkDefined{}
	c := a.command("define NAME", "Define a network, or change the settings of one",
		"hostroute network define web --vrf public --subnet 203.0.113.0/24 --gateway 203.0.113.1",
		func(ctx context.Context, args []string) error {
			d.Network = args[0]
			if err := f.fill(d); err != nil {
				return err
			}
			return a.publish(ctx, d)
		})
	c.Long = "Define a network, or change the settings of one. What is said is all that holds from\nthen on: a setting that is left out has its default again, also where it had another\nvalue before. Guests that are there are told the new settings."
	flags := c.Flags()
	flags.StringVar(&d.VRF, "vrf", "", "the `VRF` of the network, for good")
	flags.StringArrayVar(&f.subnets, "subnet", nil, "`PREFIX`, or PREFIX,allocation=N where one claim is a whole /N (repeat for more)")
	flags.StringArrayVar(&f.gateways, "gateway", nil, "`ADDRESS` of the gateway that guests see (repeat for more)")
	flags.StringArrayVar(&f.routes, "route", nil, "`PREFIX` that guests reach through the gateway (repeat for more); default: everything, 0.0.0.0/0 and ::/0")
	flags.StringArrayVar(&f.dns, "dns", nil, "`ADDRESS` of a DNS server (repeat for more)")
	flags.StringArrayVar(&f.ntp, "ntp", nil, "`ADDRESS` of an NTP server (repeat for more)")
	flags.StringVar(&d.Domain, "domain", "", "domain `NAME` of the guests")
	flags.StringArrayVar(&d.Search, "search", nil, "search domain `NAME` (repeat for more)")
	flags.Var(bytesFlag{&d.MTU}, "mtu", "MTU in `BYTES` that guests are told, 576 to 65535")
	flags.StringVar(&f.dhcp, "dhcp", "", "`STYLE`: classic (the subnet's mask, the default) or host (a /32 and routes)")
	flags.Var(secondsFlag{&d.DHCP.Lease}, "lease", "`DURATION` of leases, 60s to 720h (default 1h)")
	flags.StringArrayVar(&f.options, "dhcp-option", nil, "`CODE=HEX`, a further DHCPv4 option (repeat for more)")
	flags.StringVar(&f.ipv6, "ipv6", "", "`STYLE`: slaac (a /64 for each guest, the default), shared (a subnet that all share) or dhcp (an address by DHCPv6)")
	f.advertisements(c, &d.IPv6)
	return required(c, "vrf", "subnet")
}

// advertisements adds the flags about router advertisements.
func (f *networkFlags) advertisements(c *cobra.Command, ra *events.IPv6) {
	flags := c.Flags()
	flags.StringVar(&f.preference, "ra-preference", "", "`PREFERENCE` of the gateway among IPv6 routers: low, medium (the default) or high")
	flags.Var(secondsFlag{&ra.Lifetime}, "ra-lifetime", "`DURATION` for which guests keep it as their IPv6 default router, up to 65535s (default 30m); they have none where --route is given without ::/0")
	flags.Var(secondsFlag{&ra.Interval}, "ra-interval", "longest `DURATION` between two router advertisements, 4s to 30m (default 10m)")
	given(c, &ra.OnLink, "ra-on-link", "`true|false`: guests ask for each other on the link (default: in the style shared)")
	given(c, &ra.Autonomous, "ra-autonomous", "`true|false`: guests form addresses in a /64 of their own (default: in the style slaac)")
	given(c, &ra.Managed, "ra-managed", "`true|false`: guests ask DHCPv6 for addresses (default: in the styles shared and dhcp, and with a single address)")
	given(c, &ra.Other, "ra-other", "`true|false`: guests ask DHCPv6 for DNS and the like (default: true)")
}

// answerFlag is a flag that is true, false or not given, which is a third thing.
type answerFlag struct{ to **bool }

func given(c *cobra.Command, to **bool, name, usage string) {
	c.Flags().Var(answerFlag{to}, name, usage)
}

func (f answerFlag) Set(s string) error {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return errors.New("must be true or false")
	}
	*f.to = &b
	return nil
}

// Type is what help would call the value; all usages name it.
func (f answerFlag) Type() string { return "answer" }

func (f answerFlag) String() string {
	if f.to == nil || *f.to == nil {
		return ""
	}
	return strconv.FormatBool(**f.to)
}

// secondsFlag is a time span, which events have in whole seconds. None stands
// for the default there, so that 0 would say something else than it seems to.
type secondsFlag struct{ to *int }

func (f secondsFlag) Set(s string) error {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return errors.New("write it with its unit, like 90s, 30m or 2h")
	case d <= 0:
		return errors.New("must be longer than 0s; left out, it is the default")
	case d%time.Second != 0:
		return errors.New("must be whole seconds")
	}
	*f.to = int(d / time.Second)
	return nil
}

// Type is what help would call the value; all usages name it.
func (f secondsFlag) Type() string { return "duration" }

func (f secondsFlag) String() string {
	if f.to == nil || *f.to == 0 {
		return ""
	}
	return inUnits(*f.to)
}

// bytesFlag is a number of bytes; none stands for nothing said.
type bytesFlag struct{ to *int }

func (f bytesFlag) Set(s string) error {
	n, err := strconv.Atoi(s)
	switch {
	case err != nil:
		return errors.New("must be a number of bytes, like 1500")
	case n == 0:
		return errors.New("must be more than 0; left out, guests are told none")
	}
	*f.to = n
	return nil
}

// Type is what help would call the value; all usages name it.
func (f bytesFlag) Type() string { return "bytes" }

func (f bytesFlag) String() string {
	if f.to == nil {
		return ""
	}
	return orNothing(*f.to)
}

// fill reads what needs reading. Whether it makes sense is for events to say.
func (f *networkFlags) fill(d *events.NetworkDefined) error {
	for _, s := range f.subnets {
		subnet, err := parseSubnet(s)
		if err != nil {
			return err
		}
		d.Subnets = append(d.Subnets, subnet)
	}
	for _, s := range f.options {
		code, value, ok := strings.Cut(s, "=")
		n, err := strconv.Atoi(code)
		if !ok || err != nil {
			return fmt.Errorf("--dhcp-option %q: write it as CODE=HEX, like 252=687474703a2f2f", s)
		}
		d.DHCP.Options = append(d.DHCP.Options, events.DHCPOption{Code: n, Hex: value})
	}
	for _, s := range f.routes {
		d.Routes = append(d.Routes, prefix(s))
	}
	d.Gateways, d.DNS, d.NTP = addrs(f.gateways), addrs(f.dns), addrs(f.ntp)
	d.DHCP.Style, d.IPv6.Style = events.DHCPStyle(f.dhcp), events.IPv6Style(f.ipv6)
	d.IPv6.Preference = events.RAPreference(f.preference)
	return nil
}

func parseSubnet(s string) (events.Subnet, error) {
	text, option, more := strings.Cut(s, ",")
	subnet := events.Subnet{Prefix: prefix(text)}
	if !more {
		return subnet, nil
	}
	length, ok := strings.CutPrefix(option, "allocation=")
	n, err := strconv.Atoi(strings.TrimPrefix(length, "/"))
	if !ok || err != nil {
		return subnet, fmt.Errorf("--subnet %q: write it as PREFIX or PREFIX,allocation=N, like 2001:db8::/56,allocation=64", s)
	}
	subnet.Allocation = n
	return subnet, nil
}

func (a *app) networkRemove() *cobra.Command {
	return a.command("remove NAME", "Remove a network that no guest uses", "hostroute network remove web",
		func(ctx context.Context, args []string) error {
			return a.publish(ctx, &events.NetworkRemoved{Network: args[0]})
		})
}

// prefix reads a prefix or a bare address; what it isn't is kept for
// validation to report.
func prefix(s string) events.Prefix {
	var p events.Prefix
	_ = p.UnmarshalText([]byte(s)) // takes any text
	return p
}

func addrs(texts []string) []events.Addr {
	list := make([]events.Addr, len(texts))
	for i, s := range texts {
		_ = list[i].UnmarshalText([]byte(s)) // takes any text
	}
	return list
}
