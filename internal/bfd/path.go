package bfd

import "time"

// How a path that comes and goes is damped. The first falls cost nothing: a
// cable that was pulled and put back is used again at once.
const (
	// UnsteadyFalls within UnsteadyWindow make a path unsteady: it is used again
	// only when it has been up for FirstHold, and for twice as long with every
	// further fall, LongestHold at most.
	UnsteadyFalls  = 3
	UnsteadyWindow = 15 * time.Minute
	FirstHold      = 10 * time.Second
	LongestHold    = 5 * time.Minute
	rememberedFall = 8 // more make the hold no longer
)

// Path decides whether a path may be used, from what a session on it told (RFC
// 5882 section 3.2 leaves that to the client). It is a plain value; nobody need
// ask it in time, and whether there is anything better to use is the caller's to
// know.
//
// A path is unsound from the moment that its loss reaches the limit until it is
// no more than half of that. Being found unsound counts as a fall: loss that goes
// away with the traffic comes back with it, and would do so for ever.
type Path struct {
	limit   float64 // 0: loss never makes it unsound
	down    bool
	lossy   bool
	excused Instant // since when nobody watches it; 0: it is watched
	falls   [rememberedFall]Instant
	count   int // of falls so far
	free    Instant
}

// NewPath makes a path that may be used. The limit is the share of packets, 0 to
// 1, whose loss makes it unsound; 0: none does.
func NewPath(limit float64) Path { return Path{limit: limit} }

// Fell notes that the path failed.
func (p *Path) Fell(now Instant) {
	p.down, p.excused = true, 0
	p.note(now)
}

// Rose notes that the path is up again.
func (p *Path) Rose(now Instant) {
	p.excused = 0
	if p.down {
		p.down = false
		p.hold(now)
	}
}

// Excused notes that nobody watches the path any more, on purpose: then it isn't
// down. What it lost goes on counting for as long as loss is measured: a reflector
// that shuts BFD with a BGP session that died of the loss is back soon.
func (p *Path) Excused(now Instant) {
	p.down = false
	if p.excused == 0 {
		p.excused = now
	}
}

// Measured notes the loss of a path that is up, 0 to 1.
func (p *Path) Measured(loss float64, now Instant) {
	switch {
	case p.limit == 0:
	case !p.lossy && loss >= p.limit:
		p.lossy = true
		p.note(now)
	case p.lossy && loss <= p.limit/2:
		p.lossy = false
		p.hold(now)
	}
}

func (p *Path) note(now Instant) {
	p.falls[p.count%rememberedFall] = now
	p.count++
}

// Falls is how often the path fell in the last UnsteadyWindow, as far as that
// counts.
func (p *Path) Falls(now Instant) (n int) {
	for _, at := range p.falls[:min(p.count, rememberedFall)] {
		if now.Sub(at) < UnsteadyWindow {
			n++
		}
	}
	return n
}

func (p *Path) hold(now Instant) {
	if n := p.Falls(now); n >= UnsteadyFalls {
		p.free = max(p.free, now.Add(min(FirstHold<<(n-UnsteadyFalls), LongestHold)))
	}
}

// Lost tells whether the path failed and hasn't been up since.
func (p *Path) Lost() bool { return p.down }

// Lossy tells whether it is unsound for its loss, as far as that is known.
func (p *Path) Lossy(now Instant) bool {
	return p.lossy && (p.excused == 0 || now.Sub(p.excused) < LossWindow)
}

// Held is until when the path has to stay up before it is used again; false: it
// needn't.
func (p *Path) Held(now Instant) (until Instant, held bool) {
	return p.free, !p.down && now < p.free
}

// Sound tells whether the path may be used wherever there is a choice.
func (p *Path) Sound(now Instant) bool {
	_, held := p.Held(now)
	return !p.down && !p.Lossy(now) && !held
}
