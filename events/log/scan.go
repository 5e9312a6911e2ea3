package log

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// scan reads a stream through a consumer of its own.
type scan struct {
	stream   jetstream.Stream
	subjects []string  // filters; none: everything
	from     uint64    // first sequence; 0: the first there is
	since    time.Time // first time, where from is 0
	last     bool      // the last message of each subject only
	follow   bool      // wait for more
	timeout  time.Duration
}

const (
	fetchSize   = 500
	followFetch = 20 * time.Second
)

// errStop ends a scan early; it isn't handed on.
var errStop = errors.New("stop")

// run calls fn for each message in order. Without follow it ends at what was
// there when it began. It never waits for the number of pending messages to
// become zero: a damaged message is skipped by the server and counted for
// ever. A fetch that brings nothing within the timeout is the end as well.
func (s scan) run(ctx context.Context, fn func(raw) error) error {
	var target uint64
	deadline := time.Now().Add(s.timeout)
	for next := s.from; ; {
		reached, last, err := s.pass(ctx, next, fn)
		if target == 0 {
			target = last
		}
		if reached > next {
			next, deadline = reached, time.Now().Add(s.timeout)
		}
		switch {
		case errors.Is(err, errStop):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && !s.follow && (!s.sequential() || target == 0 || next > target || time.Now().After(deadline)):
			return nil
		case err != nil && (!transient(err) || !s.follow && time.Now().After(deadline)):
			return fmt.Errorf("reading stream %s: %w", s.stream.CachedInfo().Config.Name, err)
		}
		// The consumer is lost, as after a restart of the server, or reads a
		// replica that is behind: another goes on where this one ended.
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// sequential tells whether the scan must meet every sequence up to the last.
func (s scan) sequential() bool { return !s.last && len(s.subjects) == 0 && s.since.IsZero() }

// pass reads with one consumer. It tells where the next has to begin, and the
// last sequence of the stream when it began.
func (s scan) pass(ctx context.Context, from uint64, fn func(raw) error) (next, target uint64, err error) {
	info, err := s.info(ctx)
	if err != nil {
		return from, 0, err
	}
	target = info.State.LastSeq
	c, err := s.consumer(ctx, from)
	if err != nil {
		return from, target, err
	}
	defer s.drop(ctx, c)
	pending := c.CachedInfo().NumPending
	for s.follow || pending > 0 {
		n, wait := fetchSize, followFetch
		if !s.follow {
			n, wait = int(min(pending, fetchSize)), s.timeout
		}
		before := from
		from, pending, err = s.fetch(ctx, c, n, wait, from, fn)
		if err != nil {
			return from, target, err
		}
		if !s.follow && (from == before || from > target) {
			break
		}
	}
	return from, target, nil
}

// fetch reads up to n messages.
func (s scan) fetch(ctx context.Context, c jetstream.Consumer, n int, wait time.Duration, from uint64, fn func(raw) error) (uint64, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	batch, err := c.Fetch(n, jetstream.FetchContext(ctx))
	if err != nil {
		return from, 0, err
	}
	var pending uint64
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return from, 0, err
		}
		r := raw{Subject: m.Subject(), Sequence: meta.Sequence.Stream, Time: meta.Timestamp, Header: stripped(m.Headers()), Body: m.Data()}
		pending = meta.NumPending
		if err := fn(r); err != nil {
			return from, pending, err
		}
		from = r.Sequence + 1
	}
	if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return from, pending, err
	}
	return from, pending, nil
}

func (s scan) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.stream.Info(ctx)
}

func (s scan) consumer(ctx context.Context, from uint64) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	cfg := jetstream.ConsumerConfig{
		FilterSubjects:    s.subjects,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: time.Minute,
		MemoryStorage:     true,
		Replicas:          1,
	}
	switch {
	case s.last:
		cfg.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
		if len(s.subjects) == 0 {
			cfg.FilterSubjects = []string{">"}
		}
	case from > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
	case !s.since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.since
	}
	return s.stream.CreateConsumer(ctx, cfg)
}

// drop removes the consumer; one that can't be removed ends by itself.
func (s scan) drop(ctx context.Context, c jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = s.stream.DeleteConsumer(ctx, c.CachedInfo().Name)
}

// transient tells errors that a new consumer gets over.
func transient(err error) bool {
	for _, gone := range []error{
		jetstream.ErrConsumerDeleted, jetstream.ErrConsumerNotFound, jetstream.ErrNoHeartbeat,
		jetstream.ErrConnectionClosed, jetstream.ErrServerShutdown, context.DeadlineExceeded,
	} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return isUnavailable(err)
}
