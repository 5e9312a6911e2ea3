package log

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/migrations"
)

// errNoCheckpoints: the log's layout is older than the stream of checkpoints.
var errNoCheckpoints = fmt.Errorf("this log has no stream %s yet; `hostroute migrate up` makes it", migrations.Checkpoints)

// PublishCheckpoint puts a signed checkpoint where all who may read the log see
// it. It is no substitute for keeping it elsewhere: who can destroy the log can
// destroy this too, but can't sign another.
func (l *Ledger) PublishCheckpoint(ctx context.Context, signed string) error {
	_, err := l.js.Publish(ctx, migrations.SubjectCheckpoint, []byte(signed), jetstream.WithExpectStream(migrations.Checkpoints))
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) {
		err = errNoCheckpoints
	}
	if err != nil {
		return fmt.Errorf("publishing the checkpoint: %w", explain(l.nc, err))
	}
	return nil
}

// PublishedCheckpoints reads what was published that way and is signed by the
// owner of the key, oldest first. Other auditors have keys of their own.
func (l *Ledger) PublishedCheckpoints(ctx context.Context, verifierKey string) (list []Checkpoint, err error) {
	stream, err := l.js.Stream(ctx, migrations.Checkpoints)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = errNoCheckpoints
	}
	if err != nil {
		return nil, fmt.Errorf("reading published checkpoints: %w", explain(l.nc, err))
	}
	// One by one, since auditors may have no consumer there: whoever can write to
	// a stream and have it delivered can write anywhere.
	g := getter{stream: stream, timeout: l.timeout}
	for next := uint64(1); ; {
		r, ok, err := g.one(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
			return stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(migrations.SubjectCheckpoint))
		})
		if err != nil {
			return nil, fmt.Errorf("reading published checkpoints: %w", explain(l.nc, err))
		}
		if !ok {
			return list, nil
		}
		next = r.Sequence + 1
		if c, err := OpenCheckpoint(string(r.Body), verifierKey); err == nil {
			list = append(list, c)
		}
	}
}
