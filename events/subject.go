package events

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The subjects of the log. Registers decide what is true, one literal subject
// per contested thing; feeds carry to a hypervisor exactly what concerns it.
const (
	SubjectAll     = "hr.>"
	SubjectFeeds   = "hr.feed.>"
	SubjectNetTick = "hr.net"

	prefixIP   = "hr.ip."
	prefixVM   = "hr.vm."
	prefixNet  = "hr.net."
	prefixVRF  = "hr.vrf."
	prefixHV   = "hr.hv."
	prefixFeed = "hr.feed."
)

// SubjectVM is the register of a guest.
func SubjectVM(vm string) string { return prefixVM + vm }

// SubjectNet is the register of a network.
func SubjectNet(network string) string { return prefixNet + network }

// SubjectVRF is the register of a VRF's networks.
func SubjectVRF(vrf string) string { return prefixVRF + vrf }

// SubjectHV is the register of a hypervisor.
func SubjectHV(hypervisor string) string { return prefixHV + hypervisor }

// SubjectIP is the register of the owners of a prefix in a VRF.
func SubjectIP(vrf string, p netip.Prefix) string { return prefixIP + vrf + "." + prefixToken(p) }

// SubjectFeed carries one guest to one hypervisor.
func SubjectFeed(hypervisor, vm string) string { return prefixFeed + hypervisor + "." + vm }

// SubjectTick is the tick of a hypervisor's feed.
func SubjectTick(hypervisor string) string { return prefixFeed + hypervisor }

// SubjectOf is the register that an event is about. An event about a prefix
// that doesn't name its VRF gives the pattern over all VRFs.
func SubjectOf(data Data) string {
	switch d := data.(type) {
	case *NetworkDefined:
		return SubjectNet(d.Network)
	case *NetworkRemoved:
		return SubjectNet(d.Network)
	case *HypervisorRegistered:
		return SubjectHV(d.Hypervisor)
	case *HypervisorDrained:
		return SubjectHV(d.Hypervisor)
	case *HypervisorUndrained:
		return SubjectHV(d.Hypervisor)
	case *HypervisorFenced:
		return SubjectHV(d.Hypervisor)
	case *HypervisorUnfenced:
		return SubjectHV(d.Hypervisor)
	case *VMCreated:
		return SubjectVM(d.VM)
	case *VMDeleted:
		return SubjectVM(d.VM)
	case *VMMigrationStarted:
		return SubjectVM(d.VM)
	case *VMMigrated:
		return SubjectVM(d.VM)
	case *VMMigrationAborted:
		return SubjectVM(d.VM)
	case *IPAssigned:
		return SubjectIP(cmp.Or(d.VRF, "*"), d.Prefix.Prefix)
	case *IPMoved:
		return SubjectIP(cmp.Or(d.VRF, "*"), d.Prefix.Prefix)
	case *IPReleased:
		return SubjectIP(cmp.Or(d.VRF, "*"), d.Prefix.Prefix)
	}
	return ""
}

// prefixToken writes a prefix as one subject token: 203-0-113-7 for IPv4, 32
// hexadecimal digits for IPv6, and "-LENGTH" behind it unless it is a host.
func prefixToken(p netip.Prefix) string {
	var s string
	if a := p.Addr(); a.Is4() {
		s = strings.ReplaceAll(a.String(), ".", "-")
	} else {
		b := a.As16()
		s = hex.EncodeToString(b[:])
	}
	if p.IsSingleIP() {
		return s
	}
	return s + "-" + strconv.Itoa(p.Bits())
}

// parsePrefixToken is the inverse of prefixToken.
func parsePrefixToken(s string) (netip.Prefix, error) {
	var text string
	if parts := strings.Split(s, "-"); len(parts) >= 4 {
		text = strings.Join(parts[:4], ".")
		if len(parts) == 5 {
			text += "/" + parts[4]
		}
	} else {
		b, err := hex.DecodeString(parts[0])
		if err != nil || len(b) != 16 {
			return netip.Prefix{}, fmt.Errorf("subject token %q is no prefix", s)
		}
		text = netip.AddrFrom16([16]byte(b)).String()
		if len(parts) == 2 {
			text += "/" + parts[1]
		}
	}
	p := decodePrefix(text)
	if p.raw != "" || prefixToken(p.Prefix) != s {
		return netip.Prefix{}, fmt.Errorf("subject token %q is no prefix", s)
	}
	return p.Prefix, nil
}

// Kind tells what a subject of the log is about.
type Kind string

// The kinds of subjects.
const (
	KindIP      Kind = "ip"
	KindVM      Kind = "vm"
	KindNet     Kind = "net"
	KindVRF     Kind = "vrf"
	KindHV      Kind = "hv"
	KindFeed    Kind = "feed"
	KindTick    Kind = "tick"
	KindNetTick Kind = "net-tick"
)

// Subject is a parsed subject. Name is what the register is about: the VRF of
// an IP register, the hypervisor of a feed or tick. VM is set for a feed,
// Prefix for an IP register.
type Subject struct {
	Kind   Kind
	Name   string
	VM     string
	Prefix netip.Prefix
}

// ParseSubject reads a subject of the log.
func ParseSubject(s string) (Subject, error) {
	token := strings.Split(s, ".")
	if token[0] != "hr" || len(token) < 2 || len(token) > 4 {
		return Subject{}, fmt.Errorf("%q is no subject of the log", s)
	}
	kind, rest := Kind(token[1]), token[2:]
	switch {
	case kind == KindNet && len(rest) == 0:
		return Subject{Kind: KindNetTick}, nil
	case kind == KindFeed && len(rest) == 1:
		return Subject{Kind: KindTick, Name: rest[0]}, nil
	case kind == KindFeed && len(rest) == 2:
		return Subject{Kind: KindFeed, Name: rest[0], VM: rest[1]}, nil
	case kind == KindIP && len(rest) == 2:
		p, err := parsePrefixToken(rest[1])
		return Subject{Kind: KindIP, Name: rest[0], Prefix: p}, err
	case (kind == KindVM || kind == KindNet || kind == KindVRF || kind == KindHV) && len(rest) == 1:
		return Subject{Kind: kind, Name: rest[0]}, nil
	}
	return Subject{}, fmt.Errorf("%q is no subject of the log", s)
}
