package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// getRequest asks for stored messages by Direct Get (NATS ADR-31).
type getRequest struct {
	Sequence  uint64   `json:"seq,omitempty"`
	Batch     int      `json:"batch,omitempty"`
	NextFor   string   `json:"next_by_subj,omitempty"`
	MultiLast []string `json:"multi_last,omitempty"`
}

// maxSubjects is how many subjects one request names; the server answers with
// at most 1,024 messages.
const maxSubjects = 500

var errTooManySubjects = errors.New("more subjects match than one answer may have")

// getter reads stored messages without a consumer.
type getter struct {
	nc      *nats.Conn
	stream  string
	timeout time.Duration
}

// last finds the last message of each of the subjects, which may be patterns.
// A subject without one isn't in the answer.
func (g getter) last(ctx context.Context, subjects ...string) (map[string]raw, error) {
	found := map[string]raw{}
	for len(subjects) > 0 {
		n := min(len(subjects), maxSubjects)
		list, err := g.get(ctx, getRequest{MultiLast: subjects[:n]})
		if err != nil {
			return nil, fmt.Errorf("reading the last messages of %d subjects such as %s: %w", n, subjects[0], err)
		}
		for _, r := range list {
			found[r.Subject] = r
		}
		subjects = subjects[n:]
	}
	return found, nil
}

// history calls fn for every message of a literal subject, oldest first, until
// it answers false.
func (g getter) history(ctx context.Context, subject string, fn func(raw) bool) error {
	const batch = 256
	for next := uint64(1); ; {
		list, err := g.get(ctx, getRequest{NextFor: subject, Sequence: next, Batch: batch})
		if err != nil {
			return fmt.Errorf("reading the history of %s: %w", subject, err)
		}
		for _, r := range list {
			if !fn(r) {
				return nil
			}
			next = r.Sequence + 1
		}
		if len(list) < batch {
			return nil
		}
	}
}

// get sends one request and collects its answer, which ends with a status.
func (g getter) get(ctx context.Context, request getRequest) ([]raw, error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	payload, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	inbox := g.nc.NewInbox()
	sub, err := g.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // nothing to do about it
	if err := g.nc.PublishRequest("$JS.API.DIRECT.GET."+g.stream, inbox, payload); err != nil {
		return nil, err
	}
	var list []raw
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, err
		}
		if status := m.Header.Get("Status"); status != "" && added(m.Header, nats.JSSequence) == "" {
			return list, getStatus(status, m.Header.Get("Description"))
		}
		r, err := stored(m)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
}

func getStatus(status, description string) error {
	switch {
	case status == "204", status == "404" && description != "Message Not Found":
		return nil
	case status == "413":
		return errTooManySubjects
	case status == "503":
		return nats.ErrNoResponders
	}
	return fmt.Errorf("the server answers %s %s", status, description)
}

// stored reads a message that carries its place in the stream in headers, as
// those of Direct Get and of a republishing stream do.
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
