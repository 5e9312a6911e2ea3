package log

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrNoService says that nobody answers requests to publish or for snapshots.
var ErrNoService = errors.New("no log service answers")

// ErrConflict says that other publishers were faster again and again. Nothing
// was stored; the same call may be made again.
var ErrConflict = errors.New("other publishers keep changing the same registers")

// ErrUnknownOutcome says that the server didn't answer whether it stored an
// event. Publishing the same event with the same id again resolves it.
var ErrUnknownOutcome = errors.New("the server didn't say whether the event is stored")

// DriftError says that a stream isn't set as the layout wants it.
type DriftError struct {
	Stream string
	Field  string
	Have   string
	Want   string
}

// Error names stream, field and both values.
func (e *DriftError) Error() string {
	return fmt.Sprintf("stream %s: %s is %s; the layout wants %s", e.Stream, e.Field, e.Have, e.Want)
}

// The error codes of JetStream that publishing meets.
const (
	codeWrongLast     jetstream.ErrorCode = 10071 // an expectation isn't met
	codeInFlight      jetstream.ErrorCode = 10164 // somebody else's write of the subject is under way
	codeIncomplete    jetstream.ErrorCode = 10176 // the server doesn't have the whole batch
	codeDuplicateID   jetstream.ErrorCode = 10201
	codeManyInFlight  jetstream.ErrorCode = 10210 // too many open batches
	codeNotAvailable  jetstream.ErrorCode = 10008 // no leader at the moment
	codeNoLeader      jetstream.ErrorCode = 10009
	codeStoreNotReady jetstream.ErrorCode = 10077 // the write was refused by the store
)

// outcome is what an answer of the server means for a batch.
type outcome int

const (
	outcomeStored   outcome = iota
	outcomeConflict         // not stored; decide again
	outcomeBusy             // not stored; send the same again
	outcomeUnknown          // no answer
	outcomeRefused          // not stored, and won't be
)

func outcomeOf(code jetstream.ErrorCode) outcome {
	switch code {
	case codeWrongLast, codeInFlight, codeDuplicateID:
		return outcomeConflict
	case codeIncomplete, codeManyInFlight, codeNotAvailable, codeNoLeader:
		return outcomeBusy
	case codeStoreNotReady:
		return outcomeUnknown // it may have failed behind the first message
	}
	return outcomeRefused
}
