package log

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// maxReads is how many single reads are under way at once.
const maxReads = 32

// getter reads single messages of a stream. Of the ledger it asks the leader,
// which has everything that was ever acknowledged.
type getter struct {
	stream  jetstream.Stream
	timeout time.Duration
}

// last finds the last message of each of the subjects, one after the other
// where there are few. A subject without one isn't in the answer.
func (g getter) last(ctx context.Context, subjects ...string) (map[string]raw, error) {
	found := map[string]raw{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxReads)
	for _, subject := range subjects {
		group.Go(func() error {
			r, ok, err := g.one(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
				return g.stream.GetLastMsgForSubject(ctx, subject)
			})
			if err != nil {
				return fmt.Errorf("reading the last message of %s: %w", subject, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if ok {
				found[subject] = r
			}
			return nil
		})
	}
	return found, group.Wait()
}

// fewReads is how many messages of a history are read one by one.
const fewReads = 32

// history calls fn for every message of a literal subject, oldest first, until
// it answers false. A long history is read through a consumer, many at once;
// that may be one of a copy which is behind, so the end is the leader's word.
func (g getter) history(ctx context.Context, subject string, fn func(raw) bool) error {
	more, next := true, uint64(1)
	each := func(r raw) bool {
		next, more = r.Sequence+1, fn(r)
		return more
	}
	for {
		for range fewReads {
			r, ok, err := g.one(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
				return g.stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(subject))
			})
			if err != nil {
				return fmt.Errorf("reading the history of %s: %w", subject, err)
			}
			if !ok || !each(r) {
				return nil
			}
		}
		s := scan{stream: g.stream, subjects: []string{subject}, from: next, timeout: g.timeout}
		if err := s.run(ctx, func(r raw) error {
			if !each(r) {
				return errStop
			}
			return nil
		}); err != nil {
			return fmt.Errorf("reading the history of %s: %w", subject, err)
		}
		if !more {
			return nil
		}
	}
}

func (g getter) one(ctx context.Context, get func(context.Context) (*jetstream.RawStreamMsg, error)) (raw, bool, error) {
	m, err := patiently(ctx, g.timeout, get)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return raw{}, false, nil
	}
	if err != nil {
		return raw{}, false, err
	}
	return raw{Subject: m.Subject, Sequence: m.Sequence, Time: m.Time, Header: stripped(m.Header), Body: m.Data}, true, nil
}

// patiently asks again while nobody answers, as happens in a cluster for the
// moment in which a stream has no leader.
func patiently[T any](ctx context.Context, timeout time.Duration, ask func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		answer, err := ask(ctx)
		if !errors.Is(err, nats.ErrNoResponders) || pause(ctx, 50*time.Millisecond) != nil {
			return answer, err
		}
	}
}

// subjects lists the subjects that match a pattern and have messages, sorted.
func (g getter) subjects(ctx context.Context, pattern string) ([]string, error) {
	info, err := patiently(ctx, g.timeout, func(ctx context.Context) (*jetstream.StreamInfo, error) {
		return g.stream.Info(ctx, jetstream.WithSubjectFilter(pattern))
	})
	if err != nil {
		return nil, fmt.Errorf("listing the subjects %s: %w", pattern, err)
	}
	var list []string
	for s := range info.State.Subjects {
		list = append(list, s)
	}
	slices.Sort(list)
	return list, nil
}

// lastUnder finds the last message of each subject under a pattern. The store
// that answers, a mirror or a replica, may be behind; a witness, the last
// message of its subject at some time, is therefore read along, and the answer
// counts only if the witness or a later message of its subject is in it. With
// from, subjects without a message since that sequence are left out.
func (l *Ledger) lastUnder(ctx context.Context, stream jetstream.Stream, pattern string, from uint64, witness raw) ([]raw, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	s := scan{stream: stream, subjects: []string{pattern}, from: from, last: from == 0, timeout: l.timeout}
	if witness.Sequence > 0 && !under(pattern, witness.Subject) {
		s.subjects = append(s.subjects, witness.Subject)
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		newest := map[string]raw{} // a copy that catches up meanwhile sends later ones too
		seen := witness.Sequence == 0
		err := s.run(ctx, func(r raw) error {
			seen = seen || r.Subject == witness.Subject && r.Sequence >= witness.Sequence
			if under(pattern, r.Subject) {
				newest[r.Subject] = r
			}
			return nil
		})
		if seen || err != nil {
			return slices.SortedFunc(maps.Values(newest), func(a, b raw) int { return cmp.Compare(a.Sequence, b.Sequence) }), err
		}
		if err := pause(ctx, wait); err != nil {
			return nil, fmt.Errorf("waiting for the copies of the log to reach sequence %d: %w", witness.Sequence, err)
		}
	}
}

// under tells whether a subject matches a pattern whose last token is "*".
func under(pattern, subject string) bool {
	rest, ok := strings.CutPrefix(subject, strings.TrimSuffix(pattern, "*"))
	return ok && !strings.Contains(rest, ".")
}

// stored reads a message that carries its place in the stream in headers, as
// those of a republishing stream do.
func stored(m *nats.Msg) (raw, error) {
	sequence, err := strconv.ParseUint(added(m.Header, nats.JSSequence), 10, 64)
	if err != nil {
		return raw{}, fmt.Errorf("message on %s without a sequence: %w", m.Subject, err)
	}
	at, err := time.Parse(time.RFC3339Nano, added(m.Header, nats.JSTimeStamp))
	if err != nil {
		return raw{}, fmt.Errorf("message %d without a time: %w", sequence, err)
	}
	return raw{
		Subject:  added(m.Header, nats.JSSubject),
		Sequence: sequence,
		Time:     at,
		Header:   stripped(m.Header),
		Body:     m.Data,
	}, nil
}

// added is a header that the server added: behind any of the same name that a
// publisher may have written.
func added(h nats.Header, name string) string {
	values := h[name]
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}
