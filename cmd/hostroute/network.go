package main

import (
	"context"
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
	subnets, gateways, dns, ntp, options []string
	dhcp, ipv6                           string
	lease                                time.Duration
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
	flags := c.Flags()
	flags.StringVar(&d.VRF, "vrf", "", "the `VRF` of the network, for good")
	flags.StringArrayVar(&f.subnets, "subnet", nil, "`PREFIX`, or PREFIX,allocation=N where one claim is a whole /N (repeat for more)")
	flags.StringArrayVar(&f.gateways, "gateway", nil, "`ADDRESS` of the gateway that guests see (repeat for more)")
	flags.StringArrayVar(&f.dns, "dns", nil, "`ADDRESS` of a DNS server (repeat for more)")
	flags.StringArrayVar(&f.ntp, "ntp", nil, "`ADDRESS` of an NTP server (repeat for more)")
	flags.StringVar(&d.Domain, "domain", "", "domain `NAME` of the guests")
	flags.StringArrayVar(&d.Search, "search", nil, "search domain `NAME` (repeat for more)")
	flags.IntVar(&d.MTU, "mtu", 0, "MTU in `BYTES` that guests are told, 576 to 65535")
	flags.StringVar(&f.dhcp, "dhcp", "", "`STYLE`: classic (the subnet's mask, the default) or host (a /32 and routes)")
	flags.DurationVar(&f.lease, "lease", 0, "`DURATION` of DHCP leases, 60s to 720h")
	flags.StringArrayVar(&f.options, "dhcp-option", nil, "`CODE=HEX`, a further DHCPv4 option (repeat for more)")
	flags.StringVar(&f.ipv6, "ipv6", "", "`STYLE`: slaac (a /64 for each guest, the default), shared or dhcp")
	return required(c, "vrf", "subnet")
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
	if f.lease%time.Second != 0 {
		return fmt.Errorf("--lease %s: must be whole seconds", f.lease)
	}
	d.Gateways, d.DNS, d.NTP = addrs(f.gateways), addrs(f.dns), addrs(f.ntp)
	d.DHCP.Style, d.DHCP.Lease = events.DHCPStyle(f.dhcp), int(f.lease/time.Second)
	d.IPv6 = events.IPv6Style(f.ipv6)
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
