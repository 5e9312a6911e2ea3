package scale

import "time"

// MeasuredHerd is a herd that was measured on 2 cores which did other work as
// well (BenchmarkHerdParts of events/log), with the CPU time that each agent
// needed in the same run. All programs shared the cores.
type MeasuredHerd struct {
	Hypervisors int           `json:"hypervisors"`
	Guests      int           `json:"guests"`
	Server      time.Duration `json:"server_ns"`
	Service     time.Duration `json:"service_ns"`
	Follower    time.Duration `json:"follower_ns"`
	P50         time.Duration `json:"p50_ns"`
	Last        time.Duration `json:"last_ns"`
}

// MeasuredHerds are those that the simulation is held against.
func MeasuredHerds() []MeasuredHerd {
	of := func(hypervisors, guests int, server, service, follower, p50, last float64) MeasuredHerd {
		ms := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
		return MeasuredHerd{hypervisors, guests, ms(server), ms(service), ms(follower), ms(1000 * p50), ms(1000 * last)}
	}
	return []MeasuredHerd{
		of(100, 500, 6.5, 18.1, 19.8, 1.295, 2.295),
		of(200, 500, 13.75, 19.65, 21.75, 3.087, 5.674),
		of(400, 500, 15.32, 18.05, 20.07, 6.044, 10.98),
		of(400, 25, 1.975, 1.625, 2.0, 0.750, 1.232),
		of(1000, 25, 2.61, 1.69, 1.7, 1.702, 4.063),
		of(1000, 100, 6.68, 5.05, 5.17, 4.396, 9.052),
	}
}

// Herd is what simulates it.
func (m MeasuredHerd) Herd() Herd {
	return Herd{
		Hypervisors: m.Hypervisors, Servers: 1, Services: 1, SharedCores: 2,
		Server: m.Server, Service: m.Service, Follower: m.Follower, Seed: 1,
	}
}
