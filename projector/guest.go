package projector

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/hostroute/hostroute/events"
)

// MaxAddresses is how many prefixes one guest may hold: what one atomic batch
// of the log can release when the guest is deleted.
const MaxAddresses = 900

func (t *transaction) vmCreated(d *events.VMCreated) error {
	subject := events.SubjectVM(d.VM)
	needs := []string{subject, events.SubjectHV(d.Hypervisor)}
	for _, f := range d.Interfaces {
		needs = append(needs, events.SubjectNet(f.Network))
	}
	if err := t.need(needs...); err != nil {
		return err
	}
	if old := get[*Guest](t, subject); old != nil {
		return &events.Error{Code: events.CodeExists, Field: "vm", Value: d.VM,
			Reason: fmt.Sprintf("exists already, on hypervisor %q since sequence %d", old.Hypervisor, old.Epoch)}
	}
	if err := t.newHome("hypervisor", d.Hypervisor); err != nil {
		return err
	}
	g := &Guest{VM: d.VM, Hypervisor: d.Hypervisor, Hostname: d.Hostname}
	for i, f := range d.Interfaces {
		network := get[*Network](t, events.SubjectNet(f.Network))
		if network == nil {
			return unknownNetwork(fmt.Sprintf("interfaces[%d].network", i), f.Network)
		}
		g.Interfaces = append(g.Interfaces, Interface{Interface: f, VRF: network.VRF})
	}
	t.put(subject, g)
	return nil
}

// guest finds a guest that an event names, with its places looked up.
func (t *transaction) guest(field, vm string, more ...string) (*Guest, error) {
	subject := events.SubjectVM(vm)
	if err := t.need(append(more, subject)...); err != nil {
		return nil, err
	}
	g := get[*Guest](t, subject)
	if g == nil {
		return nil, &events.Error{Code: events.CodeUnknown, Field: field, Value: vm,
			Reason: "no such guest; `hostroute vm list` names them"}
	}
	var places []string
	for _, hv := range g.places() {
		places = append(places, events.SubjectHV(hv))
	}
	return g, t.need(places...)
}

func (t *transaction) vmDeleted(d *events.VMDeleted) error {
	g, err := t.guest("vm", d.VM)
	if err != nil {
		return err
	}
	var claims []string
	for _, a := range g.Addresses {
		claims = append(claims, events.SubjectIP(g.Interfaces[a.Interface].VRF, a.Prefix))
	}
	if err := t.need(claims...); err != nil {
		return err
	}
	for i, subject := range claims {
		t.disown(subject, d.VM, g.MovesOf(g.Addresses[i]))
	}
	t.end(events.SubjectVM(d.VM), g)
	return nil
}

func (t *transaction) vmMigrationStarted(d *events.VMMigrationStarted) error {
	g, err := t.guest("vm", d.VM, events.SubjectHV(d.To))
	if err != nil {
		return err
	}
	if g.Next != nil {
		return &events.Error{Code: events.CodeRefused, Field: "vm", Value: d.VM,
			Reason: fmt.Sprintf("its migration to %q is prepared already; abort that first", g.Next.Hypervisor)}
	}
	next, err := t.destination(g, d.To, d.Taps)
	if err != nil {
		return err
	}
	if err := t.newHome("to", d.To); err != nil {
		return err
	}
	changed := g.clone()
	changed.Next = next
	t.put(events.SubjectVM(d.VM), changed)
	return nil
}

// destination checks where a guest shall go and names its taps there.
func (t *transaction) destination(g *Guest, to string, taps []string) (*Place, error) {
	if to == g.Hypervisor {
		return nil, &events.Error{Code: events.CodeRefused, Field: "to", Value: to,
			Reason: fmt.Sprintf("guest %q is there already, since sequence %d", g.VM, g.Epoch)}
	}
	if err := t.home("to", to); err != nil {
		return nil, err
	}
	switch {
	case len(taps) == 0:
		taps = g.taps()
	case len(taps) != len(g.Interfaces):
		return nil, &events.Error{Code: events.CodeInvalid, Field: "taps", Value: strconv.Itoa(len(taps)),
			Reason: fmt.Sprintf("taps named, and guest %q has %d interfaces; name a tap for each or none", g.VM, len(g.Interfaces))}
	}
	return &Place{Hypervisor: to, Taps: slices.Clone(taps)}, nil
}

func (t *transaction) vmMigrated(d *events.VMMigrated) error {
	g, err := t.guest("vm", d.VM, events.SubjectHV(d.To))
	if err != nil {
		return err
	}
	taps := d.Taps
	switch {
	case g.Next == nil || t.isFenced(g.Next.Hypervisor): // where it was to go has been given up
	case g.Next.Hypervisor != d.To:
		return &events.Error{Code: events.CodeRefused, Field: "to", Value: d.To,
			Reason: fmt.Sprintf("the migration of %q to %q is prepared; abort that first", d.VM, g.Next.Hypervisor)}
	case len(taps) == 0:
		taps = g.Next.Taps
	}
	next, err := t.destination(g, d.To, taps)
	if err != nil {
		return err
	}
	t.put(events.SubjectVM(d.VM), g.moved(next, t.seq))
	return nil
}

func (t *transaction) vmMigrationAborted(d *events.VMMigrationAborted) error {
	g, err := t.guest("vm", d.VM)
	if err != nil {
		return err
	}
	if g.Next == nil {
		return &events.Error{Code: events.CodeRefused, Field: "vm", Value: d.VM, Reason: "no migration of it is prepared"}
	}
	changed := g.clone()
	changed.Next = nil
	t.put(events.SubjectVM(d.VM), changed)
	return nil
}
