package ra

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
	"github.com/hostroute/hostroute/ipv6"
)

// rate is how many solicitations of a guest are looked at. A host sends three
// when it starts (MAX_RTR_SOLICITATIONS of RFC 4861, section 10).
var rate = receive.Rate{PerSecond: 10, Burst: 20}

// Options of a server.
type Options struct {
	Log *slog.Logger
	// In runs the opening of sockets, such as in another network namespace; nil: it is just called.
	In func(func() error) error
	// Stays tells whether the guest of a tap that isn't served any more is there
	// still, and so is to hear that it has no router now; nil: it always is. A
	// guest that moves must not: it would take that along, and be without a
	// default route at its new home until the next advertisement there.
	Stays func(fleet.Port) bool
}

// Server advertises the router on all taps.
type Server struct {
	fleet *fleet.Fleet[ipv6.Service, *tap]
}

// Status is what happened on one tap since it is served by this process.
type Status struct {
	Solicitations     uint64     `json:"solicitations"`  // valid ones
	Advertisements    uint64     `json:"advertisements"` // sent, answers included
	Invalid           uint64     `json:"invalid"`        // solicitations that fail the checks of RFC 4861, section 6.1.1
	Failed            uint64     `json:"failed"`         // advertisements that could not be sent
	Limited           uint64     `json:"limited"`        // how often the guest was at its limit
	Panics            uint64     `json:"panics"`
	LastSolicitation  time.Time  `json:"last_solicitation,omitzero"`
	LastSolicitor     netip.Addr `json:"last_solicitor,omitzero"`
	LastAdvertisement time.Time  `json:"last_advertisement,omitzero"`
	Error             string     `json:"error,omitempty"` // why the tap isn't served just now
}

// New makes a server. It is inert before Run.
func New(o Options) *Server {
	in := o.In
	if in == nil {
		in = func(f func() error) error { return f() }
	}
	stays := o.Stays
	if stays == nil {
		stays = func(fleet.Port) bool { return true }
	}
	build := func(port fleet.Port, s ipv6.Service) *tap {
		return &tap{port: port, in: in, stays: stays, log: o.Log.With("tap", port.Name), wake: make(chan struct{}, 1), router: s.Router}
	}
	return &Server{fleet.New(build, o.Log)}
}

// Set says which taps are served and what they are told, all of it. The map
// belongs to the server then.
func (s *Server) Set(services map[fleet.Port]ipv6.Service) { s.fleet.Set(services) }

// Run serves until the context ends. Guests hear nothing of that end.
func (s *Server) Run(ctx context.Context) error { return s.fleet.Run(ctx) }

// Status is what happened on each tap, by its name.
func (s *Server) Status() map[string]Status {
	all := map[string]Status{}
	s.fleet.Each(func(port fleet.Port, t *tap, err error) { all[port.Name] = t.now(err) })
	return all
}
