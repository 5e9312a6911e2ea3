package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// The headers of JetStream that a batch needs (NATS ADR-50).
const (
	headerBatchID       = "Nats-Batch-Id"
	headerBatchSequence = "Nats-Batch-Sequence"
	headerBatchCommit   = "Nats-Batch-Commit"
	headerGuardSubject  = "Nats-Expected-Last-Subject-Sequence-Subject"
)

// batch makes the messages of a decision, with everything in them that they
// must name and everything on them that the server must check.
func (v *view) batch(ctx context.Context, d projector.Decision) ([]*nats.Msg, error) {
	var chained []string
	for _, m := range d.Messages {
		if m.Chained {
			chained = append(chained, m.Subject)
		}
	}
	if err := v.look(ctx, slices.Concat(chained, d.Guards)); err != nil {
		return nil, err
	}
	data, err := json.Marshal(d.Event.Data)
	if err != nil {
		return nil, fmt.Errorf("encoding the data of a %s: %w", d.Event.Type(), err)
	}
	msgs := make([]*nats.Msg, len(d.Messages))
	hashes := map[string]string{} // of the feed messages, by subject
	shared := headersOf(d.Event)
	for i, m := range d.Messages {
		msg, err := v.message(m, data, shared, i, hashes)
		if err != nil {
			return nil, err
		}
		msgs[i] = msg
	}
	return msgs, v.guard(ctx, d, msgs)
}

// message makes one message of a batch.
func (v *view) message(m projector.Message, data []byte, shared nats.Header, offset int, hashes map[string]string) (*nats.Msg, error) {
	state, err := projector.EncodeRegister(m.State)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", m.Subject, err)
	}
	b := body{Data: data, State: state}
	h := maps.Clone(shared)
	h[headerOffset] = []string{strconv.Itoa(offset)}
	if m.Chained {
		b.Prev = v.prev(m.Subject)
		h[nats.ExpectedLastSubjSeqHdr] = []string{strconv.FormatUint(b.Prev.Sequence, 10)}
	}
	for _, vm := range m.Feed {
		hypervisor := strings.TrimPrefix(m.Subject, events.SubjectTick(""))
		b.Feed = append(b.Feed, covered{VM: vm, Hash: hashes[events.SubjectFeed(hypervisor, vm)]})
	}
	payload, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", m.Subject, err)
	}
	if limit := largest(m.Subject, v.ledger.nc.MaxPayload()); int64(len(payload)) > limit {
		return nil, &events.Error{Code: events.CodeTooLarge, Field: "message " + m.Subject, Value: strconv.Itoa(len(payload)),
			Reason: fmt.Sprintf("bytes; one message of the log has at most %d", limit)}
	}
	if !m.Chained {
		hashes[m.Subject] = hashOf(m.Subject, h, payload)
	}
	return &nats.Msg{Subject: m.Subject, Header: h, Data: payload}, nil
}

// headerRoom is what is left of the largest message for headers, ours and
// those that the server adds when it republishes.
const headerRoom = 4096

// largest is how long the body of a message may be, in bytes. All but the
// registers of VRFs must fit into a part of a snapshot, in JSON and Base64.
func largest(subject string, maxPayload int64) int64 {
	if strings.HasPrefix(subject, events.SubjectVRF("")) {
		return maxPayload - headerRoom
	}
	return (maxPayload - 3*headerRoom) / 4 * 3
}

// send publishes the messages as one atomic batch and tells what became of
// it. Sequence is that of the first message.
func (l *Ledger) send(ctx context.Context, msgs []*nats.Msg) (uint64, outcome, error) {
	id := nuid.Next()
	for i, m := range msgs {
		m.Header[headerBatchID] = []string{id}
		m.Header[headerBatchSequence] = []string{strconv.Itoa(i + 1)}
		if i < len(msgs)-1 {
			if err := l.nc.PublishMsg(m); err != nil {
				return 0, outcomeRefused, err // without its end the batch is never stored
			}
		}
	}
	commit := msgs[len(msgs)-1]
	commit.Header[headerBatchCommit] = []string{"1"}
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	reply, err := l.nc.RequestMsgWithContext(ctx, commit)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return 0, outcomeBusy, err
	case err != nil:
		return 0, outcomeUnknown, err
	}
	var ack struct {
		Error    *jetstream.APIError `json:"error"`
		Sequence uint64              `json:"seq"`
		Count    uint64              `json:"count"`
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return 0, outcomeUnknown, fmt.Errorf("reading the server's answer: %w", err)
	}
	if ack.Error != nil {
		return 0, outcomeOf(ack.Error.ErrorCode), ack.Error
	}
	if ack.Count != uint64(len(msgs)) || ack.Sequence < ack.Count {
		return 0, outcomeUnknown, fmt.Errorf("the server stored %d messages of %d", ack.Count, len(msgs))
	}
	return ack.Sequence - ack.Count + 1, outcomeStored, nil
}
