package log

import (
	"context"
	"fmt"
	"time"

	"github.com/hostroute/hostroute/projector"
)

// Until says where a replay ends. What is zero doesn't end it.
type Until struct {
	Sequence uint64    // the last sequence that counts
	Time     time.Time // what was stored before it counts
}

// Replayed says what a replay covered.
type Replayed struct {
	Ledger   string `json:"ledger"`   // see Ledger.Identity
	Sequence uint64 `json:"sequence"` // of the last event
	Events   uint64 `json:"events"`   // including those that can't be decoded
}

// Replay folds the log from its beginning. What can't be decoded or applied is
// in quarantine in the State; everything else has its effect.
func (l *Ledger) Replay(ctx context.Context, until Until) (*projector.State, Replayed, error) {
	state, done := projector.New(), Replayed{Ledger: l.Identity()}
	err := l.Read(ctx, Filter{To: until.Sequence, Until: until.Time}, false, func(e Entry) error {
		done.Sequence, done.Events = e.Sequence, done.Events+1
		if e.Err != nil {
			state.Quarantine(projector.Quarantined{
				Sequence: e.Sequence, ID: e.ID, Type: e.Type, Subject: e.Subject, Reason: e.Err.Error(),
			})
			return nil
		}
		state.Fold(projector.Record{Sequence: e.Sequence, Event: e.Event})
		return nil
	})
	if err != nil {
		return nil, done, fmt.Errorf("replaying the log: %w", err)
	}
	return state, done, nil
}
