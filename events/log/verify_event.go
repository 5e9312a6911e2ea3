package log

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hostroute/hostroute/events"
	"github.com/hostroute/hostroute/projector"
)

// verifiedMessage is a message that can be read.
type verifiedMessage struct {
	raw  raw
	m    message
	link Link
	// about is the register that its event is about, of the first one of a batch.
	about string
}

// collect takes the next message of an event. Messages of one event are
// neighbours and each says where it begins.
func (v *verifier) collect(x verifiedMessage) {
	if len(v.batch) > 0 && (x.m.event() != v.batch[0].m.event() || x.m.ID != v.batch[0].m.ID) {
		v.endBatch()
	}
	v.batch = append(v.batch, x)
}

// endBatch holds an event against what its publisher must have written. Every
// message of it carries the event, so that any of them will do.
func (v *verifier) endBatch() {
	batch, before := v.batch, v.verified.Findings
	v.batch = nil
	if len(batch) == 0 {
		return
	}
	v.verified.Events++
	first := batch[0].m
	e, err := first.decodeEvent()
	if err != nil {
		v.find(Finding{Kind: FindingUnreadable, Sequence: first.Sequence, Subject: batch[0].raw.Subject, Reason: err.Error()})
		v.heal(batch)
		return
	}
	batch[0].about = events.SubjectOf(e.Data)
	want, err := v.state.Batch(projector.Record{Sequence: first.event(), Event: e})
	switch {
	case err != nil:
		v.find(Finding{Kind: FindingContradiction, Sequence: first.event(), Subject: batch[0].raw.Subject, Reason: err.Error()})
	case want == nil:
		v.find(Finding{Kind: FindingStray, Sequence: first.Sequence, Subject: batch[0].raw.Subject,
			Reason: fmt.Sprintf("it says that it belongs to the event at #%d, which is another", first.event())})
	default:
		v.compare(batch, want)
	}
	if v.verified.Findings > before {
		v.heal(batch)
	}
}

// compare holds the messages that an event has against those that it must have.
func (v *verifier) compare(batch []verifiedMessage, want []projector.Message) {
	links := map[string]Link{}
	have := make([]bool, len(want))
	for _, x := range batch {
		links[x.raw.Subject] = x.link
		if x.m.Offset < uint64(len(have)) {
			have[x.m.Offset] = true
		}
	}
	for _, x := range batch {
		kind, reason := FindingStray, fmt.Sprintf("the event at #%d has %d messages, and none after those", x.m.event(), len(want))
		if x.m.Offset < uint64(len(want)) {
			kind, reason = v.differs(x, batch[0], want[x.m.Offset], links)
		}
		if reason != "" {
			v.find(Finding{Kind: kind, Sequence: x.m.Sequence, Subject: x.raw.Subject, Reason: reason})
		}
	}
	var lacks []string
	for i, there := range have {
		if !there {
			lacks = append(lacks, want[i].Subject)
		}
	}
	if len(lacks) > 0 {
		v.find(Finding{Kind: FindingIncomplete, Sequence: batch[0].m.event(),
			Reason: fmt.Sprintf("the event (%s, %d messages) lacks those on %s", batch[0].m.Type, len(want), shortList(lacks))})
	}
}

// differs tells how a message isn't what it must be; no reason: it is.
func (v *verifier) differs(x, first verifiedMessage, want projector.Message, links map[string]Link) (FindingKind, string) {
	a, b := x.m, first.m
	switch {
	case a.Type != b.Type || a.Version != b.Version || a.Source != b.Source || !a.Time.Equal(b.Time) || string(a.Data) != string(b.Data):
		return FindingAltered, fmt.Sprintf("what it says of its event isn't what #%d says", b.Sequence)
	case x.raw.Subject != want.Subject:
		return FindingContradiction, "the event's message in this place belongs under " + want.Subject
	case want.Chained && a.Prev == nil:
		return FindingAltered, "it doesn't name the message before it"
	}
	register := x.raw.Subject
	if a.Subject.Kind == events.KindNetTick { // it says what the network's own register does
		register = first.about
	}
	state, err := a.state(register)
	if err != nil {
		return FindingUnreadable, err.Error()
	}
	stored, err := projector.DecodeRegister(register, state, a.event())
	if err != nil {
		return FindingUnreadable, err.Error()
	}
	if !canonical(x, register, state) {
		return FindingAltered, "it isn't written as a publisher writes it"
	}
	is, err1 := projector.EncodeRegister(stored)
	must, err2 := projector.EncodeRegister(want.State)
	if err1 != nil || err2 != nil || string(is) != string(must) {
		says, follows := differing(is, must)
		return FindingContradiction, fmt.Sprintf("it says %s; from the events before it follows %s", says, follows)
	}
	return v.coverage(x, want, links)
}

// canonical tells whether a message has just the bytes that say what it says:
// what JSON leaves to the writer is no place for a flipped bit either. Of an
// older version the state is looked at as the up-casters give it, which keep
// what is canonical so.
func canonical(x verifiedMessage, register string, state []byte) bool {
	whole, err := json.Marshal(x.m.body)
	if err != nil || !bytes.Equal(whole, x.raw.Body) {
		return false
	}
	asWritten, err := projector.DecodeRegister(register, state, 0)
	if err != nil {
		return false
	}
	canon, err := projector.EncodeRegister(asWritten)
	return err == nil && bytes.Equal(canon, state)
}

// coverage holds what a tick says of feed messages against them.
func (v *verifier) coverage(x verifiedMessage, want projector.Message, links map[string]Link) (FindingKind, string) {
	var names []string
	for _, f := range x.m.Feed {
		names = append(names, f.VM)
		feed, there := links[events.SubjectFeed(x.m.Subject.Name, f.VM)]
		if there && feed.Hash != f.Hash {
			return FindingAltered, fmt.Sprintf("it and #%d, which it covers, disagree about the hash of that", feed.Sequence)
		}
	}
	if !slices.Equal(names, want.Feed) {
		return FindingContradiction, fmt.Sprintf("it covers guests %s; it must cover %s", shortList(names), shortList(want.Feed))
	}
	return "", ""
}

// heal goes on from what the log says, so that one wrong message is one finding
// and not one for each that was decided on it.
func (v *verifier) heal(batch []verifiedMessage) {
	for _, x := range batch {
		if x.m.Subject.Kind == events.KindFeed || x.m.Subject.Kind == events.KindTick || x.m.Subject.Kind == events.KindNetTick {
			continue
		}
		state, err := x.m.state(x.raw.Subject)
		if err != nil {
			continue
		}
		if register, err := projector.DecodeRegister(x.raw.Subject, state, x.m.event()); err == nil {
			v.state.Forget(x.raw.Subject)
			v.state.Put(x.raw.Subject, register)
		}
	}
}

// differing cuts two texts to where they differ.
func differing(a, b []byte) (string, string) {
	const around, most = 40, 200
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	cut := func(text []byte) string {
		s := strings.ToValidUTF8(string(text[max(0, same-around):min(len(text), same+most)]), "")
		if same > around {
			s = "…" + s
		}
		if len(text) > same+most {
			s += "…"
		}
		return s
	}
	return cut(a), cut(b)
}

func shortList(names []string) string {
	const most = 5
	switch n := len(names); {
	case n == 0:
		return "none"
	case n > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n-most)
	}
	return strings.Join(names, ", ")
}
