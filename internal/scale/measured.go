package scale

import "time"

// Measured are the inputs of all arithmetic and simulation.
type Measured struct {
	LifeStored   float64       // bytes in the ledger of a guest's life of 8 events, before compression
	LifeHeard    float64       // bytes that agents hear of it
	LifeMessages float64       // in the ledger
	LifeEvents   float64       // in a life
	DiskEvent    float64       // bytes on disk of an event in the ledger, compressed
	DiskMirror   float64       // and in the mirror of the feeds
	Commands     float64       // a second, on three servers with sync always
	CommandsOne  float64       // a second, on one with sync always
	Own          time.Duration // CPU time of a server for a message that one agent hears
	All          time.Duration // for each agent that hears a message
	Connect      time.Duration // CPU time of a server for a connection with TLS and nkey
	Connection   float64       // bytes of a server's memory for a connection with its subscriptions
	Server       Affine        // CPU time of the servers for a snapshot
	Service      Affine        // of a service
	Follower     Affine        // of an agent
	Answer       float64       // bytes of a snapshot, a guest
	PollServer   time.Duration // CPU time of the servers for a question whether anything was missed
	PollService  time.Duration
	PollBytes    float64
	RIBFirst     float64       // bytes of an agent's heap for an IPv4 route from one reflector
	RIBNext      float64       // and from each further one
	Kernel4      float64       // bytes of the kernel for an IPv4 route
	Kernel6      float64       // and an IPv6 route, both in next-hop groups
	PerPair      time.Duration // CPU time of BIRD for a route that it tells a client
	Move         time.Duration // for one route that changes, a client
	PairBytes    float64       // of that route on the wire
	BIRDRoute    float64       // bytes of BIRD's memory for a route
	BIRDPair     float64       // and for each client beside
	BFD          time.Duration // interval
}

// Affine is a cost with a part that is always there, and one for each guest.
type Affine struct{ Once, Guest time.Duration }

// Of is the cost of so many guests.
func (a Affine) Of(guests int) time.Duration { return a.Once + time.Duration(guests)*a.Guest }

// String writes it as a sum.
func (a Affine) String() string { return a.Once.String() + " + " + a.Guest.String() + " a guest" }

// Here are the values of the machine that docs/scale.md was written on: 2 cores of
// an AMD EPYC, Linux 6.18, shared with other work, so CPU time and not wall time.
func Here() Measured {
	return Measured{
		LifeStored: 25608, LifeHeard: 20853, LifeMessages: 38, LifeEvents: 8, DiskEvent: 684, DiskMirror: 187,
		Commands: 3300, CommandsOne: 200,
		Own: 142 * time.Microsecond, All: 21 * time.Microsecond,
		Connect: 1160 * time.Microsecond, Connection: 47_000,
		Server: Affine{time.Millisecond, 35 * time.Microsecond}, Service: Affine{800 * time.Microsecond, 35 * time.Microsecond},
		Follower: Affine{900 * time.Microsecond, 39 * time.Microsecond}, Answer: 696,
		PollServer: 530 * time.Microsecond, PollService: 457 * time.Microsecond, PollBytes: 647,
		RIBFirst: 18, RIBNext: 6.3, Kernel4: 130, Kernel6: 528,
		PerPair: 2890 * time.Nanosecond, Move: 610 * time.Nanosecond, PairBytes: 70, BIRDRoute: 195, BIRDPair: 1.6,
		BFD: 300 * time.Millisecond,
	}
}

// Source says where an input comes from.
type Source struct {
	Input string `json:"input"`
	Value string `json:"value"`
	From  string `json:"from"`
}

// Sources lists all inputs.
func (m Measured) Sources() []Source {
	const (
		life    = "go test -run '^$' -bench GuestLife ./events/log"
		store   = "go test -run '^$' -bench StoreSize -benchtime 1x ./events/log"
		fanout  = "go test -run '^$' -bench Fanout ./events/log"
		connect = "go test -run '^$' -bench Connect ./events/log"
		herd    = "go test -run '^$' -bench HerdParts -benchtime 1x ./events/log"
		poll    = "go test -run '^$' -bench Poll ./events/log"
		planes  = "go test -run '^$' -bench Planes -benchtime 1x ./internal/scale"
		bird    = "go test -run '^$' -bench Reflector -benchtime 1x ./internal/scale (BIRD 2.0.12)"
		kernel  = "slab growth of 2,000,000 routes, Linux 6.18: fib_alias and trie leaf; fib6_info"
		cluster = "three servers on two cores, 64 writers, docs/cluster.md"
	)
	return []Source{
		{"stored of a guest's life", sized(m.LifeStored), life},
		{"heard of it by agents", sized(m.LifeHeard), life},
		{"messages of it", count(m.LifeMessages), life},
		{"on disk of an event: ledger, mirror", sized(m.DiskEvent) + ", " + sized(m.DiskMirror), store},
		{"commands a second, three servers", count(m.Commands), cluster},
		{"commands a second, one server", count(m.CommandsOne), "go test -run '^$' -bench 'Publish/sync=always' ./events/log; depends on the disk"},
		{"server, a message that one hears", m.Own.String(), fanout + ", own, 4,000 connections"},
		{"server, a message that all hear, each", m.All.String(), fanout + ", all, 1,000 connections"},
		{"server, a connection (TLS, nkey)", m.Connect.String(), connect},
		{"server's memory, a connection", sized(m.Connection), fanout},
		{"snapshot: server", m.Server.String(), herd},
		{"snapshot: service", m.Service.String(), herd},
		{"snapshot: agent", m.Follower.String(), herd},
		{"snapshot, a guest, on the wire", sized(m.Answer), herd},
		{"poll: server, service", m.PollServer.String() + ", " + m.PollService.String(), poll},
		{"poll, on the wire", sized(m.PollBytes), poll},
		{"agent's heap, an IPv4 route: first reflector, each further", sized(m.RIBFirst) + ", " + sized(m.RIBNext), planes},
		{"kernel, a route: IPv4, IPv6", sized(m.Kernel4) + ", " + sized(m.Kernel6), kernel},
		{"reflector, a route told to a client", m.PerPair.String(), bird},
		{"reflector, a route that moves, a client", m.Move.String(), bird},
		{"that route on the wire", sized(m.PairBytes), bird},
		{"reflector's memory: a route, and a client of it", sized(m.BIRDRoute) + ", " + sized(m.BIRDPair), bird},
	}
}
