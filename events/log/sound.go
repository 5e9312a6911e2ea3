package log

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// sound refuses a value that can't have come from a command: one that names
// something else than its subject does, or that no event could have made.
func (m message) sound(r projector.Register) error {
	if m.Prev == nil && m.Subject.Kind != events.KindFeed {
		return errors.New("it doesn't name the message before it")
	}
	if may, must := ends(m.Subject.Kind, m.Type); !r.Exists() && !may || r.Exists() && must {
		return fmt.Errorf("a %s can't have that state: whether it ends what the subject is about, its type says", m.Type)
	}
	if !r.Exists() {
		return nil
	}
	name, want := "", m.Subject.Name
	var err error
	switch r := r.(type) {
	case *projector.Guest:
		name, err = r.VM, soundGuest(r)
		if m.Subject.Kind == events.KindFeed {
			want = m.Subject.VM
		}
	case *projector.Network:
		name, err = r.Network, m.soundNetwork(r)
	case *projector.Hypervisor:
		name = r.Name
	case *projector.Claim:
		return soundClaim(r)
	default:
		return nil
	}
	if name != want {
		return fmt.Errorf("state is that of %q, under the subject of %q", name, want)
	}
	return err
}

// ends tells whether an event of a type may end, or must end, what a subject of
// a kind is about. Without it a damaged message could withdraw what nobody took
// away.
func ends(kind events.Kind, t events.Type) (may, must bool) {
	switch kind {
	case events.KindNet:
		return t == events.TypeNetworkRemoved, t == events.TypeNetworkRemoved
	case events.KindVM:
		return t == events.TypeVMDeleted, t == events.TypeVMDeleted
	case events.KindFeed: // to one hypervisor, which a guest also leaves
		return t == events.TypeVMDeleted || t == events.TypeVMMigrationStarted || t == events.TypeVMMigrated || t == events.TypeVMMigrationAborted,
			t == events.TypeVMDeleted
	case events.KindIP:
		return t == events.TypeIPReleased || t == events.TypeVMDeleted, false // of several owners some may stay
	case events.KindHV, events.KindTick:
		return false, false // nothing ends a hypervisor
	}
	return true, false
}

// soundNetwork wants a network as its event defines it, since that is all that
// makes one.
func (m message) soundNetwork(n *projector.Network) error {
	e := events.Event{Data: &n.NetworkDefined}
	if err := e.Validate(); err != nil {
		return err
	}
	said, err := m.decodeEvent()
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(said.Data, e.Data) {
		return errors.New("state isn't the network that the event defines")
	}
	return nil
}

// soundClaim wants a claim to remember moves only where its owners have none to
// tell them by.
func soundClaim(c *projector.Claim) error {
	if c.Moves == 0 {
		return nil
	}
	for _, o := range c.Owners {
		if o.Role != events.RoleAnycast {
			return fmt.Errorf("state is a claim with moves of its own, beside those of %q, which holds it as %s", o.VM, o.Role)
		}
	}
	return nil
}

// soundGuest checks a guest as the events that make one are checked.
func soundGuest(g *projector.Guest) error {
	made := &events.VMCreated{VM: g.VM, Hypervisor: g.Hypervisor}
	for _, f := range g.Interfaces {
		made.Interfaces = append(made.Interfaces, f.Interface)
	}
	err := events.Event{Data: made}.Validate()
	for _, a := range g.Addresses {
		if a.Role == events.RoleAnycast && a.Moves != 0 && err == nil {
			err = fmt.Errorf("state has %s as anycast, and moved", a.Prefix)
		}
	}
	for _, p := range []*projector.Place{g.Next, g.Previous} {
		if p != nil && err == nil {
			err = events.Event{Data: &events.VMMigrated{VM: g.VM, To: p.Hypervisor, Taps: p.Taps}}.Validate()
		}
	}
	return err
}
