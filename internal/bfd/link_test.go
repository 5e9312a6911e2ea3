package bfd

import (
	"math/rand/v2"
	"testing"
	"time"
)

// end is a session on a simulated link.
type end struct {
	Session
	name  string
	sent  []sentPacket
	drops int
}

type sentPacket struct {
	Packet
	at    Instant
	early bool // because something changed
}

// flight is a packet on its way.
type flight struct {
	to     int
	packet Packet
	at     Instant
}

// link is two sessions with virtual time between them. Packets arrive after a
// random delay, and overtake each other where that is wanted.
type link struct {
	t      testing.TB
	now    Instant
	random *rand.Rand
	ends   [2]*end
	flying []flight
	delay  time.Duration     // at most
	mixed  bool              // packets overtake each other
	lose   func(to int) bool // nil: nothing is lost
}

func newLink(t testing.TB, seed uint64, a, b Params) *link {
	l := &link{t: t, random: rand.New(rand.NewPCG(seed, 1)), delay: 5 * time.Millisecond}
	l.ends = [2]*end{{Session: NewSession(11, a, 0), name: "a"}, {Session: NewSession(22, b, 0), name: "b"}}
	return l
}

// next is when something happens next, and to whom.
func (l *link) next() (at Instant, packet, session int) {
	at, packet, session = Never, -1, -1
	for i, f := range l.flying {
		if f.at < at {
			at, packet, session = f.at, i, -1
		}
	}
	for i, e := range l.ends {
		if d := e.Deadline(); d < at {
			at, packet, session = d, -1, i
		}
	}
	return at, packet, session
}

// run lets time pass.
func (l *link) run(d time.Duration) {
	l.t.Helper()
	for end, steps := l.now.Add(d), 0; ; steps++ {
		at, packet, _ := l.next()
		if at > end {
			l.now = end
			return
		}
		if steps > 1_000_000 {
			l.t.Fatal("the sessions never come to rest")
		}
		l.now = max(l.now, at)
		if packet >= 0 {
			f := l.flying[packet]
			l.flying = append(l.flying[:packet], l.flying[packet+1:]...)
			l.arrive(f)
		}
		l.send()
	}
}

func (l *link) arrive(f flight) {
	var b [Size]byte
	f.packet.Encode(&b)
	p, err := Decode(b[:])
	if err == nil && p.YourDiscriminator != 0 && p.YourDiscriminator != l.ends[f.to].Discriminator() {
		err = DropUnknownSession
	}
	if err == nil {
		err = l.ends[f.to].Receive(&p, l.now)
	}
	if err != nil {
		l.ends[f.to].drops++
	}
}

func (l *link) send() {
	for i, e := range l.ends {
		var p Packet
		e.expire(l.now)
		for early := e.urgent; e.Advance(l.now, l.random.Uint32(), &p); early = e.urgent {
			e.sent = append(e.sent, sentPacket{p, l.now, early})
			if l.lose == nil || !l.lose(1-i) {
				l.fly(flight{1 - i, p, l.now.Add(time.Duration(l.random.Int64N(int64(l.delay))))})
			}
		}
	}
}

func (l *link) fly(f flight) {
	for _, other := range l.flying {
		if other.to == f.to && !l.mixed {
			f.at = max(f.at, other.at)
		}
	}
	l.flying = append(l.flying, f)
}

// until lets time pass until a condition is true.
func (l *link) until(what string, ok func() bool) {
	l.t.Helper()
	for deadline := l.now.Add(10 * time.Minute); !ok(); {
		if l.now > deadline {
			l.t.Fatalf("%s: not within 10 minutes: %+v and %+v", what, l.ends[0].Report(), l.ends[1].Report())
		}
		at, _, _ := l.next()
		l.run(max(at.Sub(l.now), 0))
	}
}

func (l *link) both(s State) func() bool {
	return func() bool { return l.ends[0].state == s && l.ends[1].state == s }
}

// settled is true when both are up and no change is under way.
func (l *link) settled() bool {
	quiet := func(e *end) bool { return !e.timing.polling && !e.timing.settling && !e.urgent }
	return l.both(Up)() && quiet(l.ends[0]) && quiet(l.ends[1]) && len(l.flying) == 0
}
