package bfd

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const ms = time.Millisecond

// TestTransitions is the state machine of RFC 5880 section 6.2, each state with
// each state that a peer may tell.
func TestTransitions(t *testing.T) {
	for _, c := range []struct {
		in, told, out State
		diag          Diagnostic
		failed        bool
	}{
		{AdminDown, AdminDown, AdminDown, Administrative, false},
		{AdminDown, Down, AdminDown, Administrative, false},
		{AdminDown, Init, AdminDown, Administrative, false},
		{AdminDown, Up, AdminDown, Administrative, false},
		{Down, AdminDown, Down, NoDiagnostic, false},
		{Down, Down, Init, NoDiagnostic, false},
		{Down, Init, Up, NoDiagnostic, false},
		{Down, Up, Down, NoDiagnostic, false},
		{Init, AdminDown, Down, NeighborDown, false},
		{Init, Down, Init, NoDiagnostic, false},
		{Init, Init, Up, NoDiagnostic, false},
		{Init, Up, Up, NoDiagnostic, false},
		{Up, AdminDown, Down, NeighborDown, false},
		{Up, Down, Down, NeighborDown, true},
		{Up, Init, Up, NoDiagnostic, false},
		{Up, Up, Up, NoDiagnostic, false},
	} {
		t.Run(fmt.Sprintf("%v hears %v", c.in, c.told), func(t *testing.T) {
			s := inState(c.in)
			p := peerSays(c.told)
			if err := s.Receive(&p, 5); err != nil {
				t.Fatal(err)
			}
			r := s.Report()
			if r.State != c.out || r.Diagnostic != c.diag || r.Failed != c.failed {
				t.Errorf("is %v, %v, failed %v; want %v, %v, %v", r.State, r.Diagnostic, r.Failed, c.out, c.diag, c.failed)
			}
			if r.RemoteState != c.told || r.RemoteDiscriminator != 22 {
				t.Errorf("remembers %v of %d", r.RemoteState, r.RemoteDiscriminator)
			}
			var out Packet
			if s.Advance(5, 0, &out) != (c.in != c.out) {
				t.Error("a packet at once exactly when the state changes: not so")
			}
		})
	}
}

// peerSays is a packet of the peer of the session that inState makes.
func peerSays(s State) Packet {
	return Packet{
		State: s, Multiplier: 3, MyDiscriminator: 22, YourDiscriminator: 11,
		DesiredMinTx: 300 * ms, RequiredMinRx: 300 * ms, ControlIndependent: true,
	}
}

// inState makes a session with nothing to send.
func inState(want State) Session {
	s := NewSession(11, Default(), 0)
	steps := map[State][]State{Init: {Down}, Up: {Down, Init}}[want]
	for _, told := range steps {
		p := peerSays(told)
		_ = s.Receive(&p, 1)
	}
	if want == AdminDown {
		s.SetAdminDown(true, 1)
	}
	var out Packet
	if want == Up {
		s.Advance(1, 0, &out) // with the Poll bit
		p := peerSays(Up)
		p.Final = true
		_ = s.Receive(&p, 2)
	}
	for s.Advance(2, 0, &out) {
	}
	return s
}

func TestASessionComesUpSlowlyAndThenRunsFast(t *testing.T) {
	l := newLink(t, 1, Default(), Default())
	l.until("up", l.both(Up))
	for _, e := range l.ends {
		for _, p := range e.sent {
			if p.State != Up && p.DesiredMinTx != SlowTx {
				t.Errorf("%s announces %v in state %v", e.name, p.DesiredMinTx, p.State)
			}
		}
	}
	l.until("settled", l.settled)
	for _, e := range l.ends {
		if r := e.Report(); r.TransmitInterval != 300*ms || r.DetectionTime != 900*ms || r.Diagnostic != NoDiagnostic || !r.RemoteIndependent {
			t.Errorf("%s: %+v", e.name, r)
		}
	}
}

func TestAloneItSendsOneASecond(t *testing.T) {
	l := newLink(t, 2, Default(), Default())
	l.lose = func(int) bool { return true }
	l.run(100 * time.Second)
	if n := len(l.ends[0].sent); n < 100 || n > 134 {
		t.Errorf("%d packets in 100 s, want 100 to 134", n)
	}
	if r := l.ends[0].Report(); r.Failed || r.Heard || r.Reason() != "the peer isn't heard: does it run BFD?" {
		t.Errorf("%+v: %s", r, r.Reason())
	}
}

// TestJitter measures the shares of the interval after which packets follow
// (RFC 5880 section 6.8.7).
func TestJitter(t *testing.T) {
	for mult, most := range map[uint8]float64{1: 0.9, 2: 1, 3: 1} {
		s := inState(Up)
		s.params.Multiplier = mult
		least, greatest := 2.0, 0.0
		for _, random := range []uint32{0, 1, 1 << 31, 1<<32 - 1} {
			s.jitter = random
			share := float64(s.shorten(time.Second)) / float64(time.Second)
			least, greatest = min(least, share), max(greatest, share)
		}
		if least < 0.75 || least > 0.7501 || greatest > most || greatest < most-0.0001 {
			t.Errorf("multiplier %d: %v to %v, want 0.75 to %v", mult, least, greatest, most)
		}
	}
}

func TestALostPeerIsNoticedAfterTheDetectionTime(t *testing.T) {
	for _, p := range []Params{Default(), {50 * ms, 50 * ms, 3}, {300 * ms, 300 * ms, 1}} {
		l := newLink(t, 3, p, p)
		l.delay = ms // a multiplier of 1 has a tenth of an interval to spare
		l.until("settled", l.settled)
		heard := l.ends[0].heard
		l.lose = func(to int) bool { return to == 0 }
		l.until("down", func() bool { heard = max(heard, l.ends[0].heard); return l.ends[0].state == Down })
		if took, want := l.now.Sub(heard), time.Duration(p.Multiplier)*p.MinRx; took != want {
			t.Errorf("%+v: noticed %v after the last packet, want %v", p, took, want)
		}
		r := l.ends[0].Report()
		if r.Diagnostic != TimeExpired || !r.Failed || r.Reason() != fmt.Sprintf("nothing was heard of the peer for %v", time.Duration(p.Multiplier)*p.MinRx) {
			t.Errorf("%+v: %s", r, r.Reason())
		}
		l.until("the other knows", func() bool { return l.ends[1].state == Down })
		if r := l.ends[1].Report(); r.Diagnostic != NeighborDown || !r.Failed || r.Reason() != "the peer doesn't hear this side any more" {
			t.Errorf("%+v: %s", r, r.Reason())
		}
		l.lose = nil
		l.until("up again", l.both(Up))
		if r := l.ends[0].Report(); r.Failed || r.Falls != 1 {
			t.Errorf("%+v", r)
		}
	}
}

func TestAdminDownIsNoFailure(t *testing.T) {
	l := newLink(t, 4, Default(), Default())
	l.until("settled", l.settled)
	l.ends[0].SetAdminDown(true, l.now)
	l.until("the peer knows", func() bool { return l.ends[1].state == Down })
	if r := l.ends[1].Report(); r.Failed || r.Diagnostic != NeighborDown || r.Reason() != "the peer has shut it" {
		t.Errorf("%+v: %s", r, r.Reason())
	}
	if l.ends[0].Gone(l.now) {
		t.Error("gone before the peer has said that it knows")
	}
	l.until("gone", func() bool { return l.ends[0].Gone(l.now) })
	l.run(time.Minute)
	if r := l.ends[0].Report(); r.State != AdminDown || r.Failed || r.Diagnostic != Administrative || r.Reason() != "shut on this side" {
		t.Errorf("%+v: %s", r, r.Reason())
	}
	l.ends[0].SetAdminDown(false, l.now)
	l.until("up again", l.both(Up))
}

// TestFarewellSurvivesLoss loses what is said first when a session is shut; the
// peer must not come to the end of its detection time.
func TestFarewellSurvivesLoss(t *testing.T) {
	l := newLink(t, 5, Params{50 * ms, 50 * ms, 3}, Params{50 * ms, 50 * ms, 3})
	l.until("settled", l.settled)
	lost := 0
	l.lose = func(to int) bool { lost++; return to == 1 && lost <= 1 }
	l.ends[0].SetAdminDown(true, l.now)
	l.until("the peer is down", func() bool { return l.ends[1].state == Down })
	if r := l.ends[1].Report(); r.Failed || r.Diagnostic != NeighborDown {
		t.Errorf("%+v", r)
	}
	l.lose = func(int) bool { return true }
	l.ends[0].SetAdminDown(false, l.now)
	l.lose = nil
	l.until("up again", l.settled)
	l.lose = func(int) bool { return true }
	start := l.now
	l.ends[0].SetAdminDown(true, start)
	l.until("gone though nobody answers", func() bool { return l.ends[0].Gone(l.now) })
	if took := l.now.Sub(start); took > time.Second {
		t.Errorf("waited %v for a peer whose detection time is 150 ms", took)
	}
}

func TestAPeerThatNeverWasIsForgottenAtOnce(t *testing.T) {
	s := inState(Down)
	s.SetAdminDown(true, 10)
	var out Packet
	if s.Gone(10) || !s.Advance(10, 0, &out) || out.State != AdminDown || out.Diagnostic != Administrative || !s.Gone(10) {
		t.Errorf("one farewell and an end: %+v", out)
	}
}

func TestDemandAndZeroRxSilence(t *testing.T) {
	s := inState(Up)
	p := peerSays(Up)
	p.Demand = true
	_ = s.Receive(&p, 10)
	if d := s.sendAt(); d != Never {
		t.Errorf("sends at %v though the peer demands silence", d)
	}
	p.Poll = true
	_ = s.Receive(&p, 20)
	var out Packet
	if !s.Advance(20, 0, &out) || !out.Final || out.Poll || out.Demand || s.Advance(20, 0, &out) {
		t.Errorf("answered the poll with %+v", out)
	}
	s.Configure(Params{100 * ms, 300 * ms, 3})
	if !s.Advance(30, 0, &out) || !out.Poll || out.DesiredMinTx != 100*ms {
		t.Errorf("a change is polled all the same: %+v", out)
	}
	if s.sendAt() == Never {
		t.Error("a poll isn't repeated")
	}
	p.Demand, p.Poll, p.RequiredMinRx = false, false, 0
	_ = s.Receive(&p, 40)
	if d := s.sendAt(); d != Never {
		t.Errorf("sends at %v though the peer wants none", d)
	}
	if out.RequiredMinEchoRx != 0 {
		t.Error("offers echoes")
	}
}

// TestAShorterIntervalOfThePeerIsHonouredAtOnce: RFC 5880 section 6.8.3.
func TestAShorterIntervalOfThePeerIsHonouredAtOnce(t *testing.T) {
	s := NewSession(11, Params{50 * ms, 50 * ms, 3}, 0)
	var out Packet
	for _, told := range []State{Down, Init, Up} {
		p := peerSays(told)
		p.DesiredMinTx, p.RequiredMinRx, p.Final = 10*time.Second, 10*time.Second, told == Up
		_ = s.Receive(&p, 0)
		s.Advance(0, 0, &out)
	}
	for s.Advance(0, 0, &out) {
	}
	later := Instant(0).Add(2 * time.Second)
	if s.Advance(later, 0, &out) || s.sendAt() != Instant(0).Add(10*time.Second) {
		t.Errorf("sends at %v", s.sendAt())
	}
	p := peerSays(Up)
	p.RequiredMinRx = 100 * ms
	_ = s.Receive(&p, later)
	if !s.Advance(later, 0, &out) {
		t.Error("waits though the shorter interval has passed already")
	}
}

// TestBlindForgery sends what somebody can make who knows the addresses and not
// the discriminators.
func TestBlindForgery(t *testing.T) {
	s := inState(Up)
	before := s
	for _, state := range []State{AdminDown, Down} {
		p := peerSays(state)
		p.MyDiscriminator, p.YourDiscriminator = 99, 0
		if err := s.Receive(&p, 10); !errors.Is(err, DropStranger) {
			t.Errorf("%v: %v", state, err)
		}
	}
	if s != before {
		t.Error("a refused packet changed the session")
	}
	// What is left of section 6.8.6: the peer itself may lose our discriminator.
	p := peerSays(Down)
	p.YourDiscriminator, p.Diagnostic = 0, TimeExpired
	if err := s.Receive(&p, 10); err != nil || s.state != Down {
		t.Errorf("the peer's own word: %v, %v", err, s.state)
	}
}

func drawParams(t *rapid.T, name string) Params {
	interval := func(what string) time.Duration {
		return time.Duration(rapid.SampledFrom([]int{50, 80, 100, 300, 1000, 2500}).Draw(t, name+what)) * ms
	}
	return Params{interval(" tx"), interval(" rx"), uint8(rapid.SampledFrom([]int{2, 3, 5}).Draw(t, name+" multiplier"))}
}

// TestChangesNeverCostASession changes parameters of both ends at any time, also
// while earlier changes are under way. On a link that loses nothing no session
// falls, both end with what was wanted last, and nobody sends too early.
func TestChangesNeverCostASession(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := [2]Params{drawParams(rt, "a"), drawParams(rt, "b")}
		l := newLink(t, rapid.Uint64().Draw(rt, "seed"), want[0], want[1])
		l.until("up", l.both(Up))
		for range rapid.IntRange(1, 12).Draw(rt, "changes") {
			l.run(time.Duration(rapid.IntRange(0, 3000).Draw(rt, "pause")) * ms)
			i := rapid.IntRange(0, 1).Draw(rt, "end")
			want[i] = drawParams(rt, "new")
			l.ends[i].Configure(want[i])
		}
		l.until("settled", l.settled)
		l.run(20 * time.Second)
		for i, e := range l.ends {
			us, peer, r := want[i], want[1-i], e.Report()
			if r.Falls != 0 || r.State != Up {
				rt.Fatalf("%s fell: %s, %+v", e.name, r.Reason(), r)
			}
			if r.TransmitInterval != max(us.MinTx, peer.MinRx) || r.DetectionTime != time.Duration(peer.Multiplier)*max(us.MinRx, peer.MinTx) {
				rt.Fatalf("%s negotiated %v and %v of %+v and %+v", e.name, r.TransmitInterval, r.DetectionTime, us, peer)
			}
			checkPackets(rt, e)
		}
	})
}

// checkPackets looks at everything that an end has sent.
func checkPackets(t *rapid.T, e *end) {
	regular, early := Instant(-1), 0
	for _, p := range e.sent {
		switch {
		case p.Poll && p.Final:
			t.Fatalf("%s polls and answers in one packet", e.name)
		case p.State != Up && p.DesiredMinTx < SlowTx:
			t.Fatalf("%s announces %v in state %v", e.name, p.DesiredMinTx, p.State)
		case !p.ControlIndependent || p.Demand || p.RequiredMinEchoRx != 0:
			t.Fatalf("%s sends %+v", e.name, p)
		}
		if p.Final || p.early {
			if p.early {
				early++
			}
			continue
		}
		pace := min(p.DesiredMinTx, SlowTx)
		if p.State == AdminDown || p.Poll && p.State == Up {
			pace = LeastInterval // a farewell is repeated; the pace before may go on until the Final
		}
		if regular >= 0 && p.at.Sub(regular) < 3*pace/4 {
			t.Fatalf("%s sends after %v: %+v", e.name, p.at.Sub(regular), p.Packet)
		}
		regular = p.at
	}
	if most := 2*hurries + int(e.sent[len(e.sent)-1].at.Sub(0)/SlowTx); early > most {
		t.Fatalf("%s sent %d packets early, want %d at most", e.name, early, most)
	}
}

// TestAnyLossEndsInUp loses and reorders at random in both directions, with
// shuts and changes in between; when the link is good again, both come up.
func TestAnyLossEndsInUp(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := newLink(t, rapid.Uint64().Draw(rt, "seed"), drawParams(rt, "a"), drawParams(rt, "b"))
		l.mixed = true
		l.delay = time.Duration(rapid.IntRange(1, 400).Draw(rt, "delay")) * ms
		for range rapid.IntRange(1, 8).Draw(rt, "phases") {
			share := rapid.SampledFrom([]float64{0, 0.3, 0.8, 1}).Draw(rt, "loss")
			one := rapid.IntRange(0, 2).Draw(rt, "direction")
			l.lose = func(to int) bool { return to != one && l.random.Float64() < share }
			e := l.ends[rapid.IntRange(0, 1).Draw(rt, "end")]
			switch rapid.IntRange(0, 3).Draw(rt, "act") {
			case 0:
				e.SetAdminDown(true, l.now)
			case 1:
				e.SetAdminDown(false, l.now)
			case 2:
				e.Configure(drawParams(rt, "new"))
			}
			l.run(time.Duration(rapid.IntRange(0, 20000).Draw(rt, "length")) * ms)
		}
		l.lose, l.mixed, l.delay = nil, false, 5*ms
		for _, e := range l.ends {
			e.SetAdminDown(false, l.now)
		}
		l.until("settled", l.settled)
		l.run(10 * time.Second) // what was lost last may still cost a session
		falls := l.ends[0].falls + l.ends[1].falls
		l.run(time.Minute)
		if after := l.ends[0].falls + l.ends[1].falls; after != falls {
			rt.Fatalf("%d falls on a good link", after-falls)
		}
		for _, e := range l.ends {
			checkPackets(rt, e)
		}
	})
}

// FuzzSession feeds packets and time; whatever comes, the session keeps to its
// limits.
func FuzzSession(f *testing.F) {
	b := valid()
	f.Add(append([]byte{1, 0}, b[:]...), uint32(7))
	f.Fuzz(func(t *testing.T, raw []byte, random uint32) {
		s := inState(Up)
		now, sent := Instant(10), 0
		var out Packet
		for len(raw) > Size {
			now = now.Add(time.Duration(raw[0]) * 10 * ms)
			p, err := Decode(raw[1 : 1+Size])
			raw = raw[1+Size:]
			if err == nil {
				_ = s.Receive(&p, now)
			}
			for n := 0; s.Advance(now, random, &out); n++ {
				if sent++; n > 2 {
					t.Fatal("more than an answer and a packet at once")
				}
				if out.State != Up && out.DesiredMinTx < SlowTx || out.Poll && out.Final {
					t.Fatalf("%+v", out)
				}
			}
			if d := s.Deadline(); d <= now {
				t.Fatalf("at %v something was due at %v, and nothing came", now, d)
			}
		}
	})
}

func TestTheHotPathAllocatesNothing(t *testing.T) {
	s := inState(Up)
	table := NewTable[*Session]()
	k := key("a0", "192.0.2.1", "192.0.2.2")
	table.Add(11, k, &s)
	p := peerSays(Up)
	var b [Size]byte
	var out Packet
	now, n := Instant(10), uint32(0)
	if a := testing.AllocsPerRun(1000, func() {
		n++
		now = now.Add(300 * ms)
		p.Poll = n%2 == 0
		p.Encode(&b)
		got, err := Decode(b[:])
		if err != nil {
			t.Fatal(err)
		}
		found, err := table.Lookup(&got, k)
		if err != nil {
			t.Fatal(err)
		}
		_ = found.Receive(&got, now)
		for found.Advance(now, n, &out) {
			out.Encode(&b)
		}
		b[2] = 0
		if _, err := Decode(b[:]); err == nil {
			t.Fatal("a multiplier of zero")
		}
	}); a != 0 {
		t.Errorf("%v allocations for a packet each way", a)
	}
}
