package packet

import (
	"context"
	"log/slog"
	"time"

	"github.com/hostroute/hostroute/internal/arrival"
	"github.com/hostroute/hostroute/internal/fleet"
	"github.com/hostroute/hostroute/internal/receive"
)

// rate bounds what is looked at of a guest until it is seen, which its first
// frame should do.
var rate = receive.Rate{PerSecond: 200, Burst: 400}

// Options of a server.
type Options struct {
	Log *slog.Logger
	// Seen is told of each guest that has come, once. It is called by the
	// goroutine of its tap.
	Seen func(vm, tap string, kind arrival.Kind)
	// In runs the opening of sockets, such as in another network namespace; nil: it is just called.
	In func(func() error) error
}

// Server watches taps.
type Server struct {
	fleet *fleet.Fleet[arrival.Guest, *tap]
}

// Status is what became of one tap.
type Status struct {
	VM    string       `json:"vm"`
	Kind  arrival.Kind `json:"kind,omitempty"` // of the frame that gave the guest away; none: it wasn't seen yet
	At    time.Time    `json:"at,omitzero"`    // when it did
	Error string       `json:"error,omitempty"`
}

// New makes a server. It is inert before Run.
func New(o Options) *Server {
	in := o.In
	if in == nil {
		in = func(f func() error) error { return f() }
	}
	build := func(port fleet.Port, g arrival.Guest) *tap {
		return &tap{port: port, in: in, seen: o.Seen, log: o.Log.With("tap", port.Name), guest: g, changed: make(chan struct{})}
	}
	return &Server{fleet.New(build, o.Log)}
}

// Set says which taps are watched, and for whom: all of them. The map belongs to
// the server then.
func (s *Server) Set(guests map[fleet.Port]arrival.Guest) { s.fleet.Set(guests) }

// Run watches until the context ends.
func (s *Server) Run(ctx context.Context) error { return s.fleet.Run(ctx) }

// Status tells what became of each tap that is watched, by its name.
func (s *Server) Status() map[string]Status {
	all := map[string]Status{}
	s.fleet.Each(func(port fleet.Port, t *tap, err error) { all[port.Name] = t.now(err) })
	return all
}
