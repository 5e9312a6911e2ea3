package conformance

import (
	"context"

	"github.com/hostroute/hostroute/vrf"
)

// counting counts what is written, and how often a table is read.
type counting struct {
	vrf.Dataplane
	writes, reads int
}

// LearnedRoutes counts and passes on.
func (c *counting) LearnedRoutes(ctx context.Context, table uint32, f func(vrf.LearnedRoute)) error {
	c.reads++
	return c.Dataplane.LearnedRoutes(ctx, table, f)
}

// WriteNextHops counts and passes on.
func (c *counting) WriteNextHops(ctx context.Context, ops []vrf.NextHopOp, failed func(int, error)) error {
	c.writes += len(ops)
	return c.Dataplane.WriteNextHops(ctx, ops, failed)
}

// WriteRoutes counts and passes on.
func (c *counting) WriteRoutes(ctx context.Context, writes []vrf.RouteWrite, failed func(int, error)) error {
	c.writes += len(writes)
	return c.Dataplane.WriteRoutes(ctx, writes, failed)
}
