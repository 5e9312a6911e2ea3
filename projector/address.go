package projector

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/events"
)

func (t *transaction) ipAssigned(d *events.IPAssigned) error {
	g, err := t.guest("vm", d.VM, events.SubjectIP(d.VRF, d.Prefix.Prefix))
	if err != nil {
		return err
	}
	i, err := t.port(g, d.Interface, d.VRF, d.Prefix.Prefix)
	if err != nil {
		return err
	}
	role := d.Role
	if role == "" {
		role = events.RolePrimary
	}
	subject := events.SubjectIP(d.VRF, d.Prefix.Prefix)
	claim := get[*Claim](t, subject)
	if err := grantable(claim, d.Prefix, d.VM, role); err != nil {
		return err
	}
	owned := &Claim{}
	if claim != nil {
		owned.Owners = slices.Clone(claim.Owners)
	}
	owned.Owners = append(owned.Owners, Owner{VM: d.VM, Role: role})
	a := Address{Prefix: d.Prefix.Prefix, Role: role, Interface: i}
	if before := lookup[*Claim](t.state, subject); before != nil {
		a.Moves, owned.Moves = g.outmove(role, before.Moves)
	}
	t.put(subject, owned)
	return t.hold(g, a)
}

// hold gives a guest a prefix.
func (t *transaction) hold(g *Guest, a Address) error {
	if len(g.Addresses) >= MaxAddresses {
		return &events.Error{Code: events.CodeRefused, Field: "prefix", Value: a.Prefix.String(),
			Reason: fmt.Sprintf("guest %q holds %d prefixes, the most that a guest may hold", g.VM, MaxAddresses)}
	}
	changed := g.clone()
	changed.Addresses = append(changed.Addresses, a)
	slices.SortFunc(changed.Addresses, func(a, b Address) int {
		if a.Interface != b.Interface {
			return a.Interface - b.Interface
		}
		return a.Prefix.Compare(b.Prefix)
	})
	t.put(events.SubjectVM(g.VM), changed)
	return nil
}

// grantable finds why a prefix can't be given to a guest; nil: it can. Several
// guests hold a prefix only where each holds it as anycast.
func grantable(c *Claim, p events.Prefix, vm string, role events.Role) error {
	if c == nil {
		return nil
	}
	if i := c.owner(vm); i >= 0 {
		return &events.Error{Code: events.CodeExists, Field: "prefix", Value: p.String(),
			Reason: fmt.Sprintf("guest %q holds it already, since sequence %d", vm, c.Owners[i].Since),
			Held:   &events.Held{VM: vm, Sequence: c.Owners[i].Since}}
	}
	o := c.Owners[0]
	if role != events.RoleAnycast || o.Role != events.RoleAnycast {
		return &events.Error{Code: events.CodeTaken, Field: "prefix", Value: p.String(),
			Reason: fmt.Sprintf("guest %q holds it as %s since sequence %d", o.VM, o.Role, o.Since),
			Held:   &events.Held{VM: o.VM, Sequence: o.Since}}
	}
	return nil
}

// port finds the interface of a guest that a prefix belongs on: the one with
// the tap, or without one the only one in a network that has the prefix.
func (t *transaction) port(g *Guest, tap, vrf string, p netip.Prefix) (int, error) {
	var needs []string
	for _, f := range g.Interfaces {
		needs = append(needs, events.SubjectNet(f.Network))
	}
	if err := t.need(needs...); err != nil {
		return 0, err
	}
	var fit []int
	var reason error
	for i, f := range g.Interfaces {
		network := get[*Network](t, events.SubjectNet(f.Network))
		if network == nil || (tap != "" && f.Tap != tap) || (vrf != "" && f.VRF != vrf) {
			continue
		}
		_, inside := network.Subnet(p)
		if err := network.usable(p); err == nil {
			fit = append(fit, i)
		} else if inside || reason == nil {
			reason = err
		}
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) > 1:
		return 0, &events.Error{Code: events.CodeInvalid, Field: "interface",
			Reason: fmt.Sprintf("several interfaces of guest %q fit %s: say which of %s", g.VM, p, g.tapList())}
	case reason != nil:
		return 0, reason
	}
	return 0, g.noPort(tap, vrf)
}

func (g *Guest) noPort(tap, vrf string) error {
	if tap != "" {
		return &events.Error{Code: events.CodeUnknown, Field: "interface", Value: tap,
			Reason: fmt.Sprintf("guest %q has %s%s", g.VM, g.tapList(), inVRF(vrf))}
	}
	return &events.Error{Code: events.CodeUnknown, Field: "vrf", Value: vrf,
		Reason: fmt.Sprintf("guest %q has no interface there", g.VM)}
}

func inVRF(vrf string) string {
	if vrf == "" {
		return ""
	}
	return fmt.Sprintf(", and none of that name in VRF %q", vrf)
}

func (g *Guest) tapList() string { return strings.Join(g.taps(), ", ") }

func (t *transaction) ipMoved(d *events.IPMoved) error {
	subject := events.SubjectIP(d.VRF, d.Prefix.Prefix)
	to, err := t.guest("to", d.To, subject)
	if err != nil {
		return err
	}
	claim := get[*Claim](t, subject)
	if claim == nil {
		return unclaimed(d.Prefix, d.VRF)
	}
	if i := claim.owner(d.To); i >= 0 {
		return &events.Error{Code: events.CodeExists, Field: "to", Value: d.To,
			Reason: fmt.Sprintf("holds %s already, since sequence %d", d.Prefix, claim.Owners[i].Since),
			Held:   &events.Held{VM: d.To, Sequence: claim.Owners[i].Since}}
	}
	if len(claim.Owners) > 1 {
		return &events.Error{Code: events.CodeRefused, Field: "prefix", Value: d.Prefix.String(),
			Reason: fmt.Sprintf("%d guests hold it as anycast; release and assign instead", len(claim.Owners))}
	}
	i, err := t.port(to, d.Interface, d.VRF, d.Prefix.Prefix)
	if err != nil {
		return err
	}
	from, role := claim.Owners[0].VM, claim.Owners[0].Role
	moves, err := t.drop(from, d.VRF, d.Prefix.Prefix)
	if err != nil {
		return err
	}
	a, owned := Address{Prefix: d.Prefix.Prefix, Role: role, Interface: i}, &Claim{Owners: []Owner{{VM: d.To, Role: role}}}
	a.Moves, owned.Moves = to.outmove(role, max(moves, claim.Moves))
	t.put(subject, owned)
	return t.hold(to, a)
}

func (t *transaction) ipReleased(d *events.IPReleased) error {
	subject := events.SubjectIP(d.VRF, d.Prefix.Prefix)
	if err := t.need(subject); err != nil {
		return err
	}
	claim := get[*Claim](t, subject)
	if claim == nil {
		return unclaimed(d.Prefix, d.VRF)
	}
	vm := d.VM
	if vm == "" && len(claim.Owners) > 1 {
		return &events.Error{Code: events.CodeInvalid, Field: "vm",
			Reason: fmt.Sprintf("%d guests hold %s as anycast: say which", len(claim.Owners), d.Prefix)}
	}
	if vm == "" {
		vm = claim.Owners[0].VM
	}
	if claim.owner(vm) < 0 {
		o := claim.Owners[0]
		return &events.Error{Code: events.CodeRefused, Field: "vm", Value: vm,
			Reason: fmt.Sprintf("doesn't hold %s; guest %q does, since sequence %d", d.Prefix, o.VM, o.Since),
			Held:   &events.Held{VM: o.VM, Sequence: o.Since}}
	}
	moves, err := t.drop(vm, d.VRF, d.Prefix.Prefix)
	if err != nil {
		return err
	}
	t.disown(subject, vm, moves)
	return nil
}

func unclaimed(p events.Prefix, vrf string) error {
	return &events.Error{Code: events.CodeUnknown, Field: "prefix", Value: p.String(),
		Reason: fmt.Sprintf("no guest holds it in VRF %q", vrf)}
}

// drop takes a prefix from a guest's own list. It returns the moves that the
// prefix had.
func (t *transaction) drop(vm, vrf string, p netip.Prefix) (moves uint32, err error) {
	g, err := t.guest("vm", vm)
	if err != nil {
		return 0, err
	}
	changed := g.clone()
	if i := changed.address(vrf, p); i >= 0 {
		moves = g.MovesOf(g.Addresses[i])
		changed.Addresses = slices.Delete(changed.Addresses, i, i+1)
	}
	t.put(events.SubjectVM(vm), changed)
	return moves, nil
}

// disown takes a guest from the owners of a prefix, which had so many moves.
func (t *transaction) disown(subject, vm string, moves uint32) {
	claim := get[*Claim](t, subject)
	i := claim.owner(vm)
	switch {
	case i < 0:
	case len(claim.Owners) == 1:
		t.end(subject, &Claim{Moves: max(moves, claim.Moves)})
	default:
		t.put(subject, &Claim{Owners: slices.Delete(slices.Clone(claim.Owners), i, i+1), Moves: claim.Moves})
	}
}
