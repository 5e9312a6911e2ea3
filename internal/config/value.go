package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostroute/hostroute/events"
)

// checker turns values into what they mean and notes those that mean nothing.
type checker struct {
	errs []*Error
	torn bool // the sections that others refer to are wrong themselves
}

func (c *checker) bad(v value, format string, args ...any) {
	c.note(&Error{Line: v.line, Key: v.key, Value: v.text, Reason: fmt.Sprintf(format, args...)})
}

// note keeps the first error of a key; what follows from it isn't news.
func (c *checker) note(e *Error) {
	if !slices.ContainsFunc(c.errs, func(old *Error) bool { return old.Key == e.Key }) {
		c.errs = append(c.errs, e)
	}
}

// refuse notes a value that is out of its range.
func (c *checker) refuse(v value) { c.bad(v, "must be %s", v.allowed) }

// given notes a required value that is missing.
func (c *checker) given(v value) bool {
	if v.text == "" {
		c.bad(v, "missing; must be %s", v.allowed)
	}
	return v.text != ""
}

// bounds reads the low and the high end of "LOW to HIGH".
func (v value) bounds() (low, high string) {
	words := strings.Fields(strings.ReplaceAll(v.allowed, ",", " "))
	return words[0], words[2]
}

func (c *checker) name(v value) string {
	if c.given(v) && events.CheckName(v.key, v.text) != nil {
		c.refuse(v)
	}
	return v.text
}

// device wants what the kernel takes as an interface name (dev_valid_name).
func (c *checker) device(v value) string {
	if !c.given(v) {
		return ""
	}
	if !isDevice(v.text) {
		c.bad(v, "must be %s: 1 to 15 printable ASCII characters without '/', ':', quotes and spaces", v.allowed)
	}
	return v.text
}

func isDevice(name string) bool {
	odd := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`/:"\`, r) }
	reserved := []string{".", "..", "all", "default"}
	return len(name) <= 15 && !strings.ContainsFunc(name, odd) && !slices.Contains(reserved, name)
}

func (c *checker) path(v value) string {
	if c.given(v) && !filepath.IsAbs(v.text) {
		c.refuse(v)
	}
	return filepath.Clean(v.text)
}

// socket wants the path of a unix socket, which sun_path of unix(7) has room for.
func (c *checker) socket(v value) string {
	path := c.path(v)
	if len(path) > 107 {
		c.refuse(v)
	}
	return path
}

// number wants an integer of the range, without the numbers listed.
func (c *checker) number(v value, without ...uint32) uint32 {
	if !c.given(v) {
		return 0
	}
	lowText, highText := v.bounds()
	low, _ := strconv.ParseUint(lowText, 10, 32)
	high, _ := strconv.ParseUint(highText, 10, 32)
	n, err := strconv.ParseUint(v.text, 10, 32)
	if err != nil || n < low || n > high || slices.Contains(without, uint32(n)) {
		c.refuse(v)
		return 0
	}
	return uint32(n)
}

func (c *checker) asn(v value) uint32 { return c.number(v, 23456, 65535) } // RFC 6793, RFC 7300

func (c *checker) duration(v value) time.Duration {
	lowText, highText := v.bounds()
	low, _ := time.ParseDuration(lowText)
	high, _ := time.ParseDuration(highText)
	d, err := time.ParseDuration(v.text)
	switch {
	case err != nil:
		c.bad(v, "must be %s, written with its unit like %s", v.allowed, lowText)
	case d < low || d > high || strings.Contains(v.allowed, "whole") && d%time.Second != 0:
		c.refuse(v)
	}
	return d
}

// loss wants a share of packets that can be told from none, or 0.
func (c *checker) loss(v value) Percent {
	digits, percent := strings.CutSuffix(v.text, "%")
	n, err := strconv.ParseUint(digits, 10, 8)
	if !percent || err != nil || n != 0 && (n < 5 || n > 90) {
		c.refuse(v)
	}
	return Percent(n)
}

func (c *checker) boolean(v value) bool {
	if v.text != "true" && v.text != "false" {
		c.refuse(v)
	}
	return v.text == "true"
}

// address wants an address that a host on a network can have.
func (c *checker) address(v value) netip.Addr {
	if !c.given(v) {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(v.text)
	if err != nil || !usable(a) {
		c.refuse(v)
		return netip.Addr{}
	}
	return a
}

func usable(a netip.Addr) bool {
	return a.IsGlobalUnicast() && a.Zone() == "" && !a.Is4In6()
}

// uplinkAddress wants the address of a host with the length of its subnet.
func (c *checker) uplinkAddress(v value) netip.Prefix {
	p, err := netip.ParsePrefix(v.text)
	switch {
	case err != nil || !usable(p.Addr()) || p.Bits() == 0:
		c.bad(v, "must be %s, like 100.64.0.11/24 or 2001:db8:a::11/64", v.allowed)
		return netip.Prefix{}
	case p.Masked() == p && p.Bits() < p.Addr().BitLen()-1:
		c.bad(v, "the address of the subnet itself; must be %s", v.allowed)
		return netip.Prefix{}
	}
	return p
}

func (c *checker) servers(v value) string {
	if !ValidServers(v.text) {
		c.refuse(v)
	}
	return v.text
}

// ValidServers tells whether a text is what log.url may be: NATS servers, with
// commas between.
func ValidServers(text string) bool {
	for s := range strings.SplitSeq(text, ",") {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil || u.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return false
		}
	}
	return true
}

func (c *checker) listen(v value) netip.AddrPort {
	if v.text == "" {
		return netip.AddrPort{}
	}
	a, err := netip.ParseAddrPort(v.text)
	if err != nil || a.Port() == 0 {
		c.refuse(v)
	}
	return a
}
