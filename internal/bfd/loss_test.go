package bfd

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// stream is a peer that is up and sends to a session, in virtual time; the
// session's own packets go nowhere.
type stream struct {
	Session
	now    Instant
	random *rand.Rand
	minTx  time.Duration // that it says
	mult   uint8
	gap    func() time.Duration // between two of its packets
	lose   func() bool
	falls  int
}

func newStream(p Params, minTx time.Duration, mult uint8, seed uint64) *stream {
	s := &stream{Session: NewSession(11, p, 0), random: rand.New(rand.NewPCG(seed, 7)), minTx: minTx, mult: mult, lose: func() bool { return false }}
	s.gap = func() time.Duration { return jittered(s.random, max(minTx, p.MinRx), mult) }
	return s
}

// jittered draws an interval as RFC 5880 section 6.8.7 has it.
func jittered(r *rand.Rand, interval time.Duration, mult uint8) time.Duration {
	low, high := interval*3/4, interval
	if mult == 1 {
		high = interval * 9 / 10
	}
	return low + time.Duration(r.Int64N(int64(high-low)+1))
}

// tell has the session receive a packet, and brings it up when it fell.
func (s *stream) tell(state State) {
	p := Packet{State: state, Multiplier: s.mult, MyDiscriminator: 22, YourDiscriminator: 11, DesiredMinTx: s.minTx, RequiredMinRx: time.Second}
	_ = s.Receive(&p, s.now)
	s.idle(s.now)
}

// idle lets the session do what is due until an instant.
func (s *stream) idle(until Instant) {
	var out Packet
	for s.Deadline() <= until {
		s.now = max(s.now, s.Deadline())
		for s.Advance(s.now, s.random.Uint32(), &out) {
			if out.Poll { // answered at once
				f := Packet{State: s.state, Final: true, Multiplier: s.mult, MyDiscriminator: 22, YourDiscriminator: 11, DesiredMinTx: s.minTx, RequiredMinRx: time.Second}
				_ = s.Receive(&f, s.now)
			}
		}
	}
	s.now = max(s.now, until)
}

func (s *stream) up() {
	s.tell(Down)
	s.tell(Init)
	s.tell(Up)
}

// run has the peer send for a while.
func (s *stream) run(d time.Duration) {
	for end := s.now.Add(d); s.now < end; {
		s.idle(s.now.Add(s.gap()))
		if s.state != Up {
			s.falls++
			s.up()
			continue
		}
		if !s.lose() {
			s.tell(Up)
		}
	}
}

func chance(r *rand.Rand, p float64) func() bool { return func() bool { return r.Float64() < p } }

// TestLossIsExactWhileNothingHoldsPacketsUp: without loss nothing seems lost,
// whatever the jitter, and each packet that is missing is missed.
func TestLossIsExactWhileNothingHoldsPacketsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		interval := time.Duration(rapid.IntRange(50, 2000).Draw(t, "ms")) * ms
		mult := uint8(rapid.IntRange(1, 5).Draw(t, "multiplier"))
		s := newStream(Params{MinTx: 300 * ms, MinRx: interval, Multiplier: 3}, interval, mult, rapid.Uint64().Draw(t, "seed"))
		s.up()
		s.run(5*time.Second + 2*interval) // until the intervals are settled
		missing, run := uint32(0), uint8(0)
		p := rapid.Float64Range(0, 0.5).Draw(t, "loss")
		s.lose = func() bool { // never so many that the session falls, or that it isn't sure
			if run >= min(mult-1, 2) || s.random.Float64() >= p {
				run = 0
				return false
			}
			run++
			missing++
			return true
		}
		s.run(max(LossWindow, lossPackets*interval) / 2)
		got := s.Report().Loss
		if got.Lost+uint32(run) != missing || got.Fast || s.falls > 0 {
			t.Fatalf("%+v after %d lost and %d that nobody can know of yet, %d falls", got, missing, run, s.falls)
		}
	})
}

// TestLossIsEstimated: the figures that LossEvidence promises, and that falls of
// the session don't hide what took it down.
func TestLossIsEstimated(t *testing.T) {
	const windows = 400
	for _, c := range []struct{ loss, low, high, misses float64 }{
		{0, 0, 0, 0},
		{0.01, 0, 0.05, 0.01},
		{0.10, 0.05, 0.17, 0.02},
		{0.20, 0.12, 0.30, 0.02},
		{0.30, 0.20, 0.42, 0.02},
		{0.50, 0.38, 0.62, 0.02},
	} {
		sum, outside := 0.0, 0.0
		for seed := range uint64(windows) {
			s := newStream(Default(), 300*ms, 3, seed)
			s.up()
			s.lose = chance(s.random, c.loss)
			s.run(90 * time.Second)
			f, ok := s.Report().Loss.Fraction()
			if !ok {
				t.Fatalf("loss %v: nothing told: %+v", c.loss, s.Report().Loss)
			}
			sum += f
			if f < c.low || f > c.high {
				outside++
			}
		}
		mean := sum / windows
		t.Logf("loss %v: on the average %.3f, %.3f outside", c.loss, mean, outside/windows)
		if math.Abs(mean-c.loss) > 0.015 || outside/windows > c.misses {
			t.Errorf("loss %v: on the average %v, and %v of all estimates not in %v to %v", c.loss, mean, outside/windows, c.low, c.high)
		}
	}
}

// TestTheWindowSlides: what was lost is forgotten when it is a minute ago.
func TestTheWindowSlides(t *testing.T) {
	s := newStream(Default(), 300*ms, 3, 1)
	s.up()
	s.lose = chance(s.random, 0.15)
	s.run(70 * time.Second)
	if f, ok := s.Report().Loss.Fraction(); !ok || f < 0.05 {
		t.Fatalf("%v %v", f, ok)
	}
	s.lose = func() bool { return false }
	s.run(LossWindow + 10*time.Second)
	if l := s.Report().Loss; l.Lost != 0 || l.Window < 50*time.Second || l.Window > 70*time.Second {
		t.Errorf("%+v", l)
	}
}

// TestHeldUpPacketsAreNotLost: queues on the way delay some packets by up to two
// intervals, in order.
func TestHeldUpPacketsAreNotLost(t *testing.T) {
	s := newStream(Default(), 300*ms, 5, 3)
	s.up()
	sent, arrives := s.now, s.now
	s.gap = func() time.Duration {
		sent = sent.Add(jittered(s.random, 300*ms, 3))
		arrives = max(arrives, sent)
		if s.random.IntN(20) == 0 {
			arrives = max(arrives, sent.Add(time.Duration(s.random.Int64N(int64(600*ms)))))
		}
		return max(arrives.Sub(s.now), 0)
	}
	s.run(2 * time.Minute)
	if f, ok := s.Report().Loss.Fraction(); !ok || f > 0.04 || s.falls > 0 {
		t.Errorf("%+v, %d falls", s.Report().Loss, s.falls)
	}
}

// TestAStoppedProcessIsNoLoss: packets wait in the socket meanwhile, or are lost
// where the whole host was stopped. Neither says anything about the path.
func TestAStoppedProcessIsNoLoss(t *testing.T) {
	for _, waiting := range []int{0, 1, 2} {
		s := newStream(Default(), 300*ms, 3, 4)
		s.up()
		for range 60 {
			s.run(2 * time.Second)
			s.now = s.now.Add(700 * ms) // nothing was received or sent
			for range waiting {
				p := Packet{State: Up, Multiplier: 3, MyDiscriminator: 22, YourDiscriminator: 11, DesiredMinTx: 300 * ms, RequiredMinRx: time.Second}
				_ = s.Receive(&p, s.now)
			}
		}
		if l := s.Report().Loss; l.Lost > 1 || l.Expected < LossEvidence {
			t.Errorf("%d waiting: %+v", waiting, l)
		}
	}
	s := newStream(Default(), 300*ms, 3, 5) // and for longer than the detection time
	s.up()
	s.run(time.Minute)
	s.now = s.now.Add(time.Hour)
	s.idle(s.now)
	if l := s.Report().Loss; s.state != Down || l.Lost != 0 {
		t.Errorf("%v, %+v", s.state, l)
	}
}

// TestAFastPeerHidesNothing: one that doesn't heed what it was asked for gets no
// estimate rather than a wrong one, with loss and without.
func TestAFastPeerHidesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		factor := rapid.Float64Range(0.05, 0.8).Draw(t, "factor")
		loss := rapid.Float64Range(0, 0.6).Draw(t, "loss")
		s := newStream(Default(), 100*ms, 3, rapid.Uint64().Draw(t, "seed"))
		s.up()
		s.gap = func() time.Duration {
			return jittered(s.random, time.Duration(factor*float64(300*ms)), 3)
		}
		s.lose = chance(s.random, loss)
		s.run(90 * time.Second)
		l := s.Report().Loss
		f, ok := l.Fraction()
		if ok && math.Abs(f-loss) > 0.15 || l.Lost > l.Expected {
			t.Fatalf("%.2f of the interval, loss %.2f: %+v", factor, loss, l)
		}
		if factor < 0.7 && !l.Fast {
			t.Fatalf("%.2f of the interval, loss %.2f: not noticed: %+v", factor, loss, l)
		}
	})
}

// TestAChangeOfIntervalsIsNoLoss runs both ends.
func TestAChangeOfIntervalsIsNoLoss(t *testing.T) {
	l := newLink(t, 6, Default(), Default())
	l.until("up", l.settled)
	for _, p := range []Params{{ms * 1000, ms * 1000, 3}, {ms * 50, ms * 300, 3}, {ms * 300, ms * 50, 2}, Default()} {
		l.ends[0].Configure(p)
		l.run(time.Minute)
		for _, e := range l.ends {
			if got := e.Report().Loss; got.Lost > 0 || got.Fast {
				t.Errorf("%s with %+v: %+v", e.name, p, got)
			}
		}
	}
}

// TestAnAbsenceForgets: what was lost before a long absence is no news.
func TestAnAbsenceForgets(t *testing.T) {
	s := newStream(Default(), 300*ms, 3, 8)
	s.up()
	s.lose = chance(s.random, 0.1)
	s.run(time.Minute)
	s.idle(s.now.Add(10 * time.Minute))
	s.up()
	s.lose = func() bool { return false }
	s.run(20 * time.Second)
	if l := s.Report().Loss; l.Lost != 0 || l.Expected == 0 {
		t.Errorf("%+v", l)
	}
}

func TestMeasuringAllocatesNothing(t *testing.T) {
	s := newStream(Default(), 300*ms, 3, 9)
	s.up()
	if n := testing.AllocsPerRun(1000, func() { s.idle(s.now.Add(s.gap())); s.tell(Up); _ = s.Report() }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}
