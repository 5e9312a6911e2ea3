package config

import (
	"net/netip"
	"strings"
)

func (c *checker) guests(raw *rawGuests, cfg *Config) Guests {
	g := Guests{Taps: []string{}, Interconnects: []netip.Prefix{}} // an empty list is none
	for _, v := range raw.Taps {
		g.Taps = append(g.Taps, c.pattern(v, cfg))
	}
	for _, v := range raw.Interconnects {
		g.Interconnects = append(g.Interconnects, c.prefix(v))
	}
	return g
}

// pattern wants the name of an interface, or the beginning of one with a *.
// One that takes a port of this host for a guest's would cut the host off.
func (c *checker) pattern(v value, cfg *Config) string {
	start, open := strings.CutSuffix(v.text, "*")
	if start == "" || !isDevice(start) || strings.Contains(start, "*") {
		c.refuse(v)
		return v.text
	}
	matches := func(name string) bool { return name == start || open && strings.HasPrefix(name, start) }
	for _, u := range cfg.Uplinks {
		if matches(u.Interface) {
			c.bad(v, "takes uplink %q for a guest's interface", u.Interface)
		}
	}
	for _, known := range cfg.VRFs {
		if matches(known.Name) {
			c.bad(v, "takes VRF %q for a guest's interface", known.Name)
		}
	}
	if matches("lo") {
		c.bad(v, "takes lo for a guest's interface")
	}
	return v.text
}

// prefix wants a prefix that is less than everything.
func (c *checker) prefix(v value) netip.Prefix {
	p, err := netip.ParsePrefix(v.text)
	switch {
	case err != nil || p.Bits() == 0 || p.Addr().Is4In6():
		c.refuse(v)
	case p.Masked() != p:
		c.bad(v, "host bits are set; the prefix is %s", p.Masked())
	}
	return p
}
