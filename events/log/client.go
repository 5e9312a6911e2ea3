package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/hostroute/hostroute/events"
)

// Client publishes through the log service. It needs no rights but those to
// ask it and to hear the answer.
type Client struct {
	nc      *nats.Conn
	timeout time.Duration
}

// errUnavailable: the log service answers that it can't publish just now, as
// when it is stopped or the log has no leader.
var errUnavailable = errors.New("the log service can't publish just now")

// The pauses before a service is asked again that is unavailable: about 6 s in
// all, which a restart of it takes at most.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 3200 * time.Millisecond
)

// NewClient makes a client. The timeout is that of one request, 30 s by
// default: the service itself tries for a while.
func NewClient(nc *nats.Conn, timeout time.Duration) *Client {
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	return &Client{nc: nc, timeout: timeout}
}

// Publish stores one event as [Ledger.Publish] does, with the same errors. An
// answer that got lost is resolved by asking again with the same id.
func (c *Client) Publish(ctx context.Context, e events.Event) (Stored, error) {
	if err := e.Validate(); err != nil {
		return Stored{}, err
	}
	given := e.ID != ""
	if !given {
		e.ID = nuid.Next()
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	payload, err := json.Marshal(e)
	if err != nil {
		return Stored{}, err
	}
	stored, err := c.request(ctx, payload)
	for pause := firstPause; errors.Is(err, errUnavailable) && pause <= lastPause; pause *= 2 {
		select {
		case <-ctx.Done():
			return Stored{}, ctx.Err()
		case <-time.After(pause):
		}
		stored, err = c.request(ctx, payload)
	}
	if errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		stored, err = c.request(ctx, payload)
		stored.Duplicate = stored.Duplicate && given
	}
	var bad *events.Error
	if err != nil && !errors.As(err, &bad) {
		err = fmt.Errorf("publishing %s %s: %w", e.Type(), e.ID, err)
	}
	return stored, err
}

func (c *Client) request(ctx context.Context, payload []byte) (Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	m, err := c.nc.RequestWithContext(ctx, SubjectPublish, payload)
	if errors.Is(err, nats.ErrNoResponders) {
		return Stored{}, noService(c.nc)
	}
	if err != nil {
		return Stored{}, fmt.Errorf("asking the log service: %w", explain(c.nc, err))
	}
	var reply publishReply
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return Stored{}, fmt.Errorf("reading the answer of the log service: %w", err)
	}
	switch {
	case reply.Error != nil && reply.Error.Code == codeUnavailable:
		return Stored{}, fmt.Errorf("%w: %s", errUnavailable, reply.Error.Reason)
	case reply.Error != nil:
		return Stored{}, reply.Error
	case reply.Stored == nil || reply.Sequence == 0:
		return Stored{}, errors.New("the log service answers without a sequence")
	}
	return *reply.Stored, nil
}

// noService says where nobody answers and what is to be done.
func noService(nc *nats.Conn) error {
	return fmt.Errorf("%w on %s: is `hostroute log serve` running?", ErrNoService, nc.ConnectedUrlRedacted())
}
