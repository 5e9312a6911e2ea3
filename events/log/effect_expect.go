package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/internal/bgp"
	"github.com/hostroute/hostroute/projector"
)

// Effect tells what the event stored at a sequence is to bring about, and on
// which hypervisors. An event that has none to wait for is an [*events.Error].
func (l *Ledger) Effect(ctx context.Context, sequence uint64) (Expectation, error) {
	b, err := l.batchAt(ctx, sequence)
	if err != nil {
		return Expectation{}, err
	}
	x := Expectation{Effect: Effect{Sequence: sequence}}
	g, err := b.describe(ctx, &x.Effect)
	if err != nil {
		return x, err
	}
	if g != nil && len(x.Prefixes) > 0 {
		if err := l.prefer(ctx, g, &x.Effect); err != nil {
			return x, err
		}
	}
	return x, l.concern(ctx, &x)
}

// consequence is what one event has written.
type consequence struct {
	ledger *Ledger
	event  events.Event
	guests map[string]message         // by guest
	claims []events.Subject           // in the order of the batch
	owners map[events.Subject]int     // of a claim, afterwards
	after  map[string]projector.Guest // registers of guests
}

func noEffect(sequence uint64, code events.Code, reason string) error {
	return &events.Error{Code: code, Field: "sequence", Value: fmt.Sprint(sequence), Reason: reason}
}

// batchAt reads the messages of the event at a sequence, from the leader: who
// has just been told that it is stored finds it.
func (l *Ledger) batchAt(ctx context.Context, sequence uint64) (*consequence, error) {
	if sequence == 0 {
		return nil, noEffect(sequence, events.CodeUnknown, "sequences begin with 1")
	}
	c := &consequence{ledger: l, guests: map[string]message{}, owners: map[events.Subject]int{}, after: map[string]projector.Guest{}}
	for next := sequence; ; next++ {
		r, ok, err := l.at(ctx, next)
		if err != nil {
			return nil, err
		}
		m, err := decode(r)
		switch {
		case !ok && next == sequence:
			return nil, noEffect(sequence, events.CodeUnknown, "the log has no event there")
		case !ok || m.event() != sequence && next > sequence:
			return c, nil
		case err != nil:
			return nil, fmt.Errorf("reading the event at %d: message %d: %w", sequence, next, err)
		case m.event() != sequence:
			return nil, noEffect(sequence, events.CodeUnknown, fmt.Sprintf("this belongs to the event at %d", m.event()))
		}
		if next == sequence {
			if c.event, err = m.decodeEvent(); err != nil {
				return nil, fmt.Errorf("reading the event at %d: %w", sequence, err)
			}
		}
		if err := c.take(m, r.Subject); err != nil {
			return nil, fmt.Errorf("reading the event at %d: message %d: %w", sequence, next, err)
		}
	}
}

// at reads one message of the ledger.
func (l *Ledger) at(ctx context.Context, sequence uint64) (raw, bool, error) {
	r, ok, err := l.get.one(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) { return l.ledger.GetMsg(ctx, sequence) })
	if err != nil {
		return r, false, fmt.Errorf("reading message %d: %w", sequence, err)
	}
	return r, ok, nil
}

// take keeps the registers of guests and claims.
func (c *consequence) take(m message, subject string) error {
	if m.Subject.Kind != events.KindVM && m.Subject.Kind != events.KindIP {
		return nil
	}
	register, err := m.register(subject)
	if err != nil {
		return err
	}
	switch r := register.(type) {
	case *projector.Guest:
		c.guests[m.Subject.Name] = m
		c.after[m.Subject.Name] = *r
	case *projector.Claim:
		c.claims = append(c.claims, m.Subject)
		c.owners[m.Subject] = len(r.Owners)
	}
	return nil
}

// before is a guest as it was before the event.
func (c *consequence) before(ctx context.Context, vm string) (*projector.Guest, error) {
	m, ok := c.guests[vm]
	if !ok || m.Prev == nil || m.Prev.Sequence == 0 {
		return nil, fmt.Errorf("the event says nothing of guest %q before it", vm)
	}
	r, ok, err := c.ledger.at(ctx, m.Prev.Sequence)
	if err != nil || !ok {
		return nil, errors.Join(err, fmt.Errorf("guest %q before the event at %d isn't in the log", vm, m.event()))
	}
	_, register, err := readRegister(r)
	if err != nil {
		return nil, fmt.Errorf("reading guest %q as it was at %d: %w", vm, r.Sequence, err)
	}
	g, ok := register.(*projector.Guest)
	if !ok {
		return nil, fmt.Errorf("message %d isn't of guest %q", r.Sequence, vm)
	}
	return g, nil
}

// describe fills in the effect. The guest is the one whose prefixes they are, as
// it was when its home announced them; nil: there is none.
func (c *consequence) describe(ctx context.Context, e *Effect) (*projector.Guest, error) {
	switch d := c.event.Data.(type) {
	case *events.VMCreated:
		return c.homed(e, d.VM)
	case *events.VMMigrated:
		return c.homed(e, d.VM)
	case *events.IPAssigned:
		return c.homed(e, d.VM)
	case *events.IPMoved:
		return c.homed(e, d.To)
	case *events.VMDeleted:
		return c.ended(ctx, e, d.VM)
	case *events.IPReleased:
		if d.VM == "" { // the only one that had it, and so the only one that changed
			for vm := range c.guests {
				return c.ended(ctx, e, vm)
			}
		}
		return c.ended(ctx, e, d.VM)
	case *events.VMMigrationStarted:
		g := c.after[d.VM]
		e.Kind, e.VM = EffectPrepared, d.VM
		e.at(g.Next)
	case *events.VMMigrationAborted:
		g, err := c.before(ctx, d.VM)
		if err != nil {
			return nil, err
		}
		e.Kind, e.VM = EffectEnded, d.VM
		e.at(g.Next)
	case *events.HypervisorDrained:
		e.Kind, e.Hypervisor = EffectDrained, d.Hypervisor
	case *events.HypervisorUndrained:
		e.Kind, e.Hypervisor = EffectUndrained, d.Hypervisor
	case *events.HypervisorFenced:
		e.Kind, e.Hypervisor = EffectFenced, d.Hypervisor
	case *events.HypervisorUnfenced:
		e.Kind, e.Hypervisor = EffectUnfenced, d.Hypervisor
	default:
		return nil, noEffect(e.Sequence, events.CodeInvalid, fmt.Sprintf("a %s has no effect that can be waited for", c.event.Type()))
	}
	return nil, nil
}

// at says where a migration goes.
func (e *Effect) at(p *projector.Place) {
	if p != nil {
		e.Hypervisor, e.Taps = p.Hypervisor, p.Taps
	}
}

func (c *consequence) homed(e *Effect, vm string) (*projector.Guest, error) {
	g := c.after[vm]
	e.Kind, e.VM, e.Hypervisor = EffectHomed, vm, g.Hypervisor
	for _, f := range g.Interfaces {
		e.Taps = append(e.Taps, f.Tap)
	}
	if len(c.claims) > 0 { // of addresses; else the whole guest came
		c.claimed(e)
		return &g, nil
	}
	for _, a := range g.Addresses {
		e.Prefixes = append(e.Prefixes, EffectPrefix{VRF: g.Interfaces[a.Interface].VRF, Prefix: a.Prefix, Shared: a.Role == events.RoleAnycast})
	}
	return &g, nil
}

func (c *consequence) ended(ctx context.Context, e *Effect, vm string) (*projector.Guest, error) {
	g, err := c.before(ctx, vm)
	if err != nil {
		return nil, err
	}
	e.Kind, e.VM, e.Hypervisor = EffectEnded, vm, g.Hypervisor
	for _, f := range g.Interfaces {
		e.Taps = append(e.Taps, f.Tap)
	}
	c.claimed(e)
	return g, nil
}

// claimed takes the prefixes that the event gave to somebody, or took.
func (c *consequence) claimed(e *Effect) {
	for _, claim := range c.claims {
		left := c.owners[claim]
		shared := left > 1 || left > 0 && e.Kind == EffectEnded
		e.Prefixes = append(e.Prefixes, EffectPrefix{VRF: claim.Name, Prefix: claim.Prefix, Shared: shared})
	}
}

// prefer finds the preference that tells what is from after the event. It is the
// projector's word: what the home of the guest announces, as everybody computes it.
func (l *Ledger) prefer(ctx context.Context, g *projector.Guest, e *Effect) error {
	var subjects []string
	for _, f := range g.Interfaces {
		subjects = append(subjects, events.SubjectNet(f.Network))
	}
	slices.Sort(subjects)
	last, err := l.get.last(ctx, slices.Compact(subjects)...)
	if err != nil {
		return err
	}
	s := projector.New()
	s.Put(events.SubjectVM(g.VM), g)
	for subject, r := range last {
		if _, register, err := readRegister(r); err == nil {
			s.Put(subject, register)
		}
	}
	announced := map[EffectPrefix]uint32{}
	for _, n := range projector.Desired(s, g.Hypervisor).Announcements {
		announced[EffectPrefix{VRF: n.VRF, Prefix: n.Prefix}] = n.Preference
	}
	const step = 1000 // from one home to the next, see bgp.Preference
	for i, p := range e.Prefixes {
		moves := announced[EffectPrefix{VRF: p.VRF, Prefix: p.Prefix}] / step
		if e.Kind == EffectEnded {
			moves++
		}
		e.Prefixes[i].Preference = bgp.Preference(moves, true)
	}
	return nil
}

// concern finds who is to be asked: all, where routes change, else the one
// hypervisor that has something to do.
func (l *Ledger) concern(ctx context.Context, x *Expectation) error {
	list, err := l.lastUnder(ctx, l.ledger, events.SubjectHV("*"), 0, raw{})
	if err != nil {
		return fmt.Errorf("listing the hypervisors: %w", err)
	}
	fenced := map[string]bool{}
	for _, r := range list {
		_, register, err := readRegister(r)
		if h, ok := register.(*projector.Hypervisor); err == nil && ok && h.Exists() {
			fenced[h.Name] = h.Fenced && x.Kind != EffectFenced
		}
	}
	everybody := slices.ContainsFunc(x.Prefixes, func(p EffectPrefix) bool { return !p.Shared || x.Kind == EffectHomed })
	for _, name := range slices.Sorted(maps.Keys(fenced)) {
		switch {
		case !everybody && name != x.Hypervisor:
		case fenced[name]:
			x.Fenced = append(x.Fenced, name)
		case name == x.Hypervisor:
			x.Hypervisors = slices.Insert(x.Hypervisors, 0, name)
		default:
			x.Hypervisors = append(x.Hypervisors, name)
		}
	}
	return nil
}

// effect answers what effect an event is to have.
func (s *Service) effect(ctx context.Context, r micro.Request) {
	var q effectRequest
	err := json.Unmarshal(r.Data(), &q)
	if err != nil {
		err = &events.Error{Code: events.CodeInvalid, Reason: "reading the question: " + err.Error()}
	}
	var x Expectation
	if err == nil {
		x, err = s.ledger.Effect(ctx, q.Sequence)
	}
	if err == nil {
		s.respond(r.RespondJSON(effectReply{Expectation: &x}))
		return
	}
	bad := &events.Error{Code: codeUnavailable, Reason: err.Error()}
	if !errors.As(err, &bad) {
		s.log.Warn("finding the effect of an event", "sequence", q.Sequence, "error", err)
	}
	s.respond(r.RespondJSON(effectReply{Error: bad}))
}
