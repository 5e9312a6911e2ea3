package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// Change is one message of a register or of a tick: the event that wrote it,
// and what the subject says from then on. Its Entry has the sequence of the
// event, which is that of the message minus its place in the batch.
type Change struct {
	Entry
	// Register is the value from then on; one that has ended doesn't Exist. It
	// is nil where Err is set, and on hr.net, which is no register.
	Register projector.Register
	// Guests are those whose duties on a hypervisor the event changed, on the
	// tick of that hypervisor.
	Guests []string
	// Broken says why the message isn't the one that was stored behind the one
	// before it in the history: something between them is lost or altered.
	Broken error
}

// fileSize is how much of a stream the server keeps in one file, in bytes. To
// find a message by its sequence it reads one of them, 10 to 30 ms if it wasn't
// read lately; to search by subject, all that are between two messages of it.
const fileSize = 8 << 20

// Histories reads what was ever written to the given subjects, each oldest
// first. A subject may be literal, as from [events.SubjectVM], or have "*" for
// a whole token, as [events.SubjectIP] makes it for all VRFs. Subjects that
// nobody wrote to aren't in the answer.
//
// The work follows these histories, not the log: the last message of a subject
// is known to the server, and every message of a register names the one before
// it. Only where that chain is broken, or very long, is the log searched for
// the rest, which takes the server a look into each of its files.
func (l *Ledger) Histories(ctx context.Context, subjects ...string) (map[string][]Change, error) {
	all := map[string][]Change{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxReads)
	for _, pattern := range subjects {
		group.Go(func() error {
			totals, files, err := l.get.totals(ctx, pattern)
			if err != nil {
				return err
			}
			for subject, total := range totals {
				list, err := l.get.chain(ctx, subject, total, files)
				if err != nil {
					return explain(l.nc, err)
				}
				mu.Lock()
				all[subject] = changes(list)
				mu.Unlock()
			}
			return nil
		})
	}
	return all, group.Wait()
}

// totals counts the messages of each subject that matches a pattern, and the
// files of the whole stream.
func (g getter) totals(ctx context.Context, pattern string) (totals map[string]uint64, files uint64, err error) {
	info, err := patiently(ctx, g.timeout, func(ctx context.Context) (*jetstream.StreamInfo, error) {
		return g.stream.Info(ctx, jetstream.WithSubjectFilter(pattern))
	})
	if err != nil {
		return nil, 0, fmt.Errorf("counting the messages of %s: %w", pattern, err)
	}
	return info.State.Subjects, info.State.Bytes/fileSize + 1, nil
}

// chain reads the messages of a literal subject, oldest first, of which there
// are at least total. Where the files are fewer it searches those.
func (g getter) chain(ctx context.Context, subject string, total, files uint64) ([]raw, error) {
	if total > fewReads && total > files {
		return g.search(ctx, subject, 0)
	}
	found, err := g.last(ctx, subject)
	if err != nil {
		return nil, err
	}
	var walked []raw // newest first
	for r, ok := found[subject]; ok; {
		walked = append(walked, r)
		prev := prevOf(r)
		if prev != nil && prev.Sequence == 0 {
			break
		}
		if r, ok, err = g.before(ctx, r, prev); err != nil {
			return nil, err
		}
		if !ok {
			older, err := g.search(ctx, subject, walked[len(walked)-1].Sequence)
			slices.Reverse(walked)
			return append(older, walked...), err
		}
	}
	if uint64(len(walked)) < total { // somebody wrote past the chain
		return g.search(ctx, subject, 0)
	}
	slices.Reverse(walked)
	return walked, nil
}

// prevOf is what a message names as the one before it; nil: nothing sensible.
func prevOf(r raw) *Link {
	m, err := decode(r)
	if err != nil || m.Prev == nil || m.Prev.Sequence >= r.Sequence {
		return nil
	}
	return m.Prev
}

// before reads the message that r names as the one before it; not ok: it isn't
// there as it was when r was written.
func (g getter) before(ctx context.Context, r raw, prev *Link) (raw, bool, error) {
	if prev == nil {
		return raw{}, false, nil
	}
	p, ok, err := g.one(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return g.stream.GetMsg(ctx, prev.Sequence)
	})
	if err != nil {
		return raw{}, false, fmt.Errorf("reading the history of %s: %w", r.Subject, err)
	}
	return p, ok && p.Subject == r.Subject, nil
}

// search reads the history of a literal subject up to a sequence that it
// excludes; 0: all of it.
func (g getter) search(ctx context.Context, subject string, end uint64) ([]raw, error) {
	var list []raw
	err := g.history(ctx, subject, func(r raw) bool {
		if end > 0 && r.Sequence >= end {
			return false
		}
		list = append(list, r)
		return true
	})
	return list, err
}

// changes decodes a whole history and checks its chain.
func changes(list []raw) []Change {
	all := make([]Change, len(list))
	links := newChain(true)
	for i, r := range list {
		c, m := changeOf(r)
		if b := links.follow(r, m); b != nil {
			c.Broken = errors.New(Finding{Kind: b.Kind, Sequence: b.Sequence, Reason: b.Reason}.String())
		}
		links.last[r.Subject] = placeOf(r) // the first one, too, if it can't be read
		all[i] = c
	}
	return all
}

// changeOf reads one message of a history.
func changeOf(r raw) (Change, message) {
	m, err := decode(r)
	sequence := r.Sequence
	if err == nil {
		sequence = m.event()
	}
	c := Change{Entry: entryOf(r, m, sequence, err)}
	if c.Err != nil {
		return c, m
	}
	if m.Subject.Kind != events.KindNetTick {
		if c.Register, c.Err = m.register(r.Subject); c.Err != nil {
			c.Register = nil
		}
	}
	for _, f := range m.Feed {
		c.Guests = append(c.Guests, f.VM)
	}
	return c, m
}

// SequenceBefore turns a moment into a place in the log, so that its order
// decides from there on and not a clock: the sequence of the last message that
// was stored before t, 0 where there is none. Events with a sequence up to it
// had happened, the others had not.
func (l *Ledger) SequenceBefore(ctx context.Context, t time.Time) (uint64, error) {
	last, err := l.LastSequence(ctx)
	if err != nil {
		return 0, err
	}
	low, high := uint64(0), last // what is up to low was stored before t, what is behind high wasn't
	for low < high {
		middle := low + (high-low+1)/2
		r, ok, err := l.get.one(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
			return l.ledger.GetMsg(ctx, middle, jetstream.WithGetMsgSubject(events.SubjectAll)) // it, or the next if it is lost
		})
		if err != nil {
			return 0, fmt.Errorf("looking for %s in the log: %w", t.Format(time.RFC3339), explain(l.nc, err))
		}
		if ok && r.Time.Before(t) {
			low = max(middle, min(r.Sequence, high))
		} else {
			high = middle - 1
		}
	}
	return low, nil
}
