package vrf

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Validate finds what no kernel could do, or what would be another thing than
// it seems: an interface named "all" would set the sysctls of every interface.
func (h Host) Validate() error {
	var errs []error
	vrfs, tables := map[string]bool{}, map[uint32]string{}
	for _, v := range h.VRFs {
		errs = append(errs, validName("VRF", v.Name))
		if v.Table == 0 || v.Table >= 253 && v.Table <= 255 {
			errs = append(errs, fmt.Errorf("VRF %s: table %d is the kernel's: use 1-252 or above 255", v.Name, v.Table))
		}
		if other, taken := tables[v.Table]; taken {
			errs = append(errs, fmt.Errorf("VRF %s: table %d is that of VRF %s: each needs its own", v.Name, v.Table, other))
		}
		vrfs[v.Name], tables[v.Table] = true, v.Name
	}
	for _, u := range h.Uplinks {
		errs = append(errs, validName("uplink", u.Name), knownVRF(vrfs, "uplink "+u.Name, u.VRF))
		for _, a := range u.Addresses {
			if !a.IsValid() || a.Addr().Is4In6() {
				errs = append(errs, fmt.Errorf("uplink %s: %s is not an address with a prefix length", u.Name, a))
			}
		}
	}
	for _, p := range h.TapPatterns {
		errs = append(errs, validPattern(p))
	}
	for _, i := range h.Interconnects {
		if !i.IsValid() || i.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("interconnect %s is not a prefix", i))
		}
	}
	for _, b := range h.Blackholes {
		errs = append(errs, knownVRF(vrfs, "blackhole "+b.Prefix.String(), b.VRF))
		if !b.Prefix.IsValid() || b.Prefix != b.Prefix.Masked() || b.Prefix.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("blackhole %s is not a prefix without host bits", b.Prefix))
		}
	}
	for _, t := range h.Taps {
		errs = append(errs, validName("tap", t.Name), knownVRF(vrfs, "tap "+t.Name, t.VRF), t.validate())
	}
	return errors.Join(errs...)
}

func (t Tap) validate() error {
	var errs []error
	for _, s := range t.Sources {
		if !s.IsValid() || s != s.Masked() || s.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("tap %s: source %s is not a prefix without host bits", t.Name, s))
		}
	}
	for _, g := range t.Gateways {
		if !g.IsValid() || g.Is4In6() || g.Zone() != "" {
			errs = append(errs, fmt.Errorf("tap %s: gateway %s is not an address", t.Name, g))
		}
	}
	for _, r := range t.Routes {
		if !r.Prefix.IsValid() || r.Prefix != r.Prefix.Masked() || r.Prefix.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("tap %s: route %s is not a prefix without host bits", t.Name, r.Prefix))
		}
		if r.Via.Is4() && r.Prefix.Addr().Is6() {
			errs = append(errs, fmt.Errorf("tap %s: route %s via %s: %w", t.Name, r.Prefix, r.Via, ErrFamily))
		}
	}
	for _, n := range t.Neighbours {
		if !n.Address.IsValid() || n.Address == (netip.Addr{}) || n.MAC == ([6]byte{}) {
			errs = append(errs, fmt.Errorf("tap %s: neighbour %s needs an address and a MAC", t.Name, n.Address))
		}
	}
	return errors.Join(errs...)
}

func validName(kind, name string) error {
	switch {
	case name == "" || len(name) > 15 || strings.ContainsAny(name, "/ \t\n:*") || name == "." || name == "..":
		return fmt.Errorf("%s %q: not an interface name: 1-15 characters, no slash, colon or space", kind, name)
	case name == "all" || name == "default" || name == "lo":
		return fmt.Errorf("%s %q: the kernel uses that name for something else", kind, name)
	}
	return nil
}

// validPattern: a name of an interface, or the beginning of one and a star.
func validPattern(pattern string) error {
	stem, open := strings.CutSuffix(pattern, "*")
	if open && stem == "" {
		return fmt.Errorf("tap pattern %q: it matches every interface of the host: name at least the first letter", pattern)
	}
	if strings.ContainsAny(stem, "/ \t\n:*") || stem == "" || len(stem) > 15 {
		return fmt.Errorf("tap pattern %q: not the beginning of an interface name and a star", pattern)
	}
	return nil
}

func knownVRF(vrfs map[string]bool, who, vrf string) error {
	if !vrfs[vrf] {
		return fmt.Errorf("%s: VRF %q is not defined", who, vrf)
	}
	return nil
}
