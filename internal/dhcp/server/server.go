package server

import (
	"context"
	"log/slog"

	"github.com/hostroute/hostroute/internal/dhcp"
	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
)

// DefaultRate is what a guest gets answered: far more than a client sends that
// boots, and little enough that a thousand guests that flood are no load.
var DefaultRate = receive.Rate{PerSecond: 20, Burst: 40}

// Options are what a server is made of.
type Options struct {
	Log *slog.Logger
	// In runs the opening of sockets, in another network namespace for
	// instance. Without it they are opened where the process is.
	In func(func() error) error
	// Rate is how much of one tap is handled; zero: [DefaultRate].
	Rate receive.Rate
}

// Server answers DHCPv4 on taps.
type Server struct {
	options Options
	fleet   *fleet.Fleet[dhcp.Service, *task]
}

// New makes a server, which is inert before Run.
func New(o Options) *Server {
	if o.In == nil {
		o.In = func(f func() error) error { return f() }
	}
	if o.Rate == (receive.Rate{}) {
		o.Rate = DefaultRate
	}
	s := &Server{options: o}
	s.fleet = fleet.New(s.build, o.Log)
	return s
}

func (s *Server) build(tap fleet.Port, service dhcp.Service) *task {
	t := &task{
		tap: tap, in: s.options.In, rate: s.options.Rate,
		log: s.options.Log.With("tap", tap.Name), record: newRecord(), service: service,
	}
	return t
}

// Set says which taps are served and what their guests are told: all of it.
// The map belongs to the server then.
func (s *Server) Set(services map[fleet.Port]dhcp.Service) { s.fleet.Set(services) }

// Run serves until the context ends.
func (s *Server) Run(ctx context.Context) error { return s.fleet.Run(ctx) }

// Status tells what happened on each tap that is served, by its name, since it
// was first served for the guest that it has.
func (s *Server) Status() map[string]Status {
	all := map[string]Status{}
	s.fleet.Each(func(tap fleet.Port, t *task, err error) {
		status := t.status()
		if err != nil {
			status.Error = err.Error()
		}
		all[tap.Name] = status
	})
	return all
}
