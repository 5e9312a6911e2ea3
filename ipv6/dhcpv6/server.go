package dhcpv6

import (
	"context"
	"log/slog"
	"time"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
	"github.com/hostroute/hostroute/ipv6"
)

// Options are what a server may be given; the zero value is that of production.
type Options struct {
	Log *slog.Logger // nil: none
	// In runs the opening of sockets, so that they belong to another network
	// namespace; nil: that of the process.
	In func(func() error) error
	// Rate is how many messages of a guest are answered; the zero value is 20
	// a second and 40 at once. A guest's start takes a handful.
	Rate receive.Rate
}

// Server answers DHCPv6 on the taps of this hypervisor.
type Server struct {
	fleet *fleet.Fleet[ipv6.Service, *task]
}

// New makes a server, which does nothing before Run.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.In == nil {
		o.In = func(open func() error) error { return open() }
	}
	if o.Rate == (receive.Rate{}) {
		o.Rate = receive.Rate{PerSecond: 20, Burst: 40}
	}
	build := func(port fleet.Port, s ipv6.Service) *task {
		return &task{port: port, in: o.In, rate: o.Rate, log: o.Log.With("tap", port.Name), lease: s.Lease}
	}
	return &Server{fleet: fleet.New(build, o.Log)}
}

// Set says which taps are to be served and with what: all of it, at any time.
func (s *Server) Set(desired map[fleet.Port]ipv6.Service) { s.fleet.Set(desired) }

// Run serves until the context ends, and then returns nil.
func (s *Server) Run(ctx context.Context) error { return s.fleet.Run(ctx) }

// Status tells by tap what happened there.
func (s *Server) Status() map[string]Status {
	out, now := map[string]Status{}, time.Now()
	s.fleet.Each(func(port fleet.Port, t *task, err error) { out[port.Name] = t.status(err, now) })
	return out
}
