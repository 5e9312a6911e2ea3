package session

import "time"

// Steps is told how long steps took. It is called where the work is done, once per
// message or batch: its methods must neither wait nor allocate.
type Steps interface {
	// Decided is from an UPDATE that was read to the decision about its routes.
	Decided(took time.Duration)
	// Settled is from the first route that had to be written until none had, written
	// or found to be as it was; what waits for sessions to tell their table waits here.
	Settled(took time.Duration)
	// Walked is one walk over a table: for a session that fell or came, or to try again.
	Walked(took time.Duration)
	// Sent is from Announce to the UPDATEs of it on a peer's socket. Who is told
	// everything since it has just come, or asked for it, isn't counted.
	Sent(took time.Duration)
}

// untold is who is told where nobody wants to be.
type untold struct{}

func (untold) Decided(time.Duration) {}
func (untold) Settled(time.Duration) {}
func (untold) Walked(time.Duration)  {}
func (untold) Sent(time.Duration)    {}

// began notes, under the lock, that there may be something to write.
func (r *rib) began() {
	if r.since.IsZero() {
		r.since = time.Now()
	}
}

// settle notes, under the lock, that nothing is left to write, and tells how long it
// took if anything was written.
func (r *rib) settle() {
	if r.rib.Gathering() {
		return
	}
	if !r.since.IsZero() && r.busy {
		r.steps.Settled(time.Since(r.since))
	}
	r.since, r.busy = time.Time{}, false
}

// saidSince is when Announce was called last.
func (s *Speaker) saidSince() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saidAt
}

// sent notes that the peer was told what was said at a time, in so many UPDATEs.
func (w *writer) sent(saidAt time.Time, updates uint64) {
	if saidAt.After(w.saidAt) && updates > 0 {
		w.p.s.cfg.Steps.Sent(time.Since(saidAt))
	}
	w.saidAt = saidAt
}
