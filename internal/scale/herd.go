package scale

import (
	"time"

	"github.com/hostroute/hostroute/internal/pace"
)

// Herd is agents that start together and know nothing, as after a power cut of a
// whole site in which the disks of all were lost. Who has a local snapshot serves
// from it meanwhile, and is told only what is new.
type Herd struct {
	Hypervisors int
	Boot        time.Duration // within which they start, evenly
	ServersBack time.Duration // when NATS takes connections

	Servers      int // of NATS
	ServerCores  int // each
	Services     int // instances of the log service
	ServiceCores int // each
	// SharedCores, if not 0, is how many cores there are for everything, agents
	// included, as in a measurement on one machine.
	SharedCores int

	Connect  time.Duration // CPU time of a server for a connection
	Server   time.Duration // CPU time of the servers for one snapshot: reading it, and handing it on
	Service  time.Duration // CPU time of a service for one snapshot
	Follower time.Duration // CPU time of an agent for it
	Answer   int           // bytes of it
	LinkRate float64       // bytes a second out of each server; 0: no limit

	// ServiceDies is when one of the services dies; 0: never.
	ServiceDies time.Duration
	Seed        uint64
}

// ConnectTimeout is how long a client of NATS waits for a connection to be made
// (nats.go, DefaultTimeout).
const ConnectTimeout = 2 * time.Second

// HerdResult is what became of a herd.
type HerdResult struct {
	Connected, Synced Quantiles // since the beginning
	Dials             int       // connections that were begun, in vain or not
	Late              int       // connections made after their client had given up
	Asked             int       // questions sent
	Answered          int       // answers sent
	Lost              int       // questions that died with a service
	Queue             int       // the longest of a service
	ServerCPU         time.Duration
	ServiceCPU        time.Duration
	Bytes             int64
}

type herd struct {
	Herd
	engine
	servers, services, links []*station
	turns                    []*station // of services; a worker is a turn
	dead                     int        // the service that died, or -1
	connected, synced        []time.Duration
	result                   HerdResult
}

// Run simulates it.
func (h Herd) Run() HerdResult {
	s := &herd{Herd: h, dead: -1}
	s.random.state = h.Seed
	shared := newStation(&s.engine, h.SharedCores)
	cores := func(n int) *station {
		if h.SharedCores > 0 {
			return shared
		}
		return newStation(&s.engine, n)
	}
	for range max(h.Servers, 1) {
		s.servers = append(s.servers, cores(h.ServerCores))
		s.links = append(s.links, newStation(&s.engine, 1))
	}
	for range max(h.Services, 1) {
		s.services = append(s.services, cores(h.ServiceCores))
		s.turns = append(s.turns, newStation(&s.engine, pace.Snapshotting))
	}
	for range h.Hypervisors {
		a := &agent{herd: s}
		s.after(s.random.draw(h.Boot+1), func() { a.dial(0) })
	}
	if h.ServiceDies > 0 && len(s.services) > 1 {
		s.after(h.ServiceDies, func() { s.dead = 0 })
	}
	s.run(time.Hour)
	return s.finish()
}

func (s *herd) finish() HerdResult {
	r := s.result
	r.Connected, r.Synced = QuantilesOf(s.connected), QuantilesOf(s.synced)
	seen := map[*station]bool{}
	for i := range s.servers {
		if !seen[s.servers[i]] {
			r.ServerCPU += s.servers[i].worked
		}
		seen[s.servers[i]] = true
	}
	for i := range s.services {
		r.Queue = max(r.Queue, s.turns[i].longest)
		if !seen[s.services[i]] {
			r.ServiceCPU += s.services[i].worked
		}
		seen[s.services[i]] = true
	}
	return r
}

// agent is one of them.
type agent struct {
	*herd
	server  int // that it is connected to
	backoff pace.Backoff
	dials   int // attempts, of which only the last counts
}

// dial tries the servers in a random order, as nats.go does, and begins again
// after a pause.
func (a *agent) dial(round int) {
	a.attempt(round, 0, a.random.below(len(a.servers)))
}

func (a *agent) attempt(round, tried, server int) {
	if tried == len(a.servers) {
		a.after(pace.Redial(round, a.random.draw), func() { a.dial(round + 1) })
		return
	}
	next := (server + 1) % len(a.servers)
	a.result.Dials++
	if a.now < a.ServersBack { // refused at once
		a.attempt(round, tried+1, next)
		return
	}
	a.dials++
	this, made := a.dials, false
	gone := func() bool { return this != a.dials } // it hung up, which the server notices before it begins
	a.servers[server].queue(job{takes: a.Connect, void: gone, done: func() {
		if gone() {
			a.result.Late++
			return
		}
		made, a.server = true, server
		a.connected = append(a.connected, a.now)
		a.after(a.random.draw(pace.FirstQuestion), a.ask)
	}})
	a.after(ConnectTimeout, func() {
		if !made && this == a.dials {
			a.dials++ // what comes of it is late
			a.attempt(round, tried+1, next)
		}
	})
}

// ask has a service that lives make a snapshot when the turn comes.
func (a *agent) ask() {
	service := a.random.below(len(a.services))
	if service == a.dead {
		service = (service + 1) % len(a.services)
	}
	a.result.Asked++
	begun := a.now
	a.turn(service, func(answered bool) {
		if answered {
			a.backoff.Succeeded()
			return
		}
		// The service died: it goes on waiting since the last assurance.
		a.result.Lost++
		waited := (a.ServiceDies - begun) % pace.Assurance
		a.after(pace.AnswerTimeout-waited+a.backoff.Failed(a.random.draw), a.ask)
	})
}

// turn takes a place at a service, and keeps it until the snapshot is on its way.
func (a *agent) turn(service int, ended func(answered bool)) {
	place := a.turns[service]
	begin := func() {
		place.busy++
		a.make(service, func(answered bool) {
			place.busy--
			place.served++
			ended(answered)
			if len(place.waiting) > 0 {
				next := place.waiting[0]
				place.waiting = place.waiting[1:]
				next.done()
			}
		})
	}
	if place.busy < place.workers {
		begin()
		return
	}
	place.waiting = append(place.waiting, job{done: begin})
	place.longest = max(place.longest, len(place.waiting))
}

// make reads a snapshot from a server, packs it, and hands it on through the
// agent's server and its link.
func (a *agent) make(service int, ended func(answered bool)) {
	died := func() bool {
		if service != a.dead {
			return false
		}
		ended(false)
		return true
	}
	if died() {
		return
	}
	reader := a.servers[a.random.below(len(a.servers))]
	reader.work(a.Server/2, func() {
		if died() {
			return
		}
		a.services[service].work(a.Service, func() {
			if died() {
				return
			}
			a.result.Answered++
			a.result.Bytes += int64(a.Answer)
			ended(true)
			a.deliver()
		})
	})
}

func (a *agent) deliver() {
	a.servers[a.server].work(a.Server/2, func() {
		var takes time.Duration
		if a.LinkRate > 0 {
			takes = time.Duration(float64(a.Answer) / a.LinkRate * float64(time.Second))
		}
		a.links[a.server].work(takes, func() {
			taken := func() { a.synced = append(a.synced, a.now) }
			if a.SharedCores > 0 {
				a.servers[0].work(a.Follower, taken)
				return
			}
			a.after(a.Follower, taken)
		})
	})
}
