package events

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of what an event may carry, so that one command always fits into one
// atomic batch of the log.
const (
	MaxInterfaces = 32
	MaxSubnets    = 64
	maxText       = 255
	maxSearch     = 32
)

func first(errs ...*Error) *Error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkText(field, s string) *Error {
	if len(s) > maxText {
		return invalid(field, s[:16]+"…", "%d bytes long; at most %d", len(s), maxText)
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }); i >= 0 {
		return invalid(field, s, "control characters or invalid UTF-8")
	}
	return nil
}

func checkOneOf[T ~string](field string, v T, allowed ...T) *Error {
	if v == "" {
		return nil
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		if v == a {
			return nil
		}
		names[i] = string(a)
	}
	return invalid(field, string(v), "must be one of %s", strings.Join(names, ", "))
}

func checkRange(field string, v, low, high int) *Error {
	if v != 0 && (v < low || v > high) {
		return invalid(field, strconv.Itoa(v), "must be %d to %d", low, high)
	}
	return nil
}

func checkAddrs(field string, addrs []Addr) *Error {
	if len(addrs) > 16 {
		return invalid(field, strconv.Itoa(len(addrs)), "too many; at most 16")
	}
	for i, a := range addrs {
		if err := a.check(fmt.Sprintf("%s[%d]", field, i)); err != nil {
			return err
		}
	}
	return nil
}

func (d *NetworkDefined) check() *Error {
	if err := first(
		checkName("network", d.Network),
		checkName("vrf", d.VRF),
		d.checkSubnets(),
		d.checkGateways(),
		checkAddrs("dns", d.DNS),
		checkAddrs("ntp", d.NTP),
		checkText("domain", d.Domain),
		checkRange("mtu", d.MTU, 576, 65535),
		d.DHCP.check(),
		checkOneOf("ipv6", d.IPv6, IPv6SLAAC, IPv6Shared, IPv6DHCP),
	); err != nil {
		return err
	}
	if n := len(d.Search); n > maxSearch {
		return invalid("search", strconv.Itoa(n), "too many; at most %d", maxSearch)
	}
	for i, s := range d.Search {
		if err := checkText(fmt.Sprintf("search[%d]", i), s); err != nil {
			return err
		}
	}
	return nil
}

func (d *NetworkDefined) checkSubnets() *Error {
	if n := len(d.Subnets); n == 0 || n > MaxSubnets {
		return invalid("subnets", strconv.Itoa(n), "a network has 1 to %d subnets", MaxSubnets)
	}
	for i, s := range d.Subnets {
		field := fmt.Sprintf("subnets[%d].prefix", i)
		if err := s.Prefix.check(field); err != nil {
			return err
		}
		if a := s.Length(); a < s.Prefix.Bits() || a > s.Prefix.Addr().BitLen() {
			return invalid(fmt.Sprintf("subnets[%d].allocation", i), strconv.Itoa(a),
				"must be %d to %d in %s", s.Prefix.Bits(), s.Prefix.Addr().BitLen(), s.Prefix)
		}
		for _, other := range d.Subnets[:i] {
			if other.Prefix.Overlaps(s.Prefix.Prefix) {
				return invalid(field, s.Prefix.String(), "overlaps %s of the same network", other.Prefix)
			}
		}
	}
	return nil
}

// checkGateways wants each gateway inside a subnet, or link-local, as in the
// host style of DHCP and in router advertisements.
func (d *NetworkDefined) checkGateways() *Error {
	if err := checkAddrs("gateways", d.Gateways); err != nil {
		return err
	}
	for i, g := range d.Gateways {
		inside := g.IsLinkLocalUnicast()
		for _, s := range d.Subnets {
			inside = inside || s.Prefix.Contains(g.Addr)
		}
		if !inside {
			return invalid(fmt.Sprintf("gateways[%d]", i), g.String(), "in no subnet of the network and not link-local")
		}
	}
	return nil
}

func (d DHCP) check() *Error {
	if err := first(
		checkOneOf("dhcp.style", d.Style, DHCPClassic, DHCPHost),
		checkRange("dhcp.lease", d.Lease, 60, 30*86400),
	); err != nil {
		return err
	}
	seen := map[int]bool{}
	for i, o := range d.Options {
		field := fmt.Sprintf("dhcp.options[%d]", i)
		switch {
		case o.Code < 1 || o.Code > 254:
			return invalid(field+".code", strconv.Itoa(o.Code), "must be 1 to 254")
		case seen[o.Code]:
			return invalid(field+".code", strconv.Itoa(o.Code), "given twice")
		}
		seen[o.Code] = true
		if v, err := hex.DecodeString(o.Hex); err != nil || len(v) == 0 || len(v) > 255 {
			return invalid(field+".hex", o.Hex, "must be 1 to 255 bytes in hexadecimal")
		}
	}
	return nil
}

func (d *NetworkRemoved) check() *Error       { return checkName("network", d.Network) }
func (d *HypervisorRegistered) check() *Error { return checkName("hypervisor", d.Hypervisor) }
func (d *HypervisorUndrained) check() *Error  { return checkName("hypervisor", d.Hypervisor) }
func (d *HypervisorUnfenced) check() *Error   { return checkName("hypervisor", d.Hypervisor) }
func (d *VMDeleted) check() *Error            { return checkName("vm", d.VM) }
func (d *VMMigrationAborted) check() *Error   { return checkName("vm", d.VM) }

func (d *HypervisorDrained) check() *Error {
	return first(checkName("hypervisor", d.Hypervisor), checkText("reason", d.Reason))
}

func (d *HypervisorFenced) check() *Error {
	return first(checkName("hypervisor", d.Hypervisor), checkText("reason", d.Reason))
}

func (d *VMCreated) check() *Error {
	if err := first(checkName("vm", d.VM), checkName("hypervisor", d.Hypervisor)); err != nil {
		return err
	}
	if n := len(d.Interfaces); n == 0 || n > MaxInterfaces {
		return invalid("interfaces", strconv.Itoa(n), "a guest has 1 to %d interfaces", MaxInterfaces)
	}
	for i, f := range d.Interfaces {
		at := fmt.Sprintf("interfaces[%d].", i)
		if err := first(checkTap(at+"tap", f.Tap), f.MAC.check(at+"mac"), checkName(at+"network", f.Network)); err != nil {
			return err
		}
		for _, other := range d.Interfaces[:i] {
			if other.Tap == f.Tap {
				return invalid(at+"tap", f.Tap, "used by two interfaces of the guest")
			}
		}
	}
	return nil
}

func checkMove(vm, to string, taps []string) *Error {
	if err := first(checkName("vm", vm), checkName("to", to)); err != nil {
		return err
	}
	if len(taps) > MaxInterfaces {
		return invalid("taps", strconv.Itoa(len(taps)), "a guest has at most %d interfaces", MaxInterfaces)
	}
	for i, t := range taps {
		field := fmt.Sprintf("taps[%d]", i)
		if err := checkTap(field, t); err != nil {
			return err
		}
		for _, other := range taps[:i] {
			if other == t {
				return invalid(field, t, "named twice")
			}
		}
	}
	return nil
}

func (d *VMMigrationStarted) check() *Error { return checkMove(d.VM, d.To, d.Taps) }
func (d *VMMigrated) check() *Error         { return checkMove(d.VM, d.To, d.Taps) }

func (d *IPAssigned) check() *Error {
	return first(d.Prefix.check("prefix"), checkName("vm", d.VM), checkOptionalTap(d.Interface), checkOptionalName("vrf", d.VRF),
		checkOneOf("role", d.Role, RolePrimary, RoleSecondary, RoleElastic, RoleAnycast, RoleRouted))
}

func (d *IPMoved) check() *Error {
	return first(d.Prefix.check("prefix"), checkName("to", d.To), checkOptionalTap(d.Interface), checkOptionalName("vrf", d.VRF))
}

func (d *IPReleased) check() *Error {
	return first(d.Prefix.check("prefix"), checkOptionalName("vm", d.VM), checkOptionalName("vrf", d.VRF))
}

func checkOptionalName(field, s string) *Error {
	if s == "" {
		return nil
	}
	return checkName(field, s)
}

func checkOptionalTap(s string) *Error {
	if s == "" {
		return nil
	}
	return checkTap("interface", s)
}
