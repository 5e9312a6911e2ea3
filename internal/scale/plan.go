package scale

import (
	"fmt"
	"time"
)

// Plan is a region that somebody plans.
type Plan struct {
	Hypervisors int     `json:"hypervisors"`
	Guests      int     `json:"guests"` // a hypervisor, each with one address of each family
	Planes      int     `json:"planes"`
	Reflectors  int     `json:"reflectors"` // that a hypervisor has on a plane
	Clients     int     `json:"clients"`    // of a reflector; 0: all hypervisors
	Threads     int     `json:"threads"`    // of a reflector that share its clients
	VRFs        int     `json:"vrfs"`
	Events      float64 `json:"events"`   // a second
	Networks    float64 `json:"networks"` // that change, an hour
	Servers     int     `json:"servers"`
	Services    int     `json:"services"`
	Cores       int     `json:"cores"` // of each server and each host of a service
	Gigabits    float64 `json:"gigabits"`
	Seed        uint64  `json:"seed"`
}

// Default is the largest region that this is about.
func Default() Plan {
	return Plan{
		Hypervisors: 4000, Guests: 500, Planes: 4, Reflectors: 1, Threads: 1, VRFs: 1, Events: 100, Networks: 60,
		Servers: 3, Services: 3, Cores: 4, Gigabits: 10, Seed: 1,
	}
}

// Check tells what is wrong with a plan.
func (p Plan) Check() error {
	for name, n := range map[string]int{
		"hypervisors": p.Hypervisors, "guests": p.Guests, "planes": p.Planes, "reflectors": p.Reflectors, "threads": p.Threads,
		"vrfs": p.VRFs, "servers": p.Servers, "services": p.Services, "cores": p.Cores,
	} {
		if n < 1 || n > 1_000_000 {
			return fmt.Errorf("%s is %d, and must be 1 to 1,000,000", name, n)
		}
	}
	switch {
	case p.Clients < 0 || p.Clients > p.Hypervisors:
		return fmt.Errorf("clients is %d, and there are %d hypervisors", p.Clients, p.Hypervisors)
	case p.Events < 0 || p.Events > 100_000 || p.Networks < 0 || p.Networks > 1_000_000 || p.Gigabits <= 0:
		return fmt.Errorf("rates must not be negative: %g events a second, %g networks an hour, %g Gbit/s", p.Events, p.Networks, p.Gigabits)
	}
	return nil
}

// routes of one family.
func (p Plan) routes() int { return p.Hypervisors * p.Guests }

// clients of a reflector.
func (p Plan) clients() int {
	if p.Clients == 0 {
		return p.Hypervisors
	}
	return p.Clients
}

// link is bytes a second.
func (p Plan) link() float64 { return p.Gigabits * 1e9 / 8 }

// Herd is the plan's site after a power cut.
func (p Plan) Herd(m Measured) Herd {
	return Herd{
		Hypervisors: p.Hypervisors, Servers: p.Servers, ServerCores: p.Cores, Services: p.Services, ServiceCores: p.Cores,
		Connect: m.Connect, Server: m.Server.Of(p.Guests), Service: m.Service.Of(p.Guests), Follower: m.Follower.Of(p.Guests),
		Answer: p.Guests * int(m.Answer), LinkRate: p.link(), Boot: 10 * time.Second, ServersBack: 30 * time.Second, Seed: p.Seed,
	}
}

// Fanout is the plan's steady state for a minute, with a rate of events of its own.
func (p Plan) Fanout(m Measured, rate float64) Fanout {
	return Fanout{
		Hypervisors: p.Hypervisors, Events: rate, Networks: p.Networks / 3600, Heard: heardOfEvent, Own: m.Own, All: m.All,
		For: time.Minute, Seed: p.Seed,
	}
}

// heardOfEvent is how many messages of an event agents hear, on the average: 26
// of the 8 events of a life, rounded up.
const heardOfEvent = 4

// Return is a plane of the plan that is back, for one reflector and one family.
func (p Plan) Return(m Measured) Return {
	return Return{
		Clients: p.clients(), Routes: p.routes(), Retry: ConnectRetry, PerPair: m.PerPair, Threads: p.Threads,
		Bytes: m.PairBytes, Link: p.link(), Seed: p.Seed,
	}
}

// ConnectRetry is the longest pause of an agent between two attempts at a session
// (internal/bgp/session, DefaultConnectRetry).
const ConnectRetry = 2 * time.Second
