package scale

import "time"

// Return is a plane that is back: its hypervisors dial its reflectors again, and
// each reflector tells everything to everyone who has come.
type Return struct {
	Clients int           // of a reflector
	Routes  int           // it has
	Retry   time.Duration // the longest pause between two attempts to connect; each is three quarters of it to all of it
	PerPair time.Duration // CPU time of a reflector for a route that it tells a client
	Threads int           // of a reflector that share the clients
	Bytes   float64       // of a route in UPDATEs
	Link    float64       // bytes a second out of the reflector; 0: no limit
	Seed    uint64
}

// ReturnResult is what became of it.
type ReturnResult struct {
	Established Quantiles
	Complete    Quantiles // a client has all routes
	CPU         time.Duration
	Sent        float64 // bytes
}

// chunks is in how many parts a reflector tells a table to a client; between two
// of them others have their turn.
const chunks = 64

// Run simulates it.
func (r Return) Run() ReturnResult {
	e := &engine{random: random{r.Seed}}
	link := newStation(e, 1)
	part := time.Duration(float64(r.Routes) / chunks * float64(r.PerPair))
	size := float64(r.Routes) / chunks * r.Bytes
	var carry time.Duration
	if r.Link > 0 {
		carry = time.Duration(size / r.Link * float64(time.Second))
	}
	var threads []*station
	for range max(r.Threads, 1) {
		threads = append(threads, newStation(e, 1))
	}
	var up, complete []time.Duration
	for i := range r.Clients {
		thread := threads[i%len(threads)]
		told := 0
		var tell func()
		tell = func() {
			thread.work(part, func() {
				link.work(carry, func() {
					if told++; told == chunks {
						complete = append(complete, e.now)
						return
					}
					tell()
				})
			})
		}
		e.after(e.random.draw(r.Retry+1), func() {
			up = append(up, e.now)
			tell()
		})
	}
	e.run(1 << 62)
	var cpu time.Duration
	for _, t := range threads {
		cpu += t.worked
	}
	return ReturnResult{QuantilesOf(up), QuantilesOf(complete), cpu, float64(r.Clients) * float64(r.Routes) * r.Bytes}
}
