package projector

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/events"
)

func (t *transaction) networkDefined(d *events.NetworkDefined) error {
	subject, vrfSubject := events.SubjectNet(d.Network), events.SubjectVRF(d.VRF)
	if err := t.need(subject, vrfSubject); err != nil {
		return err
	}
	if old := get[*Network](t, subject); old != nil {
		if err := compatible(&old.NetworkDefined, d); err != nil {
			return err
		}
		if err := t.gatewaysFree(old, d); err != nil {
			return err
		}
	}
	vrf := &VRF{Networks: map[string][]netip.Prefix{}}
	if old := get[*VRF](t, vrfSubject); old != nil {
		maps.Copy(vrf.Networks, old.Networks)
	}
	delete(vrf.Networks, d.Network)
	var subnets []netip.Prefix
	for i, s := range d.Subnets {
		if name, p, ok := vrf.overlap(s.Prefix.Prefix); ok {
			return &events.Error{
				Code: events.CodeTaken, Field: fmt.Sprintf("subnets[%d].prefix", i), Value: s.Prefix.String(),
				Reason: fmt.Sprintf("overlaps %s of network %q in VRF %q", p, name, d.VRF),
			}
		}
		subnets = append(subnets, s.Prefix.Prefix)
	}
	vrf.Networks[d.Network] = subnets
	t.put(subject, &Network{NetworkDefined: *d})
	t.put(vrfSubject, vrf)
	t.netTick = true
	return nil
}

// overlap finds the network of a VRF that shares addresses with p; the first
// by name, so that the answer is always the same.
func (v *VRF) overlap(p netip.Prefix) (string, netip.Prefix, bool) {
	for _, name := range slices.Sorted(maps.Keys(v.Networks)) {
		for _, s := range v.Networks[name] {
			if s.Overlaps(p) {
				return name, s, true
			}
		}
	}
	return "", netip.Prefix{}, false
}

// compatible keeps a new definition from taking away what guests may use.
func compatible(old, d *events.NetworkDefined) error {
	if old.VRF != d.VRF {
		return &events.Error{Code: events.CodeRefused, Field: "vrf", Value: d.VRF,
			Reason: fmt.Sprintf("network %q is in VRF %q for good; define another network", d.Network, old.VRF)}
	}
	for _, s := range old.Subnets {
		if !slices.ContainsFunc(d.Subnets, func(n events.Subnet) bool {
			return n.Prefix == s.Prefix && n.Length() == s.Length()
		}) {
			return &events.Error{Code: events.CodeRefused, Field: "subnets", Value: s.Prefix.String(),
				Reason: fmt.Sprintf("network %q has it with allocation length %d; subnets may be added, not dropped or altered", d.Network, s.Length())}
		}
	}
	return nil
}

// gatewaysFree keeps a new gateway out of what a guest holds already: on the
// taps of a hypervisor it would take the guest's traffic. In subnets that the
// network didn't have there are no guests yet.
func (t *transaction) gatewaysFree(old *Network, d *events.NetworkDefined) error {
	claims := make([]string, len(d.Gateways)) // the claim that would hold the gateway
	var needs []string
	for i, g := range d.Gateways {
		s, ok := old.Subnet(netip.PrefixFrom(g.Addr, g.BitLen()))
		if !ok || slices.Contains(old.Gateways, g) {
			continue
		}
		p, err := g.Prefix(s.Length())
		if err != nil {
			return err
		}
		claims[i] = events.SubjectIP(d.VRF, p)
		needs = append(needs, claims[i])
	}
	if err := t.need(needs...); err != nil {
		return err
	}
	for i, subject := range claims {
		if c := get[*Claim](t, subject); c != nil {
			return &events.Error{Code: events.CodeTaken, Field: fmt.Sprintf("gateways[%d]", i), Value: d.Gateways[i].String(),
				Reason: fmt.Sprintf("guest %q holds it since sequence %d; release it first", c.Owners[0].VM, c.Owners[0].Since)}
		}
	}
	return nil
}

func (t *transaction) networkRemoved(d *events.NetworkRemoved) error {
	subject := events.SubjectNet(d.Network)
	if err := t.need(subject); err != nil {
		return err
	}
	network := get[*Network](t, subject)
	if network == nil {
		return unknownNetwork("network", d.Network)
	}
	vrfSubject := events.SubjectVRF(network.VRF)
	if err := t.need(vrfSubject, "hr.vm.*"); err != nil {
		return err
	}
	for _, g := range t.state.Guests() {
		if slices.ContainsFunc(g.Interfaces, func(f Interface) bool { return f.Network == d.Network }) {
			return &events.Error{Code: events.CodeRefused, Field: "network", Value: d.Network,
				Reason: fmt.Sprintf("guest %q has an interface in it; delete the guest first", g.VM)}
		}
	}
	vrf := &VRF{Networks: map[string][]netip.Prefix{}}
	if old := get[*VRF](t, vrfSubject); old != nil {
		maps.Copy(vrf.Networks, old.Networks)
	}
	delete(vrf.Networks, d.Network)
	t.end(subject, network)
	t.put(vrfSubject, vrf)
	t.netTick = true
	return nil
}

func unknownNetwork(field, name string) error {
	return &events.Error{Code: events.CodeUnknown, Field: field, Value: name,
		Reason: "no such network; define it first"}
}

// usable finds why a prefix can't be claimed in a network; nil: it can.
func (n *Network) usable(p netip.Prefix) error {
	bad := func(code events.Code, format string, args ...any) error {
		return &events.Error{Code: code, Field: "prefix", Value: p.String(), Reason: fmt.Sprintf(format, args...)}
	}
	s, ok := n.Subnet(p)
	if !ok {
		return bad(events.CodeInvalid, "network %q has %s only", n.Network, n.prefixes())
	}
	if p.Bits() != s.Length() {
		return bad(events.CodeInvalid, "a claim in %s of network %q is a /%d", s.Prefix, n.Network, s.Length())
	}
	for _, g := range n.Gateways {
		if p.Contains(g.Addr) {
			return bad(events.CodeTaken, "holds %s, a gateway of network %q", g, n.Network)
		}
	}
	if n.classicEdge(s, p) {
		return bad(events.CodeInvalid, "the first or last address of %s, which guests of a classic subnet can't use", s.Prefix)
	}
	return nil
}

// classicEdge tells whether p is the network or broadcast address of an IPv4
// subnet whose guests are told the subnet's mask.
func (n *Network) classicEdge(s events.Subnet, p netip.Prefix) bool {
	if !p.Addr().Is4() || !p.IsSingleIP() || s.Prefix.Bits() > 30 || n.DHCP.Style == events.DHCPHost {
		return false
	}
	return !s.Prefix.Contains(p.Addr().Prev()) || !s.Prefix.Contains(p.Addr().Next())
}

func (n *Network) prefixes() string {
	list := make([]string, len(n.Subnets))
	for i, s := range n.Subnets {
		list[i] = s.Prefix.String()
	}
	return strings.Join(list, ", ")
}
