package bfd

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestAPathIsDamped: each fall lasts a second.
func TestAPathIsDamped(t *testing.T) {
	const s = Instant(time.Second)
	p := NewPath(0.2)
	now := Instant(0)
	held := func() time.Duration {
		until, held := p.Held(now)
		if !held {
			return 0
		}
		return until.Sub(now)
	}
	for i, want := range []time.Duration{0, 0, 10, 20, 40, 80, 160, 300, 300, 300} {
		now += 5 * s
		p.Fell(now)
		if p.Sound(now) || !p.Lost() || held() != 0 {
			t.Fatalf("fall %d: sound", i+1)
		}
		now += s
		p.Rose(now)
		if got := held(); got != want*time.Second || p.Sound(now) != (want == 0) {
			t.Errorf("fall %d: held for %v, want %v", i+1, got, want*time.Second)
		}
	}
	now += 300 * s
	if !p.Sound(now) {
		t.Error("held for too long")
	}
	now += Instant(UnsteadyWindow)
	p.Fell(now)
	p.Rose(now)
	if !p.Sound(now) {
		t.Error("nothing is ever forgotten")
	}
}

// TestALossyPathIsUnsoundUntilItIsNot: with hysteresis, and damped as falls are.
func TestALossyPathIsUnsoundUntilItIsNot(t *testing.T) {
	p := NewPath(0.2)
	for i, c := range []struct {
		loss  float64
		lossy bool
		held  time.Duration
	}{
		{0.19, false, 0}, {0.20, true, 0}, {0.11, true, 0}, {0.10, false, 0}, {0.19, false, 0},
		{0.30, true, 0}, {0, false, 0}, {0.30, true, 0}, {0, false, 10 * time.Second}, {0.3, true, 9 * time.Second},
	} {
		now := Instant(i) * Instant(time.Second)
		p.Measured(c.loss, now)
		until, held := p.Held(now)
		if p.Lossy(now) != c.lossy || held && until.Sub(now) != c.held || held != (c.held > 0) || p.Sound(now) != (!c.lossy && c.held == 0) {
			t.Errorf("step %d, loss %v: lossy %v, held %v until %v", i, c.loss, p.Lossy(now), held, until.Sub(now))
		}
	}
	if p = NewPath(0); true {
		p.Measured(1, 5)
	}
	if !p.Sound(6) {
		t.Error("without a limit loss makes a path unsound")
	}
}

// TestAPathThatNobodyWatchesIsUsed: not at once where it was lossy.
func TestAPathThatNobodyWatchesIsUsed(t *testing.T) {
	p, now := NewPath(0.2), Instant(time.Hour)
	p.Fell(now)
	p.Excused(now)
	if !p.Sound(now) {
		t.Error("down though it isn't watched")
	}
	p.Measured(0.3, now)
	p.Excused(now)
	p.Excused(now + 50*Instant(time.Second))
	if p.Sound(now.Add(LossWindow)-1) || !p.Sound(now.Add(LossWindow)) {
		t.Error("what it lost counts for another time than the window's")
	}
	p.Rose(now)
	if p.Sound(now.Add(time.Hour)) {
		t.Error("what it lost is forgotten though it is watched again")
	}
}

// TestAPathIsNeverHeldForLongerThanItShould: whatever happened, one that is up
// and without loss is used again within LongestHold.
func TestAPathIsNeverHeldForLongerThanItShould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, now := NewPath(0.2), Instant(0)
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "seconds")) * time.Second)
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				p.Fell(now)
			case 1:
				p.Rose(now)
			case 2:
				p.Measured(rapid.Float64Range(0, 1).Draw(t, "loss"), now)
			}
		}
		p.Rose(now)
		p.Measured(0, now)
		if until, held := p.Held(now); held && until.Sub(now) > LongestHold {
			t.Fatalf("held for %v", until.Sub(now))
		}
		if !p.Sound(now.Add(LongestHold)) {
			t.Fatal("not used again")
		}
	})
}

// TestAnEstimateDoesNotMakeAPathFlap: with a loss right at the limit, or between
// it and its half, an hour of estimates changes the verdict a few times at most.
func TestAnEstimateDoesNotMakeAPathFlap(t *testing.T) {
	for _, loss := range []float64{0.05, 0.10, 0.15, 0.20, 0.30} {
		for seed := range uint64(10) {
			s := newStream(Default(), 300*ms, 10, seed) // which doesn't fall
			s.up()
			s.lose = chance(s.random, loss)
			p, changes, sound := NewPath(0.2), 0, true
			for range 3600 {
				s.run(time.Second)
				if f, ok := s.Report().Loss.Fraction(); ok {
					p.Measured(f, s.now)
				}
				if now := p.Sound(s.now); now != sound {
					sound = now
					changes++
				}
			}
			if changes > 8 || loss == 0.05 && changes > 0 || loss == 0.30 && (changes != 1 || sound) {
				t.Errorf("loss %v: %d changes within an hour, ends sound: %v", loss, changes, sound)
			}
		}
	}
}
