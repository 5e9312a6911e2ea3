package bfd

import (
	"testing"
	"time"
)

// restart replaces an end by a new process's session after a pause.
func (l *link) restart(i int, pause time.Duration) {
	l.t.Helper()
	e := l.ends[i]
	former, params := e.Report(), e.params
	if !former.Resumable() {
		l.t.Fatalf("can't be resumed: %+v", former)
	}
	silent := NewSession(e.local, params, l.now.Add(pause)) // nobody
	silent.sentAt, silent.urgent = Never-Instant(time.Minute), false
	e.Session = silent
	lose := l.lose
	l.lose = func(to int) bool { return true }
	for end := l.now.Add(pause); l.now < end; {
		l.flying = nil
		l.run(min(end.Sub(l.now), ms))
		e.Session = silent
	}
	l.lose = lose
	e.Session = Resume(former, params, l.now)
}

func TestResumedInTimeThePeerNoticesNothing(t *testing.T) {
	l := newLink(t, 6, Default(), Params{100 * ms, 200 * ms, 5})
	l.until("settled", l.settled)
	peer := l.ends[1].Report()
	for range 5 {
		l.restart(0, 500*ms)
		l.run(10 * time.Second)
	}
	after := l.ends[1].Report()
	if after.Falls != 0 || after.State != Up || after.RemoteDiscriminator != peer.RemoteDiscriminator || after.DetectionTime != peer.DetectionTime {
		t.Errorf("the peer noticed: %+v", after)
	}
	if r := l.ends[0].Report(); r.Falls != 0 || r.State != Up || l.ends[0].unproven || l.ends[0].timing.polling {
		t.Errorf("%+v", r)
	}
	l.lose = func(int) bool { return true }
	l.until("a loss", func() bool { return l.ends[0].state == Down })
	if !l.ends[0].Report().Failed {
		t.Error("a session that went on well has failed, and doesn't say so")
	}
}

func TestResumedTooLateIsNoFailure(t *testing.T) {
	for name, deaf := range map[string]bool{"the peer says that it is down": false, "the peer says nothing": true} {
		l := newLink(t, 7, Default(), Default())
		l.until("settled", l.settled)
		l.restart(0, 20*time.Second)
		if l.ends[1].state != Down {
			t.Fatalf("%s: the peer is %v", name, l.ends[1].state)
		}
		l.lose = func(int) bool { return deaf }
		l.until("down", func() bool { return l.ends[0].state != Up })
		if r := l.ends[0].Report(); r.Failed {
			t.Errorf("%s: failed: %s", name, r.Reason())
		}
		l.lose = nil
		l.until("up again", l.settled)
	}
}

func TestAResumedSessionRemembersItsFall(t *testing.T) {
	fell := Fall{Diagnostic: NeighborDown, RemoteDiagnostic: TimeExpired, RemoteState: Down, Detection: time.Second}
	s := Resume(Report{LocalDiscriminator: 1, RemoteDiscriminator: 2, RemoteMultiplier: 3, Falls: 4, Fell: fell}, Default(), 5)
	if r := s.Report(); r.Falls != 4 || r.Fell.Direction() != Sending || r.Fell.Words() != "the peer doesn't hear this side any more" {
		t.Errorf("%d falls, the last: %q", r.Falls, r.Fell.Words())
	}
}
