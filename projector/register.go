package projector

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/hostroute/hostroute/events"
)

// Register is the value that the log has under one subject. A register is
// never written after it was put into a State; changes are made to a copy.
type Register interface {
	// Sequence is that of the last event that wrote the register.
	Sequence() uint64
	// Exists tells a value from what is left of it after its end.
	Exists() bool
	resolve(seq uint64)
}

// stamp is what every register has beside its value.
type stamp struct {
	seq  uint64
	gone bool
}

// Sequence is that of the last event that wrote the register.
func (s *stamp) Sequence() uint64 { return s.seq }

// Exists tells a value from what is left of it after its end.
func (s *stamp) Exists() bool { return !s.gone }

func (s *stamp) resolve(seq uint64) { s.seq = seq }

// Network is a defined network.
type Network struct {
	events.NetworkDefined
	stamp
}

// Subnet is the subnet of the network that contains p.
func (n *Network) Subnet(p netip.Prefix) (events.Subnet, bool) {
	for _, s := range n.Subnets {
		if s.Prefix.Bits() <= p.Bits() && s.Prefix.Contains(p.Addr()) {
			return s, true
		}
	}
	return events.Subnet{}, false
}

// VRF lists the subnets of the networks of a VRF, which don't overlap.
type VRF struct {
	Networks map[string][]netip.Prefix `json:"networks"`
	stamp
}

// contains tells whether a network of the VRF has the prefix.
func (v *VRF) contains(p netip.Prefix) bool {
	for _, subnets := range v.Networks {
		for _, s := range subnets {
			if s.Bits() <= p.Bits() && s.Contains(p.Addr()) {
				return true
			}
		}
	}
	return false
}

// Hypervisor is a registered hypervisor.
type Hypervisor struct {
	Name    string `json:"hypervisor"`
	Drained bool   `json:"drained,omitempty"`
	Fenced  bool   `json:"fenced,omitempty"`
	Reason  string `json:"reason,omitempty"`
	stamp
}

// Interface is a guest's port with the VRF of its network, which is for good.
type Interface struct {
	events.Interface
	VRF string `json:"vrf"`
}

// Address is a prefix that a guest holds on one of its interfaces.
type Address struct {
	Prefix    netip.Prefix `json:"prefix"`
	Role      events.Role  `json:"role"`
	Interface int          `json:"interface"`       // index into the guest's interfaces
	Moves     uint32       `json:"moves,omitempty"` // beside the guest's own, see [Guest.MovesOf]
}

// Place is a hypervisor and the taps of a guest there, in the order of the
// guest's interfaces.
type Place struct {
	Hypervisor string   `json:"hypervisor"`
	Taps       []string `json:"taps"`
}

// Guest is a guest with its home and everything that it holds.
type Guest struct {
	VM         string      `json:"vm"`
	Hypervisor string      `json:"hypervisor"`      // its home
	Epoch      uint64      `json:"epoch"`           // sequence of the event that made the home
	Moves      uint32      `json:"moves,omitempty"` // homes that it had before this one
	Interfaces []Interface `json:"interfaces"`      // their taps are those on the home
	Addresses  []Address   `json:"addresses,omitempty"`
	Hostname   string      `json:"hostname,omitempty"` // as the log says; none: from the id
	Next       *Place      `json:"next,omitempty"`     // where a migration is prepared
	Previous   *Place      `json:"previous,omitempty"` // which forwards for a while
	stamp
}

func (g *Guest) resolve(seq uint64) {
	g.seq = seq
	if g.Epoch == 0 {
		g.Epoch = seq
	}
}

// Duty is what a hypervisor has to do for a guest.
type Duty string

// The duties of a hypervisor.
const (
	DutyNone    Duty = ""
	DutyHome    Duty = "home"       // serves and announces the guest
	DutyPrepare Duty = "preparing"  // has everything ready and announces nothing
	DutyForward Duty = "forwarding" // was the home before
)

// Duty is what the hypervisor has to do for the guest.
func (g *Guest) Duty(hypervisor string) Duty {
	switch {
	case g == nil || g.gone:
		return DutyNone
	case g.Hypervisor == hypervisor:
		return DutyHome
	case g.Next != nil && g.Next.Hypervisor == hypervisor:
		return DutyPrepare
	case g.Previous != nil && g.Previous.Hypervisor == hypervisor:
		return DutyForward
	}
	return DutyNone
}

// places lists the hypervisors that have a duty for the guest.
func (g *Guest) places() []string {
	if g == nil || g.gone {
		return nil
	}
	hvs := []string{g.Hypervisor}
	if g.Next != nil {
		hvs = append(hvs, g.Next.Hypervisor)
	}
	if g.Previous != nil {
		hvs = append(hvs, g.Previous.Hypervisor)
	}
	slices.Sort(hvs)
	return slices.Compact(hvs)
}

func (g *Guest) taps() []string {
	taps := make([]string, len(g.Interfaces))
	for i, f := range g.Interfaces {
		taps[i] = f.Tap
	}
	return taps
}

// address finds what the guest holds of a prefix in a VRF.
func (g *Guest) address(vrf string, p netip.Prefix) int {
	return slices.IndexFunc(g.Addresses, func(a Address) bool {
		return a.Prefix == p && g.Interfaces[a.Interface].VRF == vrf
	})
}

// clone copies the guest as deeply as a change reaches.
func (g *Guest) clone() *Guest {
	c := *g
	c.Interfaces = slices.Clone(g.Interfaces)
	c.Addresses = slices.Clone(g.Addresses)
	return &c
}

// moved is the guest after it went to a place, by the event with a sequence.
func (g *Guest) moved(to *Place, seq uint64) *Guest {
	m := g.clone()
	m.Previous = &Place{Hypervisor: g.Hypervisor, Taps: g.taps()}
	m.Next = nil
	m.Hypervisor, m.Epoch, m.Moves = to.Hypervisor, seq, plus(g.Moves, 1)
	for i, tap := range to.Taps {
		m.Interfaces[i].Tap = tap
	}
	return m
}

// Owner is a guest that holds a prefix.
type Owner struct {
	VM    string      `json:"vm"`
	Role  events.Role `json:"role"`
	Since uint64      `json:"since"` // sequence of the event that gave it the prefix
}

// Claim lists the owners of a prefix: one, or several where it is anycast.
type Claim struct {
	Owners []Owner `json:"owners,omitempty"`
	// Moves are those that the prefix had (see [Guest.MovesOf]) when it was last
	// held otherwise than as anycast: of a claim that ended, or is anycast now.
	Moves uint32 `json:"moves,omitempty"`
	stamp
}

func (c *Claim) resolve(seq uint64) {
	c.seq = seq
	for i := range c.Owners {
		if c.Owners[i].Since == 0 {
			c.Owners[i].Since = seq
		}
	}
}

func (c *Claim) owner(vm string) int {
	if c == nil {
		return -1
	}
	return slices.IndexFunc(c.Owners, func(o Owner) bool { return o.VM == vm })
}

// newRegister makes the empty register that a subject has.
func newRegister(subject string) (Register, error) {
	s, err := events.ParseSubject(subject)
	if err != nil {
		return nil, err
	}
	switch s.Kind {
	case events.KindVM, events.KindFeed:
		return &Guest{}, nil
	case events.KindIP:
		return &Claim{}, nil
	case events.KindNet:
		return &Network{}, nil
	case events.KindVRF:
		return &VRF{}, nil
	case events.KindHV, events.KindTick:
		return &Hypervisor{}, nil
	}
	return nil, fmt.Errorf("%q is no register", subject)
}

// DecodeRegister reads the value of a register from its JSON. What is left of one
// that has ended is null, or of a claim its moves, if there were any. Seq is the
// sequence of the event that wrote it.
func DecodeRegister(subject string, value []byte, seq uint64) (Register, error) {
	r, err := newRegister(subject)
	if err != nil {
		return nil, err
	}
	if string(value) == "null" {
		return tombstone(r, seq), nil
	}
	if err := json.Unmarshal(value, r); err != nil {
		return nil, fmt.Errorf("decoding register %s: %w", subject, err)
	}
	if err := consistent(r); err != nil {
		return nil, fmt.Errorf("decoding register %s: %w", subject, err)
	}
	if c, ok := r.(*Claim); ok && len(c.Owners) == 0 { // nothing but its moves is left
		return tombstone(c, seq), nil
	}
	r.resolve(seq)
	return r, nil
}

// consistent keeps a damaged register from making anybody index out of range.
func consistent(r Register) error {
	switch r := r.(type) {
	case *Guest:
		return r.consistent()
	case *Claim:
		if len(r.Owners) == 0 && r.Moves == 0 {
			return errors.New("a claim without owners")
		}
	}
	return nil
}

func (g *Guest) consistent() error {
	for _, a := range g.Addresses {
		if a.Interface < 0 || a.Interface >= len(g.Interfaces) || !a.Prefix.IsValid() {
			return fmt.Errorf("address %v on interface %d of %d", a.Prefix, a.Interface, len(g.Interfaces))
		}
	}
	for _, p := range []*Place{g.Next, g.Previous} {
		if p != nil && len(p.Taps) != len(g.Interfaces) {
			return fmt.Errorf("%d taps on %s for %d interfaces", len(p.Taps), p.Hypervisor, len(g.Interfaces))
		}
	}
	return nil
}

// tombstone is what is left of a register.
func tombstone(r Register, seq uint64) Register {
	end := stamp{seq: seq, gone: true}
	switch r := r.(type) {
	case *Guest:
		return &Guest{VM: r.VM, stamp: end}
	case *Claim:
		return &Claim{Moves: r.Moves, stamp: end}
	case *Network:
		return &Network{stamp: end}
	case *VRF:
		return &VRF{stamp: end}
	default:
		return &Hypervisor{stamp: end}
	}
}

// EncodeRegister gives the JSON of a register as DecodeRegister reads it.
func EncodeRegister(r Register) ([]byte, error) {
	if r == nil {
		return []byte("null"), nil
	}
	if c, ok := r.(*Claim); !r.Exists() && (!ok || c.Moves == 0) {
		return []byte("null"), nil
	}
	return json.Marshal(r)
}
