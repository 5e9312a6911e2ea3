package log

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/migrations"
	"github.com/hostroute/hostroute/projector"
)

// The headers of a message: the CloudEvents attributes in binary mode, and how
// many messages back the first one of the batch is.
const (
	headerID          = "ce-id"
	headerType        = "ce-type"
	headerSource      = "ce-source"
	headerTime        = "ce-time"
	headerSpecVersion = "ce-specversion"
	headerDataVersion = "ce-dataversion"
	headerOffset      = "hr-offset"

	specVersion = "1.0"
)

// raw is a message as it is stored, whatever it says.
type raw struct {
	Subject  string
	Sequence uint64
	Time     time.Time // when it was stored
	Header   nats.Header
	Body     []byte
}

// Link names a message by its sequence and hash.
type Link struct {
	Sequence uint64 `json:"seq"`
	Hash     string `json:"hash,omitempty"`
}

// covered is a feed message that a tick speaks for.
type covered struct {
	VM   string `json:"vm"`
	Hash string `json:"hash"`
}

// body is the JSON of a message.
type body struct {
	Data  json.RawMessage `json:"data"`
	State json.RawMessage `json:"state"`
	Prev  *Link           `json:"prev,omitempty"`
	Feed  []covered       `json:"feed,omitempty"`
}

// message is a decoded message of the log.
type message struct {
	Subject  events.Subject
	Sequence uint64
	Offset   uint64
	ID       string
	Type     events.Type
	Source   string
	Time     time.Time
	Version  int
	body
}

// event is the sequence of the event that the message belongs to: that of the
// first message of its batch.
func (m message) event() uint64 { return m.Sequence - m.Offset }

// link names a raw message.
func (r raw) link() Link {
	return Link{Sequence: r.Sequence, Hash: hashOf(r.Subject, r.Header, r.Body)}
}

// decode reads a message and refuses what doesn't belong into the log. What it
// returns beside an error is what could be read.
func decode(r raw) (message, error) {
	m := message{
		Sequence: r.Sequence,
		ID:       r.Header.Get(headerID),
		Type:     events.Type(r.Header.Get(headerType)),
		Source:   r.Header.Get(headerSource),
	}
	var err error
	if m.Subject, err = events.ParseSubject(r.Subject); err != nil {
		return m, err
	}
	if err := m.readHeaders(r.Header); err != nil {
		return m, err
	}
	d := json.NewDecoder(bytes.NewReader(r.Body))
	if err := d.Decode(&m.body); err != nil {
		return m, fmt.Errorf("body is not that of an event: %w", err)
	}
	if d.InputOffset() != int64(len(r.Body)) || len(m.Data) == 0 || len(m.State) == 0 {
		return m, fmt.Errorf("body is not that of an event: data or state is missing, or something follows")
	}
	return m, nil
}

func (m *message) readHeaders(h nats.Header) error {
	if m.ID == "" || m.Type == "" {
		return fmt.Errorf("header %s or %s is missing", headerID, headerType)
	}
	if v := h.Get(headerSpecVersion); v != specVersion {
		return fmt.Errorf("header %s is %q; known is %s", headerSpecVersion, v, specVersion)
	}
	version := h.Get(headerDataVersion)
	var err error
	if m.Version, err = strconv.Atoi(version); err != nil || m.Version < 1 || strconv.Itoa(m.Version) != version {
		return fmt.Errorf("header %s is %q; it must be a number from 1 on", headerDataVersion, version)
	}
	if newest := m.Type.Version(); m.Version > newest {
		return fmt.Errorf("header %s is %d, and this release knows %s up to version %d: a newer one wrote it", headerDataVersion, m.Version, m.Type, newest)
	}
	if m.Time, err = time.Parse(time.RFC3339Nano, h.Get(headerTime)); err != nil {
		return fmt.Errorf("header %s: %w", headerTime, err)
	}
	offset := h.Get(headerOffset)
	if m.Offset, err = strconv.ParseUint(offset, 10, 32); err != nil {
		return fmt.Errorf("header %s is %q; it must be a number", headerOffset, offset)
	}
	if m.Offset >= projector.MaxBatch || (m.Sequence > 0 && m.Offset >= m.Sequence) {
		return fmt.Errorf("header %s is %d at sequence %d", headerOffset, m.Offset, m.Sequence)
	}
	return nil
}

// decodeEvent reads the event that the message belongs to.
func (m message) decodeEvent() (events.Event, error) {
	data, err := events.DecodeData(m.Type, m.Version, m.Data)
	if err != nil {
		return events.Event{}, err
	}
	e := events.Event{ID: m.ID, Source: m.Source, Time: m.Time, Data: data}
	return e, e.Validate()
}

// state is what the message says of a register, as the newest version of the
// schema has it. The subject is that of the register.
func (m message) state(subject string) (json.RawMessage, error) {
	if m.Version == m.Type.Version() {
		return m.State, nil
	}
	return migrations.UpcastState(string(m.Type), m.Version, subject, m.State)
}

// firstOf reads the event and, where the message says that it is the first of
// its batch, checks that it is where first messages are: in the register that
// the event is about.
func (m message) firstOf(subject string) (events.Event, error) {
	e, err := m.decodeEvent()
	if err != nil || m.Offset > 0 {
		return e, err
	}
	if want := events.SubjectOf(e.Data); want != subject {
		return events.Event{}, fmt.Errorf("a %s belongs under %s, not under %s", m.Type, want, subject)
	}
	return e, nil
}

// register reads what the message's subject says from now on.
func (m message) register(subject string) (projector.Register, error) {
	if _, err := m.firstOf(subject); err != nil {
		return nil, err
	}
	state, err := m.state(subject)
	if err != nil {
		return nil, err
	}
	r, err := projector.DecodeRegister(subject, state, m.event())
	if err != nil {
		return nil, err
	}
	return r, m.sound(r)
}

// readRegister decodes a raw message down to the register that it holds.
func readRegister(r raw) (message, projector.Register, error) {
	m, err := decode(r)
	if err != nil {
		return m, nil, err
	}
	register, err := m.register(r.Subject)
	return m, register, err
}

// quarantined describes a message that can't be read. Entity is the subject
// that it is held for.
func quarantined(r raw, entity string, reason error) projector.Quarantined {
	return projector.Quarantined{
		Sequence: r.Sequence,
		ID:       r.Header.Get(headerID),
		Type:     r.Header.Get(headerType),
		Subject:  entity,
		Reason:   reason.Error(),
	}
}

// headersOf makes the headers that all messages of an event share.
func headersOf(e events.Event) nats.Header {
	h := nats.Header{
		headerID:          {e.ID},
		headerType:        {string(e.Type())},
		headerTime:        {e.Time.UTC().Format(time.RFC3339Nano)},
		headerSpecVersion: {specVersion},
		headerDataVersion: {strconv.Itoa(e.Type().Version())},
	}
	if e.Source != "" {
		h[headerSource] = []string{e.Source}
	}
	return h
}

// stripped gives the headers of a message without those that the server adds.
func stripped(h nats.Header) nats.Header {
	kept := nats.Header{}
	for name, values := range h {
		if !strings.HasPrefix(name, "Nats-") {
			kept[name] = values
		}
	}
	return kept
}
