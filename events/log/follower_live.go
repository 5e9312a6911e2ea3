package log

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// handle takes one live message and tells whether it shows a gap.
func (f *Follower) handle(m *nats.Msg) (gap bool) {
	r, err := stored(m)
	if err != nil || liveSubject("hr"+cutRoot(r.Subject)) != m.Subject {
		f.log.Warn("ignoring a live message that the log didn't send", "subject", m.Subject, "error", err)
		return false
	}
	subject, err := events.ParseSubject(r.Subject)
	if err != nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case subject.Kind == events.KindFeed && subject.Name == f.hypervisor:
		f.feed(subject.VM, r)
		return false
	case subject.Kind == events.KindTick && subject.Name == f.hypervisor:
		err = f.tick(r)
	case subject.Kind == events.KindNetTick:
		err = f.netTick(r)
	}
	if err == nil {
		return false
	}
	if !f.behind {
		f.behind = true
		f.status.Gaps++
		f.log.Info("a live message was missed", "sequence", r.Sequence, "reason", err)
	}
	f.status.InSync, f.status.Since = false, time.Time{}
	return true
}

// cutRoot drops the first token of a subject.
func cutRoot(subject string) string {
	if len(subject) < len("hr") {
		return subject
	}
	return subject[len("hr"):]
}

// feed stages a guest's message until its tick comes. What the last tick
// covers already is old: it waited while a snapshot was taken.
func (f *Follower) feed(vm string, r raw) {
	if r.Sequence <= f.cursor.Tick.Sequence {
		return
	}
	_, register, err := readRegister(r)
	if err != nil {
		f.quarantine(r, events.SubjectVM(vm), err)
		register = nil
	}
	f.pending[vm] = staged{raw: r, link: r.link(), register: register}
}

// tick closes a command: everything of it must be here, and nothing between
// it and the command before.
func (f *Follower) tick(r raw) error {
	if r.Sequence <= f.cursor.Tick.Sequence {
		return nil
	}
	m, register, err := readRegister(r)
	if err != nil {
		f.quarantine(r, events.SubjectHV(f.hypervisor), err)
		return fmt.Errorf("tick %d can't be read: %w", r.Sequence, err)
	}
	if err := follows(m, f.cursor.Tick); err != nil {
		return err
	}
	for _, c := range m.Feed {
		if s, ok := f.pending[c.VM]; !ok || s.link.Hash != c.Hash {
			return fmt.Errorf("tick %d covers a message of guest %q that isn't here", r.Sequence, c.VM)
		}
	}
	changed := f.put(events.SubjectHV(f.hypervisor), register)
	for _, c := range m.Feed {
		if s := f.pending[c.VM]; s.register != nil {
			changed = f.put(events.SubjectVM(c.VM), s.register) || changed
		}
		delete(f.pending, c.VM)
	}
	f.dropPending(r.Sequence)
	f.cursor.Tick = r.link()
	f.status.Registered = true
	if changed {
		f.received(r.Time)
		f.signal()
	}
	return nil
}

// put makes a register known, and good what was quarantined for it before. Of
// what has ended nothing is kept: the cursor keeps older messages of it out, and
// guests come and go for as long as an agent runs.
func (f *Follower) put(subject string, r projector.Register) bool {
	changed := f.state.Put(subject, r)
	f.state.Release(subject, r.Sequence())
	if changed && !r.Exists() {
		f.state.Forget(subject)
		f.ended[subject] = true
	}
	return changed
}

// dropPending sets aside what was written before a sequence and no tick covers.
func (f *Follower) dropPending(sequence uint64) {
	for vm, s := range f.pending {
		if s.raw.Sequence > sequence {
			continue
		}
		if s.register != nil {
			f.quarantine(s.raw, events.SubjectVM(vm), errors.New("no tick covers this message, so no command wrote it"))
		}
		delete(f.pending, vm)
	}
}

// netTick carries the change of one network.
func (f *Follower) netTick(r raw) error {
	if r.Sequence <= f.cursor.NetTick.Sequence {
		return nil
	}
	m, subject, register, err := readNetTick(r)
	if err != nil {
		f.quarantine(r, subject, err)
		return fmt.Errorf("network tick %d can't be read: %w", r.Sequence, err)
	}
	if err := follows(m, f.cursor.NetTick); err != nil {
		return err
	}
	if !register.Exists() {
		if vm := f.inNetwork(subject); vm != "" {
			return fmt.Errorf("network tick %d ends a network that guest %q of this hypervisor is in", r.Sequence, vm)
		}
	}
	changed := f.put(subject, register)
	f.cursor.NetTick = r.link()
	if changed {
		f.received(r.Time)
		f.signal()
	}
	return nil
}

// inNetwork names a guest that is known here in the network under a subject, of
// which there is none left when the network ends: the log sees to that.
func (f *Follower) inNetwork(subject string) string {
	for _, g := range f.state.Guests() {
		for _, i := range g.Interfaces {
			if events.SubjectNet(i.Network) == subject {
				return g.VM
			}
		}
	}
	return ""
}

// readNetTick decodes a tick of all networks. It holds the register of the
// network that its event names.
func readNetTick(r raw) (message, string, projector.Register, error) {
	m, err := decode(r)
	if err != nil {
		return m, r.Subject, nil, err
	}
	e, err := m.decodeEvent()
	if err != nil {
		return m, r.Subject, nil, err
	}
	var name string
	switch d := e.Data.(type) {
	case *events.NetworkDefined:
		name = d.Network
	case *events.NetworkRemoved:
		name = d.Network
	default:
		return m, r.Subject, nil, fmt.Errorf("a %s is no change of a network", m.Type)
	}
	subject := events.SubjectNet(name)
	m.Subject = events.Subject{Kind: events.KindNet, Name: name}
	register, err := m.register(subject)
	return m, subject, register, err
}

// follows checks that a message names the one before it.
func follows(m message, last Link) error {
	switch {
	case m.Prev == nil:
		return fmt.Errorf("message %d doesn't name the one before it", m.Sequence)
	case *m.Prev != last:
		return fmt.Errorf("message %d follows %d, and the last one here is %d", m.Sequence, m.Prev.Sequence, last.Sequence)
	}
	return nil
}

func (f *Follower) quarantine(r raw, entity string, reason error) {
	f.log.Warn("a message of the log can't be used", "sequence", r.Sequence, "subject", r.Subject, "reason", reason)
	f.state.Quarantine(quarantined(r, entity, reason))
}
