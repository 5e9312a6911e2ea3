package pace

import (
	"testing"
	"time"
)

// least and most are the ends of what may be drawn.
func least(time.Duration) time.Duration  { return 0 }
func most(n time.Duration) time.Duration { return n - 1 }

func TestPausesStayInTheirBounds(t *testing.T) {
	for rounds, want := range map[int][2]time.Duration{
		0:   {125 * time.Millisecond, 375 * time.Millisecond},
		1:   {250 * time.Millisecond, 750 * time.Millisecond},
		3:   {time.Second, 3 * time.Second},
		500: {time.Second, 3 * time.Second},
	} {
		if low, high := Redial(rounds, least), Redial(rounds, most); low != want[0] || high != want[1]-1 {
			t.Errorf("after %d rounds between %s and %s, want %s to %s", rounds, low, high, want[0], want[1])
		}
	}
	if low, high := Around(15*time.Second, 5, least), Around(15*time.Second, 5, most); low != 12*time.Second || high != 18*time.Second {
		t.Errorf("15 s give or take a fifth is between %s and %s", low, high)
	}
}

func TestBackoffDoublesUpToItsEnd(t *testing.T) {
	var low, high Backoff
	want := FirstBackoff
	for range 12 {
		if l, h := low.Failed(least), high.Failed(most); l != want/2 || h != want+want/2 {
			t.Fatalf("between %s and %s, want %s give or take a half", l, h, want)
		}
		want = min(2*want, LastBackoff)
	}
	if want != LastBackoff {
		t.Errorf("it ends at %s", want)
	}
	high.Succeeded()
	if p := high.Failed(least); p != FirstBackoff/2 {
		t.Errorf("after a success the next failure waits %s", p)
	}
}

func TestWhoWaitsIsToldSoBeforeItGivesUp(t *testing.T) {
	if 2*Assurance >= AnswerTimeout {
		t.Errorf("one lost assurance ends a wait of %s", AnswerTimeout)
	}
}
