package log

import (
	"encoding/hex"
	"fmt"

	"github.com/hostroute/hostroute/events"
)

// chain follows registers and ticks from message to message: each names the one
// before it on its subject by sequence and hash, so that one which the store has
// lost or altered is noticed by whoever reads the subject.
type chain struct {
	// whole says that reading began at the first message of every subject.
	whole bool
	last  map[string]place
}

// place is a Link of half the size.
type place struct {
	sequence uint64
	hash     [32]byte
}

func newChain(whole bool) *chain { return &chain{whole: whole, last: map[string]place{}} }

// broken is what is wrong with the chain of a subject. Sequence is that of the
// message that is lost, altered or second after another.
type broken struct {
	Kind     FindingKind
	Sequence uint64
	Reason   string
}

// follow takes the next message of its subject, and tells what is wrong between
// it and the one before. Messages that aren't chained, or can't be read, name
// none.
func (c *chain) follow(r raw, m message) (wrong *broken) {
	at := placeOf(r)
	before, known := c.last[r.Subject]
	if m.Prev != nil && (known || c.whole) {
		wrong = before.compare(*m.Prev, r.Sequence)
	}
	if m.Subject.Kind != events.KindFeed { // all else is chained; also what can't be read has its place
		c.last[r.Subject] = at
	}
	return wrong
}

func placeOf(r raw) place {
	p := place{sequence: r.Sequence}
	_, _ = hex.Decode(p.hash[:], []byte(r.link().Hash)) // it was encoded so
	return p
}

// compare holds what a message names against what is there.
func (p place) compare(named Link, by uint64) *broken {
	switch {
	case named.Sequence > p.sequence:
		return &broken{FindingLost, named.Sequence, fmt.Sprintf("#%d follows it on this subject, and it is not there", by)}
	case named.Sequence < p.sequence:
		return &broken{FindingFork, by, fmt.Sprintf("it follows #%d, and so does #%d", named.Sequence, p.sequence)}
	case named.Sequence > 0 && named.Hash != hex.EncodeToString(p.hash[:]):
		return &broken{FindingAltered, named.Sequence, fmt.Sprintf("#%d names it with the hash %s, and it has %x", by, named.Hash, p.hash)}
	}
	return nil
}
