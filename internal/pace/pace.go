package pace

import "time"

// Draw draws a duration uniformly from 0 to below n, as rand.N does.
type Draw func(n time.Duration) time.Duration

const (
	// FirstBackoff and LastBackoff bound the pause before a question is asked
	// again that failed. It doubles with each failure.
	FirstBackoff = 100 * time.Millisecond
	LastBackoff  = 5 * time.Second
	// FirstRedial and LastRedial bound the pause between two rounds through the
	// servers, from the one to the other, give or take a half.
	FirstRedial = 250 * time.Millisecond
	LastRedial  = 2 * time.Second
	// FirstQuestion is within which time after a connection the first question
	// is asked.
	FirstQuestion = 100 * time.Millisecond
	// Interval is how often a follower asks whether it missed anything, give or
	// take a fifth.
	Interval = 15 * time.Second
	// AnswerTimeout is how long an answer may pause.
	AnswerTimeout = 5 * time.Second
	// Assurance is how often the log service tells who waits for a snapshot that
	// it does; less than AnswerTimeout.
	Assurance = 1500 * time.Millisecond
	// Snapshotting is how many snapshots a log service makes at once; more wait.
	Snapshotting = 16
)

// Around varies d by up to its nth part, up or down.
func Around(d time.Duration, n int, draw Draw) time.Duration {
	spread := d / time.Duration(n)
	return d - spread + draw(2*spread+1)
}

// Backoff is the pause after a failure. The zero value has seen none.
type Backoff struct{ next time.Duration }

// Failed is how long to wait after one more failure.
func (b *Backoff) Failed(draw Draw) time.Duration {
	if b.next == 0 {
		b.next = FirstBackoff
	}
	pause := Around(b.next, 2, draw)
	b.next = min(2*b.next, LastBackoff)
	return pause
}

// Succeeded forgets all failures.
func (b *Backoff) Succeeded() { b.next = 0 }

// Redial is how long to wait after so many rounds in which no server was
// reached.
func Redial(rounds int, draw Draw) time.Duration {
	pause := min(FirstRedial<<min(rounds, 8), LastRedial)
	return pause/2 + draw(pause)
}
