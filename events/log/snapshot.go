package log

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"maps"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hostroute/hostroute/events"
)

// snapshotChunk is one message of the answer.
type snapshotChunk struct {
	Index    int            `json:"index"`
	Messages []wireMessage  `json:"messages,omitempty"`
	End      *snapshotEnd   `json:"end,omitempty"`
	Error    *snapshotError `json:"error,omitempty"`
	Wait     bool           `json:"wait,omitempty"` // nothing yet: it is waiting for its turn
}

// wireMessage is a stored message on its way to a hypervisor. The body is
// Base64, so that its hash can be checked whatever it is.
type wireMessage struct {
	Subject  string      `json:"subject"`
	Sequence uint64      `json:"seq"`
	Header   nats.Header `json:"header,omitempty"`
	Body     []byte      `json:"body,omitempty"`
}

// snapshotEnd closes the answer.
type snapshotEnd struct {
	Ledger     string `json:"ledger"`
	Unchanged  bool   `json:"unchanged,omitempty"`
	Diverged   bool   `json:"diverged,omitempty"` // the asker knows messages that the log never had, or has no more
	Registered bool   `json:"registered"`         // somebody registered this hypervisor
	Ends       bool   `json:"ends,omitempty"`     // what ended since the asker's place is told, so that nothing else has
	Tick       Link   `json:"tick"`               // everything up to here is in the answer
	NetTick    Link   `json:"net_tick"`
	Count      int    `json:"count"`
	Hash       string `json:"hash"` // over the hashes of the messages, in order
}

type snapshotError struct {
	Reason string `json:"reason"`
}

// snapshot hands the messages that a hypervisor must know to emit: its tick,
// the newest of each of its guests as that tick left them, the networks. A tick
// is read before what it covers, so that is in what follows; and the networks
// after the guests, so no guest is in one that isn't here yet. Have is what the
// asker has reached; at the same place there is nothing to say. Guests that have
// ended since are told to it, lest it takes them for lost.
func (l *Ledger) snapshot(ctx context.Context, hypervisor string, have Cursor, emit func(raw) error) (snapshotEnd, error) {
	tickSubject := events.SubjectTick(hypervisor)
	ticks, err := l.get.last(ctx, tickSubject, events.SubjectNetTick)
	if err != nil {
		return snapshotEnd{}, err
	}
	end := snapshotEnd{Ledger: l.Identity()}
	tick, registered := ticks[tickSubject]
	if registered {
		end.Registered, end.Tick = true, tick.link()
	}
	if r, ok := ticks[events.SubjectNetTick]; ok {
		end.NetTick = r.link()
	}
	if have.Ledger == end.Ledger {
		if have.Tick == end.Tick && have.NetTick == end.NetTick {
			end.Unchanged = true
			return end, nil
		}
		if end.Diverged, err = l.diverged(ctx, tickSubject, have); err != nil {
			return end, err
		}
	}
	// Who comes from elsewhere is told of no end.
	known := have.Ledger == end.Ledger && !end.Diverged && have.Tick.Sequence > 0
	end.Ends = known
	if registered {
		var guests []raw
		if tick, guests, err = l.guestsOf(ctx, hypervisor, tick); err != nil {
			return end, err
		}
		end.Tick = tick.link()
		since := end.Tick.Sequence
		if known {
			since = have.Tick.Sequence
		}
		for _, r := range append([]raw{tick}, guests...) {
			if err := l.emitReadable(ctx, r, since, emit); err != nil {
				return end, err
			}
		}
	}
	var since *uint64
	if known {
		since = &have.NetTick.Sequence
	}
	err = l.emitNetworks(ctx, &end, since, emit)
	return end, err
}

// diverged tells whether the log has another message where the asker knows one.
// It has after a restore from a backup, or a power failure that took what wasn't
// forced to disk yet: sequences were given out a second time.
func (l *Ledger) diverged(ctx context.Context, tickSubject string, have Cursor) (bool, error) {
	for subject, link := range map[string]Link{tickSubject: have.Tick, events.SubjectNetTick: have.NetTick} {
		if link.Sequence == 0 {
			continue
		}
		r, ok, err := l.get.one(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
			return l.ledger.GetMsg(ctx, link.Sequence)
		})
		if err != nil {
			return false, fmt.Errorf("reading message %d: %w", link.Sequence, err)
		}
		if ok && (r.Subject != subject || r.link() != link) {
			return true, nil
		}
	}
	return false, nil
}

// patientCuts is how often guestsOf looks again for a moment without a command.
const patientCuts = 50

// guestsOf reads the feed messages of a hypervisor as they were at one tick,
// which is the given one or a later one: reading them takes a while, and of a
// command that is written meanwhile one message might be seen and another not,
// or a message be gone from the mirror before it is reached. So what came since
// is read again, which is little, until the tick stays the same.
func (l *Ledger) guestsOf(ctx context.Context, hypervisor string, tick raw) (raw, []raw, error) {
	newest, from := map[string]raw{}, uint64(0)
	source, err := l.source(ctx)
	if err != nil {
		return tick, nil, err
	}
	for range patientCuts {
		list, err := l.lastUnder(ctx, source, events.SubjectFeed(hypervisor, "*"), from, tick)
		if err != nil {
			return tick, nil, err
		}
		for _, r := range list {
			if r.Sequence > newest[r.Subject].Sequence {
				newest[r.Subject] = r
			}
		}
		now, err := l.get.last(ctx, tick.Subject)
		if err != nil {
			return tick, nil, err
		}
		last, ok := now[tick.Subject]
		switch {
		case !ok:
			return tick, nil, fmt.Errorf("the ticks of hypervisor %q have gone from the log", hypervisor)
		case last.Sequence == tick.Sequence:
			return tick, slices.SortedFunc(maps.Values(newest), func(a, b raw) int { return cmp.Compare(a.Sequence, b.Sequence) }), nil
		}
		from, tick = tick.Sequence+1, last
	}
	return tick, nil, fmt.Errorf("the guests of hypervisor %q change faster than they can be read", hypervisor)
}

// emitNetworks hands on the networks and says how far they go; also those that
// ended since a sequence, for who has come so far.
func (l *Ledger) emitNetworks(ctx context.Context, end *snapshotEnd, since *uint64, emit func(raw) error) error {
	ticks, err := l.get.last(ctx, events.SubjectNetTick)
	if err != nil {
		return err
	}
	witness, ok := ticks[events.SubjectNetTick]
	if ok {
		end.NetTick = witness.link()
	}
	list, err := l.networksAt(ctx, witness)
	if err != nil {
		return err
	}
	for _, r := range list {
		ended := r.Sequence
		if since != nil {
			ended = *since
		}
		if err := l.emitReadable(ctx, r, ended, emit); err != nil {
			return err
		}
	}
	return nil
}

// networks are the newest messages of all networks, as of a tick of theirs.
type networks struct {
	mu   sync.Mutex
	tick Link
	list []raw
}

// networksAt reads the networks. They are the same for every hypervisor, and
// seldom others than they were, so they are kept until their tick is another.
func (l *Ledger) networksAt(ctx context.Context, tick raw) ([]raw, error) {
	l.networks.mu.Lock()
	defer l.networks.mu.Unlock()
	if tick.Sequence > 0 && l.networks.tick == tick.link() {
		return l.networks.list, nil
	}
	list, err := l.lastUnder(ctx, l.ledger, events.SubjectNet("*"), 0, tick)
	if err == nil && tick.Sequence > 0 {
		l.networks.tick, l.networks.list = tick.link(), list
	}
	return list, err
}

// emitReadable hands on a message, unless it says that there is nothing any
// more and isn't newer than what the asker has. One that can't be read is handed on behind the newest that can.
func (l *Ledger) emitReadable(ctx context.Context, r raw, since uint64, emit func(raw) error) error {
	_, register, err := readRegister(r)
	if err == nil {
		if !register.Exists() && r.Sequence <= since {
			return nil
		}
		return emit(r)
	}
	var good *raw
	if err := l.get.history(ctx, r.Subject, func(older raw) bool {
		if _, register, err := readRegister(older); err == nil {
			good = nil
			if register.Exists() {
				good = &older
			}
		}
		return true
	}); err != nil {
		return err
	}
	if good != nil {
		if err := emit(*good); err != nil {
			return err
		}
	}
	return emit(r)
}

// chunker packs messages into chunks and sends them.
type chunker struct {
	send  func(payload []byte) error
	limit int // of one chunk, in bytes
	room  int // of the largest message that can be sent at all
	chunk snapshotChunk
	size  int
	count int
	sum   hash.Hash
}

func newChunker(maxPayload int64, send func([]byte) error) *chunker {
	return &chunker{send: send, limit: int(min(maxPayload/4, 256<<10)), room: int(maxPayload - headerRoom), sum: sha256.New()}
}

// add puts a message into the answer. One that is too large to be carried
// can't be valid; it goes without its body, to be quarantined.
func (c *chunker) add(r raw) error {
	w := wireMessage{Subject: r.Subject, Sequence: r.Sequence, Header: r.Header, Body: r.Body}
	size := w.size()
	if size > c.room {
		w.Header, w.Body = nil, nil
		size = w.size()
	}
	if c.size > 0 && c.size+size > c.limit {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.chunk.Messages = append(c.chunk.Messages, w)
	c.size += size
	c.count++
	c.sum.Write([]byte(w.hash()))
	return nil
}

// size is how many bytes of JSON the message takes, at most.
func (w wireMessage) size() int {
	n := 128 + len(w.Subject) + (len(w.Body)+2)/3*4
	for name, values := range w.Header {
		for _, v := range values {
			n += 16 + 6*(len(name)+len(v)) // the longest escape of a byte has six
		}
	}
	return n
}

func (w wireMessage) hash() string { return hashOf(w.Subject, w.Header, w.Body) }

func (w wireMessage) raw() raw {
	return raw{Subject: w.Subject, Sequence: w.Sequence, Header: w.Header, Body: w.Body}
}

func (c *chunker) flush() error {
	payload, err := json.Marshal(c.chunk)
	if err != nil {
		return err
	}
	c.chunk = snapshotChunk{Index: c.chunk.Index + 1}
	c.size = 0
	return c.send(payload)
}

// finish sends the rest and the end marker.
func (c *chunker) finish(end snapshotEnd) error {
	end.Count, end.Hash = c.count, hex.EncodeToString(c.sum.Sum(nil))
	c.chunk.End = &end
	return c.flush()
}

// fail ends the answer with a reason.
func (c *chunker) fail(reason error) error {
	c.chunk.Messages, c.chunk.Error = nil, &snapshotError{Reason: reason.Error()}
	return c.flush()
}
