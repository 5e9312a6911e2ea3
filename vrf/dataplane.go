package vrf

import (
	"context"
	"net/netip"
)

// Dataplane is what the FIB needs of a kernel. The kernel package and the fake
// implement it.
type Dataplane interface {
	// State reads the links of these names and the next hops of our id range.
	State(ctx context.Context, links []string) (State, error)
	// LearnedRoutes calls f for every learned route of ours in a table. f may use
	// the other methods. It is no snapshot: a route that is there all the time may
	// be missing where others change.
	LearnedRoutes(ctx context.Context, table uint32, f func(LearnedRoute)) error
	// WriteNextHops executes the operations in order. failed is called with
	// the index of each that failed; the others are done. The error is that of
	// the transport: what was done is then unknown.
	WriteNextHops(ctx context.Context, ops []NextHopOp, failed func(int, error)) error
	// WriteRoutes does the same for routes. Deleting what is gone succeeds.
	WriteRoutes(ctx context.Context, writes []RouteWrite, failed func(int, error)) error
}

// State is the part of the kernel's state that the FIB builds on.
type State struct {
	Ports map[string]Port // those that exist, by name
	// Objects: the kernel has next-hop objects (Linux 5.3). Without them every
	// route carries its next hops.
	Objects bool
	// Resilient: the kernel has groups of the resilient type (Linux 5.13).
	Resilient bool
	NextHops  []NextHopObject
}

// Port is the FIB's view of a link.
type Port struct {
	Index   int
	Master  string
	Running bool
}

// Hop is a gateway on a link as the kernel has it.
type Hop struct {
	Gateway netip.Addr
	Port    int // interface index
}

// NextHopObject is a next-hop object: a member, or a group of members.
type NextHopObject struct {
	ID       uint32
	Protocol uint8
	Hop      Hop
	Group    []uint32
	Weights  []uint8 // of the members; nil: all 1
	// Dead: the kernel's neighbour table says that this gateway doesn't answer, and
	// goes on saying so, by an entry that was learned elsewhere and has failed. The
	// kernel passes such a member over while another one of the group works.
	Dead bool
	// Resilience is that of a resilient group; one without buckets is plain.
	Resilience Resilience
}

// NextHopOp adds, replaces or deletes a next-hop object.
type NextHopOp struct {
	Object NextHopObject
	// Replace: unless set, an object with that id is an error. If set, a group
	// that isn't there gives ErrGone: its routes went with it.
	Replace bool
	Delete  bool
}

// LearnedRoute is a learned route as the kernel has it.
type LearnedRoute struct {
	Prefix    netip.Prefix
	NextHopID uint32
	Hops      []Hop // where it carries its next hops; reused by the next call
}

// Verb says how a route is written.
type Verb uint8

// The verbs. Add refuses to touch a route that is there; Replace is for routes
// that are ours for sure, since the kernel would replace anybody's.
const (
	Add Verb = iota
	Replace
	Delete
)

// RouteWrite is one message to the kernel about a learned route.
type RouteWrite struct {
	Prefix    netip.Prefix
	Table     uint32
	NextHopID uint32
	Hops      []Hop // instead of NextHopID
	Verb      Verb
}
