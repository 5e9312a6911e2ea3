package main

import (
	"fmt"
	"strings"

	"github.com/hostroute/hostroute/events"
)

// sentence says in words what happened.
func sentence(data events.Data) string {
	switch d := data.(type) {
	case *events.NetworkDefined:
		return fmt.Sprintf("network %s defined in VRF %s with %s%s", d.Network, d.VRF, subnets(d.Subnets), settings(d))
	case *events.NetworkRemoved:
		return fmt.Sprintf("network %s removed", d.Network)
	case *events.HypervisorRegistered:
		return fmt.Sprintf("hypervisor %s registered", d.Hypervisor)
	case *events.HypervisorDrained:
		return fmt.Sprintf("hypervisor %s drained%s", d.Hypervisor, because(d.Reason))
	case *events.HypervisorUndrained:
		return fmt.Sprintf("hypervisor %s no longer drained", d.Hypervisor)
	case *events.HypervisorFenced:
		return fmt.Sprintf("hypervisor %s fenced%s", d.Hypervisor, because(d.Reason))
	case *events.HypervisorUnfenced:
		return fmt.Sprintf("hypervisor %s no longer fenced", d.Hypervisor)
	case *events.VMCreated:
		return fmt.Sprintf("guest %s created on %s with %s%s", d.VM, d.Hypervisor, interfaces(d.Interfaces), called(d.Hostname))
	case *events.VMDeleted:
		return fmt.Sprintf("guest %s deleted", d.VM)
	case *events.VMMigrationStarted:
		return fmt.Sprintf("guest %s being prepared on %s%s", d.VM, d.To, onTaps(d.Taps))
	case *events.VMMigrated:
		return fmt.Sprintf("guest %s moved to %s%s", d.VM, d.To, onTaps(d.Taps))
	case *events.VMMigrationAborted:
		return fmt.Sprintf("migration of guest %s aborted", d.VM)
	case *events.IPAssigned:
		return fmt.Sprintf("%s assigned to %s%s", claim(d.Prefix), d.VM, detail(string(roleOf(d)), d.Interface, d.VRF))
	case *events.IPMoved:
		return fmt.Sprintf("%s moved to %s%s", claim(d.Prefix), d.To, detail("", d.Interface, d.VRF))
	case *events.IPReleased:
		return fmt.Sprintf("%s released%s%s", claim(d.Prefix), from(d.VM), detail("", "", d.VRF))
	}
	return string(data.Type())
}

func claim(p events.Prefix) string {
	if p.IsHost() {
		return "address " + p.String()
	}
	return "prefix " + p.String()
}

func subnets(list []events.Subnet) string {
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = s.Prefix.String()
		if s.Length() != s.Prefix.Addr().BitLen() {
			texts[i] += fmt.Sprintf(" (in /%d)", s.Length())
		}
	}
	return strings.Join(texts, ", ")
}

// settings words what a network has beyond its subnets, so that two definitions
// of one that differ don't read alike.
func settings(d *events.NetworkDefined) string {
	text := ""
	for _, s := range []struct{ what, value string }{
		{"gateways ", joined(d.Gateways)}, {"mtu ", orNothing(d.MTU)}, {"dhcp ", string(d.DHCP.Style)}, {"ipv6 ", string(d.IPv6.Style)}, {"", toldToAll(d)},
	} {
		if s.value != "" {
			text += "; " + s.what + s.value
		}
	}
	return text
}

func called(hostname string) string {
	if hostname == "" {
		return ""
	}
	return ", called " + hostname
}

func interfaces(list []events.Interface) string {
	texts := make([]string, len(list))
	for i, f := range list {
		texts[i] = fmt.Sprintf("%s in %s (%s)", f.Tap, f.Network, f.MAC)
	}
	return strings.Join(texts, ", ")
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

func onTaps(taps []string) string {
	if len(taps) == 0 {
		return ""
	}
	return " on " + strings.Join(taps, ", ")
}

func from(vm string) string {
	if vm == "" {
		return ""
	}
	return " from " + vm
}

func roleOf(d *events.IPAssigned) events.Role {
	if d.Role == events.RolePrimary {
		return ""
	}
	return d.Role
}

// detail puts what may be left out into brackets.
func detail(role, tap, vrf string) string {
	var parts []string
	if role != "" {
		parts = append(parts, role)
	}
	if tap != "" {
		parts = append(parts, "on "+tap)
	}
	if vrf != "" {
		parts = append(parts, "VRF "+vrf)
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
