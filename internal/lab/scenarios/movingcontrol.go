package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hostroute/hostroute/internal/lab"
)

// control is a control plane that publishes by itself, as docs/publishing.md tells
// in which way: moments of a migration are too near to each other for a command
// each.
type control struct{ nc *nats.Conn }

// dialler connects from the control plane's node.
type dialler struct {
	ctx context.Context
	lab *lab.Lab
}

// Dial is what nats.CustomDialer wants.
func (d dialler) Dial(network, address string) (net.Conn, error) {
	return d.lab.Dial(d.ctx, lab.NodeControl, network, address)
}

// connect ends with close.
func (w *world) connect(ctx context.Context) (*control, error) {
	nc, err := nats.Connect(w.LogURL(), nats.SetCustomDialer(dialler{ctx, w.Lab}), nats.MaxReconnects(-1),
		nats.Timeout(stretched(5*time.Second)))
	if err != nil {
		return nil, fmt.Errorf("connecting to the log at %s: %w", w.LogURL(), err)
	}
	return &control{nc}, nil
}

func (c *control) close() { c.nc.Close() }

// publish returns when the log has the event.
func (c *control) publish(ctx context.Context, kind string, data map[string]any) error {
	request, err := json.Marshal(map[string]any{"type": kind, "source": "scenario", "data": data})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stretched(5*time.Second))
	defer cancel()
	m, err := c.nc.RequestWithContext(ctx, "hostroute.publish", request)
	if err != nil {
		return fmt.Errorf("publishing %s: %w", request, err)
	}
	var answer struct {
		Error json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("reading the answer to %s: %w", request, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("publishing %s: the log answers %s", request, answer.Error)
	}
	return nil
}

// stretched is a time as a slow machine needs it.
func stretched(d time.Duration) time.Duration { return time.Duration(float64(d) * lab.TimeFactor()) }
