package conformance

import (
	"context"

	"github.com/hostroute/hostroute/vrf"
)

// counting counts what is written.
type counting struct {
	vrf.Dataplane
	writes int
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
