package audit

import (
	"cmp"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// Difference is what was otherwise at one moment than at an earlier one. What
// changed between them and changed back isn't in it.
type Difference struct {
	From        uint64                  `json:"from"`   // sequence of the earlier moment
	To          uint64                  `json:"to"`     // of the later one
	Events      uint64                  `json:"events"` // how many there were between them
	Addresses   []AddressChange         `json:"addresses"`
	Guests      []GuestChange           `json:"guests"`
	Networks    []NetworkChange         `json:"networks"`
	Hypervisors []HypervisorChange      `json:"hypervisors"`
	Quarantined []projector.Quarantined `json:"quarantined,omitempty"` // between the two; they changed nothing
}

// Verb is what became of something between two moments.
type Verb string

// The verbs of a [Difference].
const (
	Gained    Verb = "gained"    // an address that nobody had has a holder
	Lost      Verb = "lost"      // an address has no holder any more
	Moved     Verb = "moved"     // an address has another holder, a guest another home
	Spread    Verb = "spread"    // an anycast address has some other holders
	Created   Verb = "created"   // also of a network: defined; of a hypervisor: registered
	Deleted   Verb = "deleted"   // also of a network: removed
	Recreated Verb = "recreated" // deleted, and created again under the same id
	Altered   Verb = "altered"   // an address has another role, a network is defined otherwise, a hypervisor drained or fenced or no longer
)

// AddressChange is a prefix that other guests hold.
type AddressChange struct {
	Verb   Verb         `json:"verb"`
	Prefix netip.Prefix `json:"prefix"`
	VRF    string       `json:"vrf"`
	Before []Holder     `json:"before"`
	After  []Holder     `json:"after"`
	By     Origin       `json:"by"` // the last event that changed it
}

// Holder is a guest that holds a prefix.
type Holder struct {
	VM   string      `json:"vm"`
	Role events.Role `json:"role"`
}

// GuestChange is a guest that has come, gone or moved.
type GuestChange struct {
	Verb   Verb   `json:"verb"`
	VM     string `json:"vm"`
	Before string `json:"before,omitempty"` // its home; empty: none
	After  string `json:"after,omitempty"`
	By     Origin `json:"by"` // the event that made its later home or ended it
}

// NetworkChange is a network that has come, gone or changed.
type NetworkChange struct {
	Verb    Verb                   `json:"verb"`
	Network string                 `json:"network"`
	Before  *events.NetworkDefined `json:"before,omitempty"`
	After   *events.NetworkDefined `json:"after,omitempty"`
	By      Origin                 `json:"by"`
}

// HypervisorChange is a hypervisor that was registered, drained or fenced.
type HypervisorChange struct {
	Verb       Verb                  `json:"verb"`
	Hypervisor string                `json:"hypervisor"`
	Before     *projector.Hypervisor `json:"before,omitempty"`
	After      *projector.Hypervisor `json:"after,omitempty"`
	By         Origin                `json:"by"`
}

// Comparison compares two moments by folding the log up to the later one. It
// isn't safe for concurrent use.
type Comparison struct {
	from    uint64
	before  *projector.State // nil: not there yet
	state   *projector.State
	events  uint64
	origins origins
	deleted map[string]bool // guests, after the earlier moment
}

// NewComparison begins a comparison with the moment up to which sequence from
// has happened.
func NewComparison(from uint64) *Comparison {
	return &Comparison{from: from, state: projector.New(), deleted: map[string]bool{}}
}

// Add folds the next event of the log.
func (c *Comparison) Add(o Origin, e events.Event) {
	c.advance(o)
	if d, ok := e.Data.(*events.VMDeleted); ok && c.before != nil {
		c.deleted[d.VM] = true
	}
	c.state.Fold(projector.Record{Sequence: o.Sequence, Event: e})
}

// AddUnreadable notes an event that can't be read and so changes nothing.
func (c *Comparison) AddUnreadable(o Origin, q projector.Quarantined) {
	c.advance(o)
	c.state.Quarantine(q)
}

func (c *Comparison) advance(o Origin) {
	if o.Sequence <= c.from {
		return
	}
	if c.before == nil {
		c.before = c.state.Clone()
	}
	c.events++
	c.origins.add(o)
}

// Result is the difference, where the log was folded up to sequence to.
func (c *Comparison) Result(to uint64) Difference {
	before := c.before
	if before == nil {
		before = c.state
	}
	d := Difference{
		From: c.from, To: to, Events: c.events,
		Addresses: []AddressChange{}, Guests: []GuestChange{}, Networks: []NetworkChange{}, Hypervisors: []HypervisorChange{},
	}
	was := maps.Collect(before.Registers())
	for subject, now := range c.state.Registers() {
		if old := was[subject]; old == nil || old.Sequence() != now.Sequence() {
			c.compare(&d, subject, old, now)
		}
	}
	for _, q := range c.state.Quarantined() {
		if q.Sequence > c.from {
			d.Quarantined = append(d.Quarantined, q)
		}
	}
	slices.SortFunc(d.Addresses, func(a, b AddressChange) int {
		return cmp.Or(strings.Compare(a.VRF, b.VRF), a.Prefix.Compare(b.Prefix))
	})
	return d
}

// compare notes the difference between two values of a register that was
// written in between.
func (c *Comparison) compare(d *Difference, subject string, old, now projector.Register) {
	s, err := events.ParseSubject(subject)
	if err != nil {
		return
	}
	switch now := now.(type) {
	case *projector.Claim:
		if a, ok := addressChange(s, old, now); ok {
			a.By = c.origins.find(now.Sequence())
			d.Addresses = append(d.Addresses, a)
		}
	case *projector.Guest:
		if g, ok := c.guestChange(s.Name, existing[*projector.Guest](old), now); ok {
			d.Guests = append(d.Guests, g)
		}
	case *projector.Network:
		if n, ok := networkChange(s.Name, existing[*projector.Network](old), existing[*projector.Network](now)); ok {
			n.By = c.origins.find(now.Sequence())
			d.Networks = append(d.Networks, n)
		}
	case *projector.Hypervisor:
		if h, ok := hypervisorChange(s.Name, existing[*projector.Hypervisor](old), existing[*projector.Hypervisor](now)); ok {
			h.By = c.origins.find(now.Sequence())
			d.Hypervisors = append(d.Hypervisors, h)
		}
	}
}

// existing is nil for a register that isn't there or has ended.
func existing[T projector.Register](r projector.Register) (none T) {
	if v, ok := r.(T); ok && v.Exists() {
		return v
	}
	return none
}

// verb tells whether something came, went, or was there at both moments.
func verb[T comparable](before, after T, both Verb) Verb {
	var none T
	switch {
	case before == none && after == none:
		return ""
	case before == none:
		return Created
	case after == none:
		return Deleted
	}
	return both
}

func addressChange(s events.Subject, old, now projector.Register) (AddressChange, bool) {
	a := AddressChange{Prefix: s.Prefix, VRF: s.Name, Before: holders(old), After: holders(now)}
	switch {
	case slices.Equal(a.Before, a.After):
		return a, false
	case len(a.Before) == 0:
		a.Verb = Gained
	case len(a.After) == 0:
		a.Verb = Lost
	case len(a.Before) == 1 && len(a.After) == 1 && a.Before[0].VM == a.After[0].VM:
		a.Verb = Altered
	case len(a.Before) == 1 && len(a.After) == 1:
		a.Verb = Moved
	default:
		a.Verb = Spread
	}
	return a, true
}

// holders lists who holds a prefix, sorted.
func holders(r projector.Register) []Holder {
	list := []Holder{}
	if c := existing[*projector.Claim](r); c != nil {
		for _, o := range c.Owners {
			list = append(list, Holder{o.VM, o.Role})
		}
	}
	slices.SortFunc(list, func(a, b Holder) int { return strings.Compare(a.VM, b.VM) })
	return list
}

func (c *Comparison) guestChange(vm string, old, now *projector.Guest) (GuestChange, bool) {
	after := existing[*projector.Guest](now)
	g := GuestChange{Verb: verb(old, after, ""), VM: vm, By: c.origins.find(now.Sequence())}
	if old != nil {
		g.Before = old.Hypervisor
	}
	if after == nil {
		return g, g.Verb != ""
	}
	g.After, g.By = after.Hypervisor, c.origins.find(after.Epoch)
	switch {
	case old != nil && c.deleted[vm]:
		g.Verb = Recreated
	case old != nil && g.Before != g.After:
		g.Verb = Moved
	}
	return g, g.Verb != ""
}

func networkChange(name string, old, now *projector.Network) (NetworkChange, bool) {
	n := NetworkChange{Verb: verb(old, now, Altered), Network: name}
	if old != nil {
		n.Before = &old.NetworkDefined
	}
	if now != nil {
		n.After = &now.NetworkDefined
	}
	return n, n.Verb != "" && !reflect.DeepEqual(n.Before, n.After)
}

func hypervisorChange(name string, old, now *projector.Hypervisor) (HypervisorChange, bool) {
	h := HypervisorChange{Verb: verb(old, now, Altered), Hypervisor: name, Before: old, After: now}
	return h, h.Verb == Created || h.Verb == Altered && (old.Drained != now.Drained || old.Fenced != now.Fenced)
}

// origins keeps what is to be said of many events, in little memory.
type origins struct {
	list  []origin
	texts map[string]string
}

type origin struct {
	sequence     uint64
	stored, time time.Time
	source       string
	kind         events.Type
}

func (os *origins) add(o Origin) {
	if os.texts == nil {
		os.texts = map[string]string{}
	}
	os.list = append(os.list, origin{o.Sequence, o.Stored, o.Time, os.once(o.Source), events.Type(os.once(string(o.Type)))})
}

// once keeps a text that many events share once.
func (os *origins) once(s string) string {
	if kept, ok := os.texts[s]; ok {
		return kept
	}
	s = strings.Clone(s)
	os.texts[s] = s
	return s
}

func (os *origins) find(sequence uint64) Origin {
	i, ok := slices.BinarySearchFunc(os.list, sequence, func(o origin, s uint64) int { return cmp.Compare(o.sequence, s) })
	if !ok {
		return Origin{Sequence: sequence}
	}
	o := os.list[i]
	return Origin{Sequence: sequence, Type: o.kind, Source: o.source, Stored: o.stored, Time: o.time}
}
