package log

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// snapshot is a whole answer, checked.
type snapshot struct {
	messages []raw
	end      snapshotEnd
}

// ask requests a snapshot and collects its chunks.
func (f *Follower) ask(ctx context.Context, have Cursor) (snapshot, error) {
	payload, err := json.Marshal(have)
	if err != nil {
		return snapshot{}, err
	}
	if !f.nc.IsConnected() && !f.nc.IsClosed() {
		return snapshot{}, errNotConnected
	}
	inbox := f.nc.NewInbox()
	sub, err := f.nc.SubscribeSync(inbox)
	if err != nil {
		return snapshot{}, fmt.Errorf("asking for a snapshot: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone
	if err := f.nc.PublishMsg(&nats.Msg{Subject: SubjectSnapshot + f.hypervisor, Reply: inbox, Data: payload,
		Header: nats.Header{headerAsker: {f.asker}}}); err != nil {
		return snapshot{}, fmt.Errorf("asking for a snapshot: %w", explain(f.nc, err))
	}
	var s snapshot
	for index := 0; ; index++ {
		c, err := f.chunk(ctx, sub, index)
		for err == nil && c.Wait {
			c, err = f.chunk(ctx, sub, index)
		}
		if err != nil {
			return snapshot{}, fmt.Errorf("reading a snapshot: %w", err)
		}
		for _, w := range c.Messages {
			s.messages = append(s.messages, w.raw())
		}
		if c.End != nil {
			s.end = *c.End
			return s, s.check()
		}
	}
}

func (f *Follower) chunk(ctx context.Context, sub *nats.Subscription, index int) (snapshotChunk, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	m, err := sub.NextMsgWithContext(ctx)
	switch {
	case errors.Is(err, nats.ErrNoResponders), err == nil && m.Header.Get("Status") == "503":
		return snapshotChunk{}, noService(f.nc)
	case errors.Is(err, context.DeadlineExceeded):
		return snapshotChunk{}, fmt.Errorf("no answer within %s", f.timeout)
	case err != nil:
		return snapshotChunk{}, err
	}
	var c snapshotChunk
	if err := json.Unmarshal(m.Data, &c); err != nil {
		return c, err
	}
	if c.Error != nil {
		return c, fmt.Errorf("the log service: %s", c.Error.Reason)
	}
	if !c.Wait && c.Index != index {
		return c, fmt.Errorf("part %d arrived where part %d was due", c.Index, index)
	}
	return c, nil
}

// check holds the messages against what the end says about them.
func (s snapshot) check() error {
	sum := sha256.New()
	for _, r := range s.messages {
		sum.Write([]byte(hashOf(r.Subject, r.Header, r.Body)))
	}
	if s.end.Count != len(s.messages) || s.end.Hash != hex.EncodeToString(sum.Sum(nil)) {
		return fmt.Errorf("reading a snapshot: it isn't whole: %d messages of %d, or one of them is damaged", len(s.messages), s.end.Count)
	}
	return nil
}

// take makes a snapshot the follower's own.
func (f *Follower) take(s snapshot, doubts []chan struct{}) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	another := f.cursor.Ledger != "" && (f.cursor.Ledger != s.end.Ledger || s.end.Diverged)
	if another && !s.end.Registered && f.cursor.Tick.Sequence > 0 {
		return fmt.Errorf("the log made at %s isn't the one made at %s that this hypervisor followed, and doesn't know it; "+
			"it serves on from what it knows until it is registered there", s.end.Ledger, f.cursor.Ledger)
	}
	if another {
		f.log.Warn("this is another log than before; starting over", "before", f.cursor.Ledger, "now", s.end.Ledger, "diverged", s.end.Diverged)
		f.state, f.cursor, f.pending = projector.New(), Cursor{}, map[string]staged{}
	}
	if s.end.Tick.Sequence < f.cursor.Tick.Sequence || s.end.NetTick.Sequence < f.cursor.NetTick.Sequence {
		return fmt.Errorf("the log service is at sequence %d and %d, behind what this hypervisor has (%d and %d); it serves on from what it knows. If the log was restored from a backup, this ends with the next commands",
			s.end.Tick.Sequence, s.end.NetTick.Sequence, f.cursor.Tick.Sequence, f.cursor.NetTick.Sequence)
	}
	if !s.end.Unchanged {
		f.status.Snapshots++
		if f.replace(s) || another {
			f.signal()
		}
		f.cursor = Cursor{Ledger: s.end.Ledger, Tick: s.end.Tick, NetTick: s.end.NetTick}
		for vm, p := range f.pending {
			if p.raw.Sequence <= f.cursor.Tick.Sequence {
				delete(f.pending, vm)
			}
		}
	}
	f.behind = false
	f.status.Registered = s.end.Registered
	f.status.LastError = ""
	for _, answered := range doubts {
		close(answered)
	}
	if !f.status.InSync && len(f.doubts) == 0 {
		f.status.InSync, f.status.Since = true, time.Now()
	}
	f.once.Do(func() {
		close(f.inSync)
		f.signal() // also where nothing changed: what is known is now known to be right
	})
	return nil
}

// replace puts what the snapshot has and forgets what it would have if it
// were still there. It tells whether anything changed.
func (f *Follower) replace(s snapshot) (changed bool) {
	for _, q := range f.state.Quarantined() { // what still is comes with the snapshot
		upTo := s.end.Tick.Sequence
		if strings.HasPrefix(q.Subject, events.SubjectNetTick) {
			upTo = s.end.NetTick.Sequence
		}
		f.state.Release(q.Subject, upTo+1)
	}
	present := map[string]bool{}
	for _, r := range s.messages {
		subject, ok := f.entity(r.Subject)
		if !ok {
			continue
		}
		present[subject] = true
		_, register, err := readRegister(r)
		if err != nil {
			f.quarantine(r, subject, err)
			continue
		}
		changed = f.put(subject, register) || changed
	}
	absent := func(subject string, r projector.Register, upTo uint64) {
		switch {
		case present[subject] || r.Sequence() > upTo:
		case s.end.Ends:
			f.vanished(subject, r)
		default: // it isn't told what ended
			f.state.Forget(subject)
			changed = true
		}
	}
	for _, g := range f.state.Guests() {
		absent(events.SubjectVM(g.VM), g, s.end.Tick.Sequence)
	}
	for _, n := range f.state.Networks() {
		absent(events.SubjectNet(n.Network), n, s.end.NetTick.Sequence)
	}
	return changed
}

// vanished keeps what a snapshot lacks though nothing ended it: the log has lost
// a message.
func (f *Follower) vanished(subject string, r projector.Register) {
	reason := "the log doesn't have it any more, though nothing ended it: a message was lost; what is known of it is served on. See `hostroute audit verify`"
	f.log.Warn("the log lost a message", "subject", subject, "sequence", r.Sequence())
	f.state.Quarantine(projector.Quarantined{Sequence: r.Sequence(), Subject: subject, Reason: reason})
}

// entity is the register that a message of this hypervisor's snapshot sets.
func (f *Follower) entity(subject string) (string, bool) {
	s, err := events.ParseSubject(subject)
	switch {
	case err != nil:
		return "", false
	case s.Kind == events.KindFeed && s.Name == f.hypervisor:
		return events.SubjectVM(s.VM), true
	case s.Kind == events.KindTick && s.Name == f.hypervisor:
		return events.SubjectHV(s.Name), true
	case s.Kind == events.KindNet:
		return subject, true
	}
	return "", false
}
