package log

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/migrations"
	"github.com/hostroute/hostroute/projector"
)

// VerifyOptions of [Ledger.Verify].
type VerifyOptions struct {
	// Checkpoints are what the log must have been, see [Checkpoint].
	Checkpoints []Checkpoint
	// Progress is told from time to time how far it is; nil: nobody is.
	Progress func(done, last uint64)
}

// Verified says what a verification covered.
type Verified struct {
	Ledger   string `json:"ledger"` // see Ledger.Identity
	Messages uint64 `json:"messages"`
	Events   uint64 `json:"events"`
	Last     uint64 `json:"last"` // sequence of the last message
	Findings uint64 `json:"findings"`
	// Checkpoint is that of all there is; Size is 0 where something is missing.
	Checkpoint Checkpoint `json:"checkpoint"`
}

// Verify reads all of the log and reports whatever isn't as it must be: that
// every sequence is there, every chain unbroken, every event complete, and every
// message what follows from the events before it by package projector. It goes
// on after a finding. An error is one that kept it from reading.
//
// What it can't see by itself: an end that is cut off between two events, and a
// history that somebody with all rights has written anew from some event on.
// Checkpoints that were kept elsewhere show both.
func (l *Ledger) Verify(ctx context.Context, o VerifyOptions, report func(Finding)) (Verified, error) {
	v := newVerifier(l.Identity(), o.Checkpoints, report)
	last, err := l.LastSequence(ctx)
	if err != nil {
		return v.verified, err
	}
	s := scan{stream: l.ledger, from: 1, timeout: l.timeout}
	err = s.run(ctx, func(r raw) error {
		if o.Progress != nil && r.Sequence%1000 == 0 {
			o.Progress(r.Sequence, last)
		}
		if err := l.verifySkipped(ctx, v, r.Sequence); err != nil {
			return err
		}
		v.message(r)
		return nil
	})
	if err == nil {
		err = l.verifySkipped(ctx, v, last+1)
	}
	if err != nil {
		return v.verified, fmt.Errorf("verifying the log: %w", explain(l.nc, err))
	}
	v.end()
	err = l.verifyMirror(ctx, v)
	return v.verified, err
}

// verifySkipped asks the leader for what a reader wasn't given before a sequence:
// it reads one copy of the log, and another may have it.
func (l *Ledger) verifySkipped(ctx context.Context, v *verifier, before uint64) error {
	for v.next < before {
		r, ok, err := l.get.one(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) { return l.ledger.GetMsg(ctx, v.next) })
		switch {
		case err != nil:
			return fmt.Errorf("asking for message %d: %w", v.next, err)
		case ok:
			v.find(Finding{Kind: FindingCopy, Sequence: v.next, Subject: r.Subject, Reason: "the copy of the log that was read lacks it; the leader has it"})
			v.message(r)
		default:
			v.missing(v.next)
		}
	}
	return nil
}

// verifyMirror looks whether the mirror of the feeds, which snapshots are made
// from, has the newest message of every guest of every hypervisor; and no later
// one, as it has when the end of the ledger is lost.
func (l *Ledger) verifyMirror(ctx context.Context, v *verifier) error {
	deadline := time.Now().Add(l.timeout)
	for {
		found, err := l.mirrorFindings(ctx, v)
		if err != nil {
			return fmt.Errorf("verifying the mirror of the feeds: %w", explain(l.nc, err))
		}
		if len(found) > 0 && time.Now().Before(deadline) { // it may be behind for a moment
			if err := pause(ctx, 100*time.Millisecond); err != nil {
				return err
			}
			continue
		}
		for _, f := range found {
			v.find(f)
		}
		return nil
	}
}

func (l *Ledger) mirrorFindings(ctx context.Context, v *verifier) (found []Finding, err error) {
	missing := maps.Clone(v.feeds)
	end, err := l.LastSequence(ctx)
	if err != nil {
		return nil, err
	}
	s := scan{stream: l.feeds, last: true, timeout: l.timeout}
	err = s.run(ctx, func(r raw) error {
		must, known := missing[r.Subject]
		switch {
		case r.Sequence > end:
			found = append(found, Finding{Kind: FindingLost, Sequence: r.Sequence, Subject: r.Subject, Reason: "the mirror of the feeds has it, and the log ends before it"})
		case r.Sequence > v.verified.Last: // it was published meanwhile
		case known && placeOf(r) != must:
			found = append(found, Finding{Kind: FindingCopy, Sequence: must.sequence, Subject: r.Subject,
				Reason: fmt.Sprintf("in its place the mirror of the feeds has #%d, with the hash %s; "+remedyMirror, r.Sequence, r.link().Hash)})
		}
		delete(missing, r.Subject)
		return nil
	})
	for _, subject := range slices.Sorted(maps.Keys(missing)) {
		found = append(found, Finding{Kind: FindingCopy, Sequence: missing[subject].sequence, Subject: subject, Reason: "the mirror of the feeds lacks it; " + remedyMirror})
	}
	return found, err
}

const remedyMirror = "delete the stream " + migrations.Feeds + " and start the log service again, which makes it anew"

// verifier holds every message against those before it.
type verifier struct {
	report   func(Finding)
	verified Verified
	state    *projector.State
	chain    *chain
	tree     tree
	next     uint64 // the sequence to come
	gap      Finding
	feeds    map[string]place  // the newest by subject
	batch    []verifiedMessage // the event that is being read
	wanted   []Checkpoint
}

func newVerifier(ledger string, wanted []Checkpoint, report func(Finding)) *verifier {
	v := &verifier{report: report, state: projector.New(), chain: newChain(true), next: 1, feeds: map[string]place{}, wanted: slices.Clone(wanted)}
	v.verified.Ledger = ledger
	slices.SortStableFunc(v.wanted, func(a, b Checkpoint) int { return int(a.Size) - int(b.Size) })
	return v
}

func (v *verifier) find(f Finding) {
	v.verified.Findings++
	v.report(f)
}

// missing notes that a sequence isn't there; neighbours are one finding.
func (v *verifier) missing(sequence uint64) {
	if v.gap.Kind == "" {
		v.gap = Finding{Kind: FindingMissing, Sequence: sequence, Reason: "the log has nothing there"}
	}
	v.gap.Through = sequence
	v.next, v.tree.holed = sequence+1, true
}

func (v *verifier) endGap() {
	if v.gap.Kind != "" {
		v.find(v.gap)
		v.gap = Finding{}
	}
}

// message takes the next message that is there.
func (v *verifier) message(r raw) {
	v.endGap()
	v.next, v.verified.Last = r.Sequence+1, r.Sequence
	v.verified.Messages++
	v.tree.add(placeOf(r), r.Time)
	v.atCheckpoint()
	m, err := decode(r)
	if err != nil {
		v.find(Finding{Kind: FindingUnreadable, Sequence: r.Sequence, Subject: r.Subject, Reason: err.Error()})
		m.Prev = nil
	}
	if wrong := v.chain.follow(r, m); wrong != nil {
		v.find(Finding{Kind: wrong.Kind, Sequence: wrong.Sequence, Subject: r.Subject, Reason: wrong.Reason})
	}
	if m.Subject.Kind == events.KindFeed {
		v.feeds[r.Subject] = placeOf(r)
	}
	if err == nil {
		v.collect(verifiedMessage{raw: r, m: m, link: r.link()})
	}
}

// end takes the end of the log.
func (v *verifier) end() {
	v.endBatch()
	v.endGap()
	for _, c := range v.wanted {
		v.find(Finding{Kind: FindingRewritten, Sequence: v.tree.size + 1, Through: c.Size,
			Reason: fmt.Sprintf("a checkpoint says that the log had %d messages; it has %d", c.Size, v.tree.size)})
	}
	if !v.tree.holed {
		v.verified.Checkpoint = v.checkpoint()
	}
}

// atCheckpoint compares the tree with the checkpoints of its size.
func (v *verifier) atCheckpoint() {
	for len(v.wanted) > 0 && v.wanted[0].Size <= v.tree.size {
		c := v.wanted[0]
		v.wanted = v.wanted[1:]
		// A copy, as of a backup, is another log with the same history.
		if have := v.checkpoint(); c.Size != have.Size || c.Root != have.Root {
			v.find(Finding{Kind: FindingRewritten, Sequence: 1, Through: c.Size,
				Reason: fmt.Sprintf("a checkpoint of log %s says that the hash of these was %s; in log %s it is %s", c.Ledger, c.Root, have.Ledger, have.Root)})
		}
	}
}

func (v *verifier) checkpoint() Checkpoint {
	return Checkpoint{Ledger: v.verified.Ledger, Size: v.tree.size, Root: v.tree.root()}
}
