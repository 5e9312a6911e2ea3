package ndproxy

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
	"github.com/hostroute/hostroute/ipv6"
)

// rate is how many solicitations of a guest are looked at. Who talks to all of
// a full /24 of neighbours at once stays below the burst.
var rate = receive.Rate{PerSecond: 200, Burst: 400}

// Options of a server.
type Options struct {
	Log *slog.Logger
	// In runs the opening of sockets, such as in another network namespace; nil: it is just called.
	In func(func() error) error
}

// Server is the ND proxy of all taps that have one.
type Server struct {
	fleet *fleet.Fleet[guest, *tap]
}

// Status is what happened on one tap since it is served by this process.
type Status struct {
	Answers uint64 `json:"answers"`
	// Ignored counts the solicitations without an answer, by the reason.
	Ignored    map[ipv6.Ignored]uint64 `json:"ignored"`
	Failed     uint64                  `json:"failed"`  // answers that could not be sent
	Limited    uint64                  `json:"limited"` // how often the guest was at its limit
	Panics     uint64                  `json:"panics"`
	LastAnswer time.Time               `json:"last_answer,omitzero"`
	LastTarget netip.Addr              `json:"last_target,omitzero"` // what was asked for
	Error      string                  `json:"error,omitempty"`      // why the tap isn't served just now
}

// New makes a server. It is inert before Run.
func New(o Options) *Server {
	in := o.In
	if in == nil {
		in = func(f func() error) error { return f() }
	}
	build := func(port fleet.Port, g guest) *tap {
		return &tap{port: port, in: in, log: o.Log.With("tap", port.Name), guest: g, status: Status{Ignored: map[ipv6.Ignored]uint64{}}}
	}
	return &Server{fleet.New(build, o.Log)}
}

// Set says which taps are served, all of them. Those whose service has no proxy
// are left out.
func (s *Server) Set(services map[fleet.Port]ipv6.Service) {
	guests := map[fleet.Port]guest{}
	for port, service := range services {
		if service.Proxy != nil {
			guests[port] = guest{service.MAC, *service.Proxy}
		}
	}
	s.fleet.Set(guests)
}

// Run serves until the context ends.
func (s *Server) Run(ctx context.Context) error { return s.fleet.Run(ctx) }

// Status is what happened on each tap, by its name.
func (s *Server) Status() map[string]Status {
	all := map[string]Status{}
	s.fleet.Each(func(port fleet.Port, t *tap, err error) { all[port.Name] = t.now(err) })
	return all
}
