package events

import (
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
	maxRoutes     = 32
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
	if err := first(checkName("vm", d.VM), checkName("hypervisor", d.Hypervisor), checkHostname("hostname", d.Hostname)); err != nil {
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
