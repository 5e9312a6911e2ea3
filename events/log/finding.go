package log

import "fmt"

// FindingKind classifies what is wrong with a log.
type FindingKind string

// The kinds of a [Finding].
const (
	// FindingMissing: the log has no message with these sequences.
	FindingMissing FindingKind = "missing"
	// FindingLost: a message that another one names isn't there.
	FindingLost FindingKind = "lost"
	// FindingAltered: a message isn't what others say of it.
	FindingAltered FindingKind = "altered"
	// FindingFork: two messages follow the same one.
	FindingFork FindingKind = "fork"
	// FindingIncomplete: an event doesn't have all of its messages.
	FindingIncomplete FindingKind = "incomplete"
	// FindingUnreadable: a message can't be read, by this version at least.
	FindingUnreadable FindingKind = "unreadable"
	// FindingStray: a message belongs to no event.
	FindingStray FindingKind = "stray"
	// FindingContradiction: an event can't have been published after those
	// before it, or says of a subject what doesn't follow from it.
	FindingContradiction FindingKind = "contradiction"
	// FindingCopy: a copy of the log lacks what the leader has.
	FindingCopy FindingKind = "copy"
	// FindingRewritten: history isn't what a checkpoint says it was.
	FindingRewritten FindingKind = "rewritten"
)

// Finding is one thing that is wrong with a log.
type Finding struct {
	Kind     FindingKind `json:"kind"`
	Sequence uint64      `json:"sequence"`          // of the message, or the first of several
	Through  uint64      `json:"through,omitempty"` // the last of several
	Subject  string      `json:"subject,omitempty"`
	Reason   string      `json:"reason"`
}

// String is the finding in a line.
func (f Finding) String() string {
	where := fmt.Sprintf("#%d", f.Sequence)
	if f.Through > f.Sequence {
		where += fmt.Sprintf(" to #%d", f.Through)
	}
	if f.Subject != "" {
		where += " on " + f.Subject
	}
	return fmt.Sprintf("%s: %s: %s", where, f.Kind, f.Reason)
}
