package scale

import "time"

// Fanout is events that come at random, and what the ledger tells hypervisors of
// them: most concern one or two, changes of networks all. One goroutine of the
// server that leads the ledger hands all of it to the connections, one after the
// other, so a change of a network holds up what comes after it.
type Fanout struct {
	Hypervisors int
	Events      float64       // a second
	Networks    float64       // a second, besides
	Heard       int           // messages of an event that an agent hears
	Own         time.Duration // of that goroutine, for a message that one hears
	All         time.Duration // for each agent that hears a message
	For         time.Duration // how long it is watched
	Seed        uint64
}

// FanoutResult is what became of it.
type FanoutResult struct {
	Events, Networks Quantiles // from stored to handed to the last connection
	Busy             float64   // work that came, of what the goroutine can do in the time
	Queue            int       // the longest, in messages
	Deliveries       int
}

// Run simulates it.
func (f Fanout) Run() FanoutResult {
	e := &engine{random: random{f.Seed}}
	line := newStation(e, 1)
	var own, all []time.Duration
	var r FanoutResult
	source := func(rate float64, takes time.Duration, deliveries int, into *[]time.Duration) {
		if rate <= 0 {
			return
		}
		mean := time.Duration(float64(time.Second) / rate)
		var arrive func()
		arrive = func() {
			if e.now >= f.For {
				return
			}
			begun := e.now
			line.work(takes, func() {
				*into = append(*into, e.now-begun)
				r.Deliveries += deliveries
			})
			e.after(e.random.exponential(mean), arrive)
		}
		e.after(e.random.exponential(mean), arrive)
	}
	source(f.Events, time.Duration(f.Heard)*f.Own, f.Heard, &own)
	source(f.Networks, time.Duration(f.Hypervisors)*f.All, f.Hypervisors, &all)
	e.run(10 * f.For)
	r.Events, r.Networks = QuantilesOf(own), QuantilesOf(all)
	r.Busy = float64(line.worked) / float64(f.For)
	r.Queue = line.longest
	return r
}
